"""Starts of Ansible: each on its own, its output kept, the process it is started from left as it was."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from labctl.core import ending
from labctl.core.errors import LabctlError, UsageError
from labctl.core.files import read_yaml
from labctl.engine.events import Difference, TaskResult
from labctl.engine.session import AnsibleOptions, Session
from tests.unit.engine.play import LOCAL, Run

SHOWN = '- name: Shown\n  ansible.builtin.debug: {{msg: "{{{{ {} }}}}"}}'


def test_variables_of_one_call_do_not_reach_the_next(play: Run) -> None:
    tasks = SHOWN.format("given | default('nothing')")
    _, first = play(tasks, LOCAL + "      given: something\n")
    _, second = play(tasks)
    messages = [event.data["msg"] for event in (*first, *second) if isinstance(event, TaskResult)]
    assert messages == ["something", "nothing"]


def test_what_a_user_asks_of_ansible_reaches_it(play: Run) -> None:
    options = AnsibleOptions(limit="here", check=True, diff=True, verbosity=2, forks=3)
    asked = "[ansible_limit, ansible_check_mode, ansible_diff_mode, ansible_verbosity, ansible_forks]"
    _, events = play(SHOWN.format(asked), options=options)
    assert [event.data["msg"] for event in events if isinstance(event, TaskResult)] == [["here", True, True, 2, 3]]


def test_a_missing_playbook_is_a_failure_and_not_a_success(session: Session, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(LOCAL)
    outcome = session.run_playbook(str(tmp_path / "none.yml"), [tmp_path / "hosts.yml"])
    assert outcome.status == "failed"
    assert "none.yml" in outcome.failures[0].message


def test_output_that_cannot_be_kept_is_named_and_our_signal_handlers_stay(play: Run, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(LabctlError) as raised:
        play("- name: Nothing\n  ansible.builtin.meta: noop", log=tmp_path / "no such directory" / "log")
    (problem,) = raised.value.problems
    assert (problem.what, problem.seen) == ("what Ansible said cannot be kept", "No such file or directory")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_further_inventory_source_is_gone_after_its_playbook(session: Session) -> None:
    more = {"all": {"hosts": {"a": {"more": ["{{ 1/0 }}", 1]}}}}
    with session.source(more) as (path,):
        assert read_yaml(path) == more
        assert session.inventory(path)["_meta"]["hostvars"]["a"]["more"] == ["{{ 1/0 }}", 1]
    assert not path.exists()
    with session.source(None) as none:
        assert none == ()


HOSTILE = {
    "ANSIBLE_RUN_TAGS": "none",
    "ANSIBLE_SKIP_TAGS": "all,always",
    "ANSIBLE_STRATEGY": "free",
    "ANSIBLE_ENABLE_TASK_DEBUGGER": "True",
    "ANSIBLE_DEBUG": "True",
    "ANSIBLE_VERBOSITY": "4",
    "ANSIBLE_NO_LOG": "True",
    "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "True",
    "ANSIBLE_STDOUT_CALLBACK": "no_such_callback",
    "ANSIBLE_CALLBACK_PLUGINS": "/nowhere",
    "ANSIBLE_CALLBACKS_ENABLED": "no_such_callback",
    "ANSIBLE_DISPLAY_OK_HOSTS": "False",
    "ANSIBLE_HASH_BEHAVIOUR": "merge",
    "ANSIBLE_TASK_TIMEOUT": "1",
    "ANSIBLE_INVENTORY_ENABLED": "ini",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "False",
    "ANSIBLE_CACHE_PLUGIN": "jsonfile",
    "ANSIBLE_ROLES_PATH": "/nowhere",
    "ANSIBLE_KEEP_REMOTE_FILES": "True",
    "ANSIBLE_HOST_PATTERN_MISMATCH": "error",
    "ANSIBLE_FORCE_COLOR": "True",
    "ANSIBLE_CONFIG": "/nowhere/ansible.cfg",
    "ANSIBLE_CHECK_MODE": "True",
    "ANSIBLE_START_AT_TASK": "Another",
    "AWX_LIB_DIRECTORY": "/nowhere",
    "RUNNER_OMIT_EVENTS": "True",
    "PYTHONPATH": "/nowhere",
    "PYTHONHOME": "/nowhere",
    "PYTHONINSPECT": "1",
    "LC_ALL": "xx_XX.none",
}
CONFIG = """[defaults]
strategy = free
debug = True
no_log = True
verbosity = 4
stdout_callback = no_such_callback
callbacks_enabled = no_such_callback
enable_task_debugger = True
display_ok_hosts = False
display_args_to_stdout = True
task_timeout = 1
fact_caching = jsonfile
yaml_valid_extensions = .nothing
[inventory]
enable_plugins = ini
host_pattern_mismatch = error
[tags]
run = none
skip = all,always
"""
DONE = """- name: It is done
  ansible.builtin.command: {argv: [sh, -c, "sleep 1.2; echo done"]}
  changed_when: true
