"""Looking at a lab: the fingerprints of the nodes that gave one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.core.errors import LabctlError
from labctl.engine.events import Event, TaskStart
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Failure, Outcome
from labctl.engine.session import AnsibleOptions
from labctl.labs.look import Look, is_provisioned, look, no_root
from tests.unit.scripted import Call, ScriptedSession, ended, looked_at

LAB = Inventory(Path("/labs/far"), "far", "metal", "node1", "node2", {})
OPTIONS = AnsibleOptions(limit="node1")


@pytest.fixture
def session() -> Iterator[ScriptedSession]:
    with ScriptedSession() as opened:
        yield opened


def test_every_node_has_its_fingerprint_and_others_hear_all_of_it(session: ScriptedSession) -> None:
    def check(call: Call) -> Outcome:
        call.start("The node is looked at")
        return looked_at(machine={"vm": "kvm"})(call)

    session.plays["check.yml"] = check
    heard: list[Event] = []
    seen = look(session, LAB, OPTIONS, heard.append)
    assert {node: one.text("machine", "vm") for node, one in seen.fingerprints.items()} == {
        "node1": "kvm",
        "node2": "kvm",
    }
    assert heard[0] == TaskStart("A play", "The node is looked at")
    assert len(heard) == 3
    (call,) = session.calls
    assert (call.inventories, call.options) == ((Path("/labs/far"),), OPTIONS)


def test_a_node_that_gives_none_is_left_out_and_the_outcome_says_why(session: ScriptedSession) -> None:
    failure = Failure("check.yml", "A task", "node2", "no Python")

    def check(call: Call) -> Outcome:
        looked_at()(call)
        call.end("fingerprint", "node3", ok=False, msg="no Python")
        return ended("failed", failure)

    session.plays["check.yml"] = check
    seen = look(session, LAB, OPTIONS)
    assert sorted(seen.fingerprints) == ["node1", "node2"]
    assert seen.outcome.failures == (failure,)


def test_a_fingerprint_of_another_labctl_is_refused_with_its_node(session: ScriptedSession) -> None:
    def check(call: Call) -> Outcome:
        call.end("fingerprint", "node2", fingerprint={"schema": "labctl.fingerprint/0"})
        return ended("ok")

    session.plays["check.yml"] = check
    with pytest.raises(LabctlError, match="node2"):
        look(session, LAB, OPTIONS)


def test_what_an_earlier_run_left_is_taken_down_first_where_that_is_asked_for(session: ScriptedSession) -> None:
    look(session, LAB, OPTIONS, playbook="clear.yml")
    assert session.played == ["clear.yml"]


def test_a_lab_is_provisioned_where_every_node_bears_the_mark(session: ScriptedSession) -> None:
    session.plays["check.yml"] = looked_at()
    marked = look(session, LAB, OPTIONS)
    session.plays["check.yml"] = looked_at(provisioned=False)
    bare = look(session, LAB, OPTIONS)
    assert is_provisioned(marked)
    assert not is_provisioned(bare)
    assert not is_provisioned(Look({**marked.fingerprints, "node2": bare.fingerprints["node2"]}, bare.outcome))


@pytest.mark.parametrize(
    ("sudo", "words"),
    [
        ("exit 0", None),
        ("echo 'sudo: a password is required' >&2; exit 1", "(sudo: a password is required): --ask-become-pass"),
        (None, "and has no sudo (No such file or directory)"),
    ],
)
def test_whether_labctl_can_be_root_here_is_asked_of_sudo(
    sudo: str | None, words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sudo is not None:
        (tmp_path / "sudo").write_text(f"#!/bin/sh\n{sudo}\n")
        (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = no_root(AnsibleOptions())
    assert (found and found.removeprefix("labctl is not root on this machine").lstrip(" ,")) == words
    assert no_root(AnsibleOptions(become_password="secret")) is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert no_root(AnsibleOptions()) is None
