"""labctl check, provision and reset, on a lab whose playbooks are scripted."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.engine.events import Difference
from labctl.engine.outcome import Outcome
from tests.unit.cli.run import Run
from tests.unit.scripted import Call, ScriptedSession, ended, failing, looked_at


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


def test_provisioning_tells_what_changed_and_what_an_idle_cluster_takes(labctl: Run, lab: ScriptedSession) -> None:
    def provision(call: Call) -> Outcome:
        assert call.options is not None
        assert (call.options.limit, call.options.check) == ("node1", False)
        call.end("package", "node1", changed=True)
        call.end("kubernetes_idle", "node1", percent={"etcd": 1.5}, total=1.5)
        return Outcome("ok", (), 1, 2.0)

    lab.plays["provision.yml"] = provision
    code, out, err = labctl("provision", "-i", "mine", "--limit", "node1")
    assert code == 0
    assert out == (
        "lab mine is provisioned: 1 changed, 2.0 s\nthe idle cluster takes of node1: 1.5 % of one CPU (etcd 1.5)\n"
    )
    assert "changed  node1: Task of package" in err


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (0, "lab mine would not change: nothing was done (--check), 2.0 s\n"),
        (1, "lab mine: 1 task would change something, and what builds on it is not known yet; nothing was done"),
        (2, "lab mine: 2 tasks would change something, and what builds on them is not known yet; nothing was done"),
    ],
)
def test_what_was_only_looked_at_is_not_said_to_be_provisioned(
    labctl: Run, lab: ScriptedSession, changed: int, told: str
) -> None:
    def provision(call: Call) -> Outcome:
        call.listener(Difference("A file is there", "node1", "--- before\n+++ after\n-a\n+b"))
        return Outcome("ok", (), changed, 2.0)

    lab.plays["provision.yml"] = provision
    code, out, _ = labctl("provision", "-i", "mine", "--check", "--diff")
    difference, _, last = out.rpartition("\n\n")
    assert difference == "node1: A file is there\n--- before\n+++ after\n-a\n+b"
    assert last.startswith(told)
    assert "provisioned" not in out
    assert code == 0


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