- name: It is a failure
  ansible.builtin.command: "false"
  changed_when: false
"""


@pytest.fixture(params=["environment", "ansible.cfg"])
def hostile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An environment, or an ansible.cfg in the current directory, in which everything steers somewhere else."""
    if request.param == "environment":
        for name, value in HOSTILE.items():
            monkeypatch.setenv(name, value)
    else:
        (tmp_path / "work").mkdir(mode=0o755)
        (tmp_path / "work" / "ansible.cfg").write_text(CONFIG)
        monkeypatch.chdir(tmp_path / "work")
    return str(request.param)


@pytest.mark.usefixtures("hostile")
def test_the_users_settings_for_his_own_plays_steer_none_of_labctls(
    play: Run, session: Session, tmp_path: Path
) -> None:
    outcome, events = play(DONE)
    results = [event for event in events if isinstance(event, TaskResult)]
    assert [(result.task, result.ok) for result in results] == [("It is done", True), ("It is a failure", False)]
    assert results[0].data["stdout"] == "done"
    assert [failure.task for failure in outcome.failures] == ["It is a failure"]
    assert outcome.changed == 1
    assert session.inventory(tmp_path / "hosts.yml")["_meta"]["hostvars"]["here"]["ansible_connection"] == "local"


def test_ansible_is_found_where_path_does_not_have_it(play: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    outcome, events = play(SHOWN.format("lookup('env', 'PATH')"))
    assert outcome.ok
    (result,) = [event for event in events if isinstance(event, TaskResult)]
    assert result.data["msg"] == f"{Path(sys.executable).parent}:/usr/bin:/bin"
    assert os.environ["PATH"] == "/usr/bin:/bin"


def test_nothing_waits_for_an_answer_that_nobody_can_give(play: Run) -> None:
    """A question on the terminal, which Ansible does not have, and on its input, which is empty."""
    asks = 'read x < /dev/tty || echo no terminal; cat; python3 -c "import getpass; getpass.getpass()" 2>&1 | tail -1'
    quoted = asks.replace('"', '\\"').replace("'", "''")
    outcome, events = play(
        "- name: It asks\n  ansible.builtin.debug:\n    msg: >-\n      {{ lookup('pipe', '"
        + quoted.replace('\\"', '"')
        + "') }}"
    )
    (result,) = [event for event in events if isinstance(event, TaskResult)]
    assert outcome.ok
    assert result.data["msg"].splitlines() == ["no terminal", "EOFError"]


def test_a_password_reaches_ansible_and_stands_nowhere(play: Run) -> None:
    tasks = SHOWN.format("lookup('pipe', 'cat /proc/$PPID/cmdline /proc/$PPID/environ | tr -d \\\\0')")
    outcome, events = play(tasks, options=AnsibleOptions(become_password="sesame open"))
    assert outcome.ok
    (result,) = [event for event in events if isinstance(event, TaskResult)]
    assert "--become-password-file" in result.data["msg"]
    assert "sesame" not in result.data["msg"]


@pytest.mark.parametrize("name", ["ANSIBLE_BECOME_ASK_PASS", "ANSIBLE_ASK_PASS", "ANSIBLE_ASK_VAULT_PASS"])
def test_what_would_ask_is_refused_before_anything_runs(play: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match=rf"Ansible would ask for a password.*\n.*{name}"):
        play("- name: Nothing\n  ansible.builtin.meta: noop")


def test_a_password_that_was_given_answers_what_would_ask_for_it(play: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_BECOME_ASK_PASS", "1")
    assert play(SHOWN.format("1"), options=AnsibleOptions(become_password="x"))[0].ok


def test_an_inventory_is_read_without_a_vaults_question(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_VAULT_IDENTITY_LIST", "a@prompt")
    with pytest.raises(UsageError, match="a@prompt"):
        session.inventory(tmp_path)
    monkeypatch.delenv("ANSIBLE_VAULT_IDENTITY_LIST")
    monkeypatch.setenv("ANSIBLE_BECOME_ASK_PASS", "1")
    (tmp_path / "hosts.yml").write_text(LOCAL)
    with Session() as other:
        assert "here" in other.inventory(tmp_path / "hosts.yml")["_meta"]["hostvars"]


@pytest.mark.parametrize(
    ("config", "checked"),
    [
        ("", True),
        ("[defaults]\nhost_key_checking = True ; comment\n", True),
        ("[defaults]\nhost_key_checking = False\n", False),
        ("[ssh_connection]\nhost_key_checking = False\n", False),
    ],
)
def test_whether_host_keys_are_checked_is_the_users_as_ansible_reads_it(
    play: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, checked: bool
) -> None:
    """By an ssh that only says how it was called."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".ansible.cfg").write_text(config)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "$@"\n')
    ssh.chmod(0o755)
    _, events = play(
        "- name: Called\n  ansible.builtin.raw: x\n  changed_when: false",
        f"all: {{hosts: {{there: {{ansible_ssh_executable: {ssh}}}}}}}",
    )
    (result,) = [event for event in events if isinstance(event, TaskResult)]
    assert ("StrictHostKeyChecking=no" not in result.data["stdout"]) is checked


def test_differences_are_told_in_ansibles_words_where_they_are_asked_for(play: Run, tmp_path: Path) -> None:
    copy = f"- name: A file\n  ansible.builtin.copy: {{content: \"new\\n\", dest: {tmp_path}/made, mode: '0600'}}"
    _, events = play(copy, options=AnsibleOptions(check=True, diff=True))
    (difference,) = [event for event in events if isinstance(event, Difference)]
    assert (difference.task, difference.node) == ("A file", "here")
    assert "+new" in difference.text.splitlines()
    assert "\r" not in difference.text
    assert not (tmp_path / "made").exists()
    assert not [event for event in play(copy)[1] if isinstance(event, Difference)]


def test_what_a_node_says_of_itself_changes_no_variable(play: Run, tmp_path: Path) -> None:
    module = tmp_path / "library" / "hostile.py"
    module.parent.mkdir()
    module.write_text(
        '#!/bin/sh\n# WANT_JSON\necho \'{"changed": false, "ansible_facts": {"given": "evil", "more": "evil"}}\'\n'
    )
    tasks = "- name: It looks\n  hostile:\n" + SHOWN.format("[given, more | default('none'), ansible_facts.more]")
    _, events = play(tasks, LOCAL + "      given: mine\n")
    messages = [event.data["msg"] for event in events if isinstance(event, TaskResult) and event.action == "debug"]
    assert messages == [["mine", "none", "evil"]]


TWO_TASKS = """
- name: First
  ansible.builtin.command: {argv: [sh, -c, "kill -TERM $LABCTL_PID; sleep 1; touch FIRST"]}
- name: Second
  ansible.builtin.command: {argv: [touch, SECOND]}
"""


def test_a_signal_lets_the_task_in_hand_end_and_no_other_begin(play: Run, tmp_path: Path) -> None:
    said: list[str] = []
    first, second = tmp_path / "first", tmp_path / "second"
    tasks = TWO_TASKS.replace("FIRST", str(first)).replace("SECOND", str(second))
    with pytest.raises(ending.Ended) as ended, ending.heard(said.append):
        play(tasks)
    assert (ended.value.number, first.exists(), second.exists()) == (signal.SIGTERM, True, False)
    assert said[0].startswith("SIGTERM: ending after the task in hand, which takes seconds as a rule")


@pytest.mark.parametrize(("count", "arguments"), [(2, {}), (1, {"looks": True})])
def test_a_second_signal_ends_ansible_at_once_and_the_first_where_it_only_looks(
    play: Run, count: int, arguments: dict[str, bool]
) -> None:
    kills = "kill -HUP $LABCTL_PID; sleep 0.2; " * count
    tasks = f"""
- name: Long
  ansible.builtin.command: {{argv: [sh, -c, "{kills} exec sleep 15"]}}
"""
    said: list[str] = []
    started = time.monotonic()
    with pytest.raises(ending.Ended), ending.heard(said.append):
        play(tasks, **arguments)
    assert said[-1] == "SIGHUP: ending Ansible at once"
    assert time.monotonic() - started < 14


def test_a_log_says_when_each_task_began(play: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    play("- name: Nothing\n  ansible.builtin.debug: {msg: a}", log=log)
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00\n\nTASK \[Nothing\]", log.read_text())


def test_without_room_for_temporary_files_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(LabctlError) as raised:
        Session()
    (problem,) = raised.value.problems
    assert (problem.what, problem.seen) == ("there is no room for temporary files", "No such file or directory")
