"""labctl.engine.session against real Ansible on this machine: small playbooks, no nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.engine.events import Event, TaskResult, TaskStart
from labctl.engine.inventory import load_inventory
from labctl.engine.outcome import Failure, Outcome, hint_for, message_of, problems_of
from labctl.engine.session import Session

LAB = "all: {vars: {lab_name: x, lab_kind: vm}, children: {client: {hosts: {a: }}, server: {hosts: {b: {k: 1}}}}}"
LOCAL = """
all:
  hosts:
    here:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""


Run = Callable[..., tuple[Outcome, list[Event]]]


@pytest.fixture
def session() -> Iterator[Session]:
    with Session() as opened:
        yield opened


@pytest.fixture
def play(tmp_path: Path, session: Session) -> Run:
    """Run tasks (YAML) on this machine; the outcome and the events."""

    def run(tasks: str, inventory: str = LOCAL, **arguments: object) -> tuple[Outcome, list[Event]]:
        (tmp_path / "hosts.yml").write_text(inventory)
        body = "".join(f"    {line}\n" for line in tasks.strip().splitlines())
        (tmp_path / "play.yml").write_text(f"- name: A play\n  hosts: all\n  gather_facts: false\n  tasks:\n{body}")
        events: list[Event] = []
        outcome = session.run_playbook(
            str(tmp_path / "play.yml"),
            [tmp_path / "hosts.yml"],
            listener=events.append,
            **arguments,  # type: ignore[arg-type]
        )
        return outcome, events

    return run


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)


