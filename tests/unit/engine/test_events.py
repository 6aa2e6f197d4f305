"""What becomes of the events of a real Ansible: labctl's own events, and the outcome they add up to."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.core.errors import LabctlError
from labctl.engine.events import NOTHING_RAN, Event, TaskResult, TaskStart, Watcher
from labctl.engine.outcome import Failure, Outcome, hint_for
from tests.unit.engine.play import Run


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
    (failure,) = outcome.failures
    ansibles, the_commands = failure.message.splitlines()
    assert failure == Failure("play.yml", "The command works", "here", failure.message, None)
    assert "non-zero return code" in ansibles  # in a sentence of its own since ansible-core 2.20
    assert the_commands == "told you"
    with pytest.raises(LabctlError, match=r"where: here, task 'The command works' of play.yml\n  seen:  .*non-zero"):
        outcome.require()


def test_a_failing_loop_reports_the_failing_item_only(play: Run) -> None:
    outcome, events = play(
        "- name: Items are fine\n  ansible.builtin.assert: {that: item != 2, fail_msg: 'no twos'}\n  loop: [1, 2, 3]"
    )
    assert [failure.message for failure in outcome.failures] == ["no twos"]
    told = [event.title for event in events if isinstance(event, TaskResult)]
    assert told == ["Items are fine: 1", "Items are fine: 2", "Items are fine: 3"]


def test_a_result_has_the_name_that_its_loop_gives_the_item(play: Run) -> None:
    task = (
        "- name: It is there\n  ansible.builtin.assert: {that: true}\n"
        "  loop: [{name: etcd, bytes: 2097152}]\n  loop_control: {label: %s}"
    )
    for label, title in (
        ("'{{ item.name }} ({{ item.bytes | human_readable }})'", "It is there: etcd (2.00 MB)"),
        ("'{{ item }}'", "It is there"),
    ):
        _, events = play(task % label)
        assert [event.title for event in events if isinstance(event, TaskResult)] == [title]


def test_a_failure_that_only_lets_another_stand_is_none_of_its_own(play: Run) -> None:
    block = (
        "- name: Items are fine, or looked after\n  block:\n"
        "  - name: Items are fine\n    ansible.builtin.assert: {that: item != 2, fail_msg: 'no twos'}\n"
        "    loop: [1, 2]\n"
        "  rescue:\n  - name: It stands\n    ansible.builtin.fail: {msg: %s}"
    )
    for words in ("'{{ ansible_failed_result.msg }}'", "no twos"):
        outcome, events = play(block % words)
        assert outcome.status == "failed"
        assert [(failure.task, failure.message) for failure in outcome.failures] == [("Items are fine", "no twos")]
        assert "It stands" not in [event.task for event in events if isinstance(event, TaskResult)]
    outcome, _ = play(block % "'two is not there: no twos'")
    assert [failure.task for failure in outcome.failures] == ["Items are fine", "It stands"]


def test_a_node_that_does_not_answer_is_a_failure_with_advice(play: Run) -> None:
    inventory = (
        "all: {hosts: {away: {ansible_host: 127.0.0.1, ansible_port: 9, ansible_ssh_common_args: -o ConnectTimeout=2}}}"
    )
    outcome, _ = play("- name: It answers\n  ansible.builtin.ping:", inventory)
    (failure,) = outcome.failures
    assert failure.node == "away"
    # ssh may end while Ansible still sends, which is then all that Ansible tells.
    words = ("Connection refused", "Broken pipe")
    assert failure.hint in [hint_for(one) for one in words if one in failure.message], failure.message


def test_an_ansible_that_was_killed_is_no_riddle(play: Run) -> None:
    outcome, _ = play(
        "- name: Ansible ends itself\n  ansible.builtin.command: kill -9 {{ lookup('pipe', 'echo $PPID') }}"
    )
    (failure,) = outcome.failures
    assert outcome.status == "failed"
    assert failure.message.startswith("Ansible ended during the play 'A play', killed perhaps. It said last:")


def result(kind: str, **data: object) -> dict[str, object]:
    """An event of runner, as it comes for a task of play.yml on node1."""
    told = {"playbook": "/x/play.yml", "task": "A task", "host": "node1", "task_action": "ansible.builtin.command"}
    return {"event": f"runner_on_{kind}", "event_data": {**told, "res": {}, **data}}


def watched(*events: dict[str, object], status: str = "failed") -> tuple[Outcome, list[Event]]:
    heard: list[Event] = []
    watcher = Watcher(heard.append)
    for event in events:
        watcher(event)
    return watcher.outcome(status, "play.yml", "the last words", 1.5), heard


def test_a_node_that_was_lost_is_named_in_the_outcome() -> None:
    outcome, _ = watched(
        result("unreachable", host="node2", res={"msg": "timed out"}), result("unreachable", host="node1")
    )
    assert outcome.unreachable == ("node1", "node2")
    assert [failure.node for failure in outcome.failures] == ["node2", "node1"]


def test_a_failure_that_a_playbook_looks_over_is_none() -> None:
    outcome, (event,) = watched(result("failed", ignore_errors=True), status="successful")
    assert (outcome.status, outcome.failures) == ("ok", ())
    assert isinstance(event, TaskResult)
    assert event.ok


def test_problems_that_a_module_names_become_those_of_the_outcome() -> None:
    named = {"msg": "two things", "problems": [{"what": "no room", "where": "/boot"}, {"what": "no kernel"}]}
    outcome, _ = watched(result("failed", res=named), result("failed", host="node2", res={"msg": "one"}))
    with pytest.raises(LabctlError) as raised:
        outcome.require()
    assert [(problem.what, problem.where) for problem in raised.value.problems] == [
        ("no room", "node1, /boot"),
        ("no kernel", "node1"),
        ("an Ansible task failed", "node2, task 'A task' of play.yml"),
    ]


def test_what_was_cancelled_is_interrupted_and_keeps_what_failed_before() -> None:
    stats: dict[str, object] = {"event": "playbook_on_stats", "event_data": {"changed": {"node1": 2, "node2": 1}}}
    outcome, _ = watched(result("failed"), stats, status="canceled")
    assert (outcome.status, outcome.changed, len(outcome.failures)) == ("interrupted", 3, 1)
    with pytest.raises(LabctlError, match="interrupted"):
        outcome.require()


def test_where_nothing_ran_ansible_is_quoted() -> None:
    outcome, _ = watched()
    assert outcome.failures == (Failure("play.yml", "", "controller", "the last words", NOTHING_RAN),)


def test_a_result_that_is_no_mapping_is_its_message() -> None:
    outcome, _ = watched(result("failed", res="it broke"))
    assert [failure.message for failure in outcome.failures] == ["it broke"]
