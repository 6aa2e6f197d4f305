"""labctl check, provision and reset, on a lab whose playbooks are scripted."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from labctl.engine.outcome import Outcome
from labctl.labs import lock
from tests.unit.cli.run import Run
from tests.unit.scripted import Call, ScriptedSession, done, ended, failing, looked_at


def test_what_would_hinder_is_told_the_worst_first(labctl: Run, lab: ScriptedSession) -> None:
    lab.plays["check.yml"] = looked_at(link={"carrier": False})
    code, out, _ = labctl("check", "-i", "mine", "--format", "csv")
    header, first, *_ = out.splitlines()
    assert header == "level,node,subject,wanted,seen,what to do"
    assert first.startswith('error,node1,cable,"cable0 up, with carrier","up, no carrier",')
    assert code == 1


def test_warnings_alone_are_no_failure(labctl: Run, lab: ScriptedSession) -> None:
    code, out, _ = labctl("check", "-i", "mine", "--format", "csv")
    assert "\nwarning," in out
    assert "\nerror," not in out
    assert code == 0


def test_a_node_that_does_not_answer_is_an_error(labctl: Run, lab: ScriptedSession) -> None:
    lab.plays["check.yml"] = failing("node2", "Connection refused", lost=True)
    code, out, _ = labctl("check", "-i", "mine", "--format", "csv")
    assert code == 1
    assert "error,node2,answer,the node answers over SSH,Connection refused," in out


@pytest.mark.parametrize("command", ["check", "plan --quick"])
def test_a_look_says_beforehand_whom_it_disturbs(
    labctl: Run, lab: ScriptedSession, tmp_path: Path, command: str
) -> None:
    with lock.held("other", lock.MEASURING, "matrix", tmp_path / "locks"):
        _, _, err = labctl(*command.split(), "-i", "mine")
    first, *_ = err.splitlines()
    assert first.startswith("warning: this disturbs a measurement on this machine: lab other, labctl matrix, process ")
    _, _, err = labctl(*command.split(), "-i", "mine")
    assert "disturbs" not in err


COMMANDS = [
    ("check", "check.yml", "nothing was changed"),
    ("provision", "provision.yml", "the nodes are as far as they came: labctl provision goes on from there"),
    ("reset", "reset.yml", "a part of the cluster may be left: labctl reset removes it"),
]


@pytest.mark.parametrize(("command", "playbook", "left"), COMMANDS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_in_what_is_left_and_what_to_do(
    labctl: Run, lab: ScriptedSession, command: str, playbook: str, left: str, number: signal.Signals
) -> None:
    def play(call: Call) -> Outcome:
        os.kill(os.getpid(), number)
        return done(call)

    lab.plays[playbook] = play
    code, out, err = labctl(command, "-i", "mine")
    assert (code, out, err.splitlines()[-1]) == (128 + number, "", f"ended by {number.name}; {left}")


def test_provisioning_tells_what_changed_and_what_an_idle_cluster_takes(labctl: Run, lab: ScriptedSession) -> None:
    def provision(call: Call) -> Outcome:
        assert call.options is not None
        assert (call.options.limit, call.options.check) == ("node1", True)
        call.end("package", "node1", changed=True)
        call.end("kubernetes_idle", "node1", percent={"etcd": 1.5}, total=1.5)
        return Outcome("ok", (), 1, 2.0)

    lab.plays["provision.yml"] = provision
    code, out, err = labctl("provision", "-i", "mine", "--limit", "node1", "--check")
    assert code == 0
    assert out == (
        "lab mine is provisioned: 1 changed, 2.0 s\nthe idle cluster takes of node1: 1.5 % of one CPU (etcd 1.5)\n"
    )
    assert "changed  node1: Task of package" in err


def test_what_cannot_be_provisioned_is_an_error(labctl: Run, lab: ScriptedSession) -> None:
    lab.plays["provision.yml"] = failing("node1", "no room")
    code, out, err = labctl("provision", "-i", "mine")
    assert (code, out) == (1, "")
    assert "seen:  no room" in err


def test_an_edition_is_installed_out_of_a_bundle(labctl: Run, lab: ScriptedSession, tmp_path: Path) -> None:
    code, _, err = labctl("provision", "-i", "mine", "--edition", "2021")
    assert code == 2
    assert "a cluster is installed from a bundle" in err
    code, _, err = labctl("provision", "-i", "mine", "--bundle", str(tmp_path))
    assert code == 1
    assert "this is no bundle" in err
    assert lab.played == []


def test_a_reset_says_that_nothing_is_left_or_what(labctl: Run, lab: ScriptedSession) -> None:
    lab.plays["reset.yml"] = lambda _: ended("ok")
    assert labctl("reset", "-i", "mine")[:2] == (0, "lab mine: nothing of a cluster is left, 0.1 s\n")
    lab.plays["reset.yml"] = failing("node1", "/etc/kubernetes is still there")
    code, _, err = labctl("reset", "-i", "mine")
    assert code == 1
    assert "/etc/kubernetes is still there" in err