def running(marker: str) -> list[int]:
    """Processes whose command line has `marker` as an argument of its own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if marker.encode() in arguments:
                found.append(int(entry.name))
    return found


def test_results_reach_the_listener(play: Run, tmp_path: Path) -> None:
    outcome, events = play(
        f"- name: A file is there\n  ansible.builtin.copy: {{content: x, dest: {tmp_path}/made, mode: '0600'}}",
        log=tmp_path / "log",
    )
    assert (outcome.status, outcome.failures, outcome.changed) == ("ok", (), 1)
    assert TaskStart("A play", "A file is there") in events
    result = next(event for event in events if isinstance(event, TaskResult))
    assert (result.action, result.node, result.ok, result.changed) == ("copy", "here", True, True)
    assert result.data["dest"] == f"{tmp_path}/made"
    assert "PLAY RECAP" in (tmp_path / "log").read_text()


def test_a_failure_names_task_node_and_what_the_command_said(play: Run) -> None:
    outcome, _ = play(
        "- name: The command works\n  changed_when: false\n"
        "  ansible.builtin.command: {argv: [sh, -c, 'echo told you >&2; exit 3']}"
    )
    assert outcome.status == "failed"
    assert outcome.failures == (
        Failure("play.yml", "The command works", "here", "non-zero return code\ntold you", None),
    )
    with pytest.raises(LabctlError, match=r"where: here, task 'The command works' of play.yml\n  seen:  non-zero"):
        outcome.require()


def test_a_failing_loop_reports_the_failing_item_only(play: Run) -> None:
    outcome, events = play(
        "- name: Items are fine\n  ansible.builtin.assert: {that: item != 2, fail_msg: 'no twos'}\n  loop: [1, 2, 3]"
    )
    assert [failure.message for failure in outcome.failures] == ["no twos"]
    assert [event.item for event in events if isinstance(event, TaskResult)] == [1, 2, 3]


def test_variables_of_one_call_do_not_reach_the_next(play: Run) -> None:
    tasks = "- name: Shown\n  ansible.builtin.debug: {msg: \"{{ given | default('nothing') }}\"}"
    _, first = play(tasks, LOCAL + "      given: something\n")
    _, second = play(tasks)
    messages = [event.data["msg"] for event in (*first, *second) if isinstance(event, TaskResult)]
    assert messages == ["something", "nothing"]


def test_a_node_that_does_not_answer_is_a_failure_with_advice(play: Run) -> None:
    inventory = (
        "all: {hosts: {away: {ansible_host: 127.0.0.1, ansible_port: 9, ansible_ssh_common_args: -o ConnectTimeout=2}}}"
    )
    outcome, _ = play("- name: It answers\n  ansible.builtin.ping:", inventory)
    (failure,) = outcome.failures
    assert failure.node == "away"
    assert "Connection refused" in failure.message
    assert failure.hint == "the node is up but nothing answers on its SSH port: check ansible_port"


def test_a_missing_playbook_is_a_failure_and_not_a_success(session: Session, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(LOCAL)
    outcome = session.run_playbook(str(tmp_path / "none.yml"), [tmp_path / "hosts.yml"])
    assert outcome.status == "failed"
    assert "none.yml" in outcome.failures[0].message


def test_cancelling_ends_what_the_task_started(play: Run) -> None:
    marker = f"30{os.getpid()}"
    outcome, _ = play(
        f"- name: It takes long\n  ansible.builtin.command: {{argv: [sleep, '{marker}']}}\n  changed_when: false",
        cancelled=lambda: bool(running(marker)),
    )
    assert outcome.status == "interrupted"
    wait_until(lambda: not ansible_of(marker))


def ansible_of(marker: str) -> list[int]:
    return [pid for pid in running(marker) if b"sleep" not in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_killing_labctl_ends_ansible_and_its_workers(tmp_path: Path) -> None:
    marker = f"31{os.getpid()}"
    (tmp_path / "hosts.yml").write_text(LOCAL)
    (tmp_path / "play.yml").write_text(
        "- name: A play\n  hosts: all\n  gather_facts: false\n  tasks:\n    - name: It takes long\n"
        f"      ansible.builtin.command: {{argv: [sleep, '{marker}']}}\n"
    )
    script = (
        "import sys; from pathlib import Path; from labctl.engine.session import Session\n"
        "with Session() as session: session.run_playbook(sys.argv[1], [Path(sys.argv[2])])\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "play.yml"), str(tmp_path / "hosts.yml")]
    process = subprocess.Popen(arguments, start_new_session=True)
    wait_until(lambda: bool(running(marker)))
    process.kill()
    process.wait()
    wait_until(lambda: not running(str(tmp_path / "play.yml")), 2.0)
    for pid in running(marker):  # the far end's command itself: on a node its SSH channel ends it
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("all: [", "the lab's inventory cannot be read"),
        (
            "all: {vars: {lab_name: x, lab_kind: vm}, children: {client: {hosts: {a: }}}}",
            "exactly one host in group 'server'",
        ),
        (
            "all: {vars: {lab_name: x, lab_kind: vm}, children: {client: {hosts: {a: }}, server: {hosts: {b: , c: }}}}",
            "seen:  b, c",
        ),
        (
            "all: {vars: {lab_name: x, lab_kind: vm}, children: {client: {hosts: {a: }}, server: {hosts: {a: }}}}",
            "client and server are the same host",
        ),
        (
            "all: {vars: {lab_kind: vm}, children: {client: {hosts: {a: }}, server: {hosts: {b: }}}}",
            "does not set lab_name",
        ),
        (
            "all: {children: {client: {hosts: {a: {node_pair: p}, c: {node_pair: q}}},"
            " server: {hosts: {b: {node_pair: p}, d: {node_pair: q}}}}}",
            "seen:  node_pair: p, q",
        ),
    ],
)
def test_a_broken_lab_is_refused_by_what_is_wrong_with_it(
    session: Session, tmp_path: Path, hosts: str, message: str
) -> None:
    (tmp_path / "hosts.yml").write_text(hosts)
    with pytest.raises(UsageError) as refused:
        load_inventory(session, tmp_path)
    assert message in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_a_terminal_that_another_ssh_made_non_blocking_does_no_harm(session: Session, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(LAB)
    reading, writing = os.pipe()
    kept = os.dup(0)
    try:
        os.dup2(reading, 0)
        os.set_blocking(0, False)
        assert load_inventory(session, tmp_path).client == "a"
        assert os.fstat(0) == os.fstat(reading)
    finally:
        os.dup2(kept, 0)
        for descriptor in (reading, writing, kept):
            os.close(descriptor)


def test_a_lab_is_read_with_its_ends(session: Session, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(LAB)
    lab = load_inventory(session, tmp_path)
    assert (lab.name, lab.kind, lab.client, lab.server, lab.hosts["b"]["k"]) == ("x", "vm", "a", "b", 1)


def test_messages_carry_what_the_module_printed() -> None:
    assert message_of({"msg": "failed", "stderr": "because"}) == "failed\nbecause"
    assert message_of({"msg": "failed because", "stderr": "because"}) == "failed because"
    assert message_of({}) == "no message"


def test_advice_is_given_where_it_is_known() -> None:
    assert (hint_for("Permission denied (publickey).") or "").startswith("the node refused the key")
    assert hint_for("anything else") is None


def test_a_module_may_name_its_problems_one_by_one() -> None:
    one = {"what": "no room", "where": "/boot", "seen": "3 MB", "hint": "make some"}
    result = {"msg": "no room and more", "problems": [one]}
    assert problems_of(result, "localhost") == (Problem("no room", "/boot", "3 MB", "make some"),)
    assert problems_of(result, "node1") == (Problem("no room", "node1, /boot", "3 MB", "make some"),)
    assert problems_of({"msg": "no room"}, "node1") == ()


def test_an_ansible_that_was_killed_is_no_riddle(play: Run) -> None:
    outcome, _ = play(
        "- name: Ansible ends itself\n  ansible.builtin.command: kill -9 {{ lookup('pipe', 'echo $PPID') }}"
    )
    (failure,) = outcome.failures
    assert outcome.status == "failed"
    assert failure.message.startswith("Ansible ended during the play 'A play', killed perhaps. It said last:")


@pytest.mark.parametrize(("config", "wanted"), [(None, "true"), ("[defaults]\nhost_key_checking = False\n", "False")])
def test_host_keys_are_checked_unless_the_user_says_otherwise(
    play: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str | None, wanted: str
) -> None:
    monkeypatch.delenv("ANSIBLE_HOST_KEY_CHECKING", raising=False)
    monkeypatch.chdir(tmp_path)
    if config:
        (tmp_path / "ansible.cfg").write_text(config)
    _, events = play(
        "- name: Seen\n  ansible.builtin.debug: {msg: \"{{ lookup('env', 'ANSIBLE_HOST_KEY_CHECKING') }}\"}"
    )
    assert [event.data["msg"] for event in events if isinstance(event, TaskResult)] == [wanted]
