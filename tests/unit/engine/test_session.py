"""Starts of Ansible: each on its own, its output kept, the process it is started from left as it was."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from labctl.core import ending
from labctl.core.errors import LabctlError
from labctl.engine.events import TaskResult
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
    with session.source({"all": {"vars": {"more": 1}}}) as (path,):
        assert path.read_text() == '{"all": {"vars": {"more": 1}}}'
    assert not path.exists()
    with session.source(None) as none:
        assert none == ()


def test_ansible_is_found_beside_the_interpreter_where_path_does_not_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with Session():
        first, *others = os.environ["PATH"].split(os.pathsep)
    assert (Path(first) / "ansible-playbook").is_file()
    assert others == ["/nowhere"]


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
