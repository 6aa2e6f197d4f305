"""labctl check, provision and reset, on a lab whose playbooks are scripted."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.labctl_node.kubectl import Kubectl
from ansible.module_utils.labctl_node.run import CommandFailed

from labctl.core.errors import Problem
from labctl.engine.events import Difference
from labctl.engine.outcome import Failure, Outcome
from labctl.labs import lock
from roles.existing_cluster.library import cluster_fingerprint
from tests.unit.cli.run import Run
from tests.unit.scripted import FIXTURES, Call, Play, ScriptedSession, done, ended, failing, looked_at


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
def test_a_look_says_beforehand_whom_it_disturbs(labctl: Run, lab: ScriptedSession, command: str) -> None:
    with lock.held("other", lock.MEASURING, "matrix"):
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


class Api(Kubectl):
    """A cluster as it was captured, of which one kind of object cannot be listed."""

    def __init__(self, forbidden: str = "") -> None:
        super().__init__("kubectl", "/config")
        self.seen = json.loads((FIXTURES / "cluster" / "kubernetes-1.20.json").read_text())
        self.forbidden = forbidden

    def run(self, *arguments: str, stdin: str = "") -> str:  # noqa: ARG002  (as Kubectl has it)
        return json.dumps(self.seen["version"])

    def get(self, *arguments: str) -> dict[str, Any]:
        kind, name = arguments[0].partition(".")[0], arguments[-1]
        if kind == self.forbidden:
            words = f'Error from server (Forbidden): {kind} is forbidden: User "x" cannot list'
            raise CommandFailed(["kubectl"], "failed", words)
        if kind == "node":
            found: dict[str, Any] = next(one for one in self.seen["nodes"] if one["metadata"]["name"] == name)
            return found
        return {"items": self.seen.get(kind, [])}


@pytest.fixture
def cluster(lab: ScriptedSession, tmp_path: Path) -> tuple[str, ...]:
    """The options of a cluster whose API is asked in place of the lab's nodes."""
    variables: dict[str, object] = {"lab_name": "other", "lab_kind": "cluster", "netperf_pods_kubeconfig": "config"}
    lab.variables.update(node1=variables, node2=variables)
    entry = {"clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.1"}}], "current-context": "x"}
    contexts = [{"name": "x", "context": {"cluster": "c"}}]
    (tmp_path / "config").write_text(yaml.safe_dump({**entry, "contexts": contexts}))
    return ("--kubeconfig", "config", "--client", "node1", "--server", "node2", "--format", "csv")


def through(api: Api, **state: object) -> Play:
    """A playbook that looks at both nodes through an API."""

    def play(call: Call) -> Outcome:
        for node in ("node1", "node2"):
            document = cluster_fingerprint.take(api, node)
            document["state"] |= state
            call.end("cluster_fingerprint", node, fingerprint=document)
        return ended("ok")

    return play


def test_a_cluster_is_checked_by_what_its_api_tells(
    labctl: Run, lab: ScriptedSession, cluster: tuple[str, ...]
) -> None:
    lab.plays["check.yml"] = through(Api())
    code, out, err = labctl("check", *cluster)
    assert (code, err) == (0, ""), out
    assert {line.partition(",")[0] for line in out.splitlines()} == {"level", "ok"}
    rows = {tuple(line.split(",")[1:3]): line for line in out.splitlines()}
    assert rows["node1", "node"].startswith("ok,node1,node,")
    assert rows["node1", "address"].endswith("198.18.246.139,")
    assert rows["both", "kernel"].startswith("ok,both,kernel,the same at both ends,6.18")
    assert ("node1", "netperf") not in rows
    assert ("both", "card and its settings") not in rows


def test_what_is_done_to_a_clusters_nodes_is_a_warning(
    labctl: Run, lab: ScriptedSession, cluster: tuple[str, ...]
) -> None:
    wrong = {"cordoned": True, "taints": ["k=v:NoExecute"], "conditions": {"DiskPressure": "no room"}}
    lab.plays["check.yml"] = through(Api("daemonsets"), **wrong)
    code, out, _ = labctl("check", *cluster)
    assert code == 0
    for words in (
        "warning,node1,cordon,not cordoned,cordoned: is it about to be drained?,",
        'warning,node2,node,"Ready, under no pressure",DiskPressure: no room,',
        "ok,node2,taints,known,k=v:NoExecute (tolerated),",
        "warning,node2,network,known,not visible without the right to list daemonsets,",
    ):
        assert f"\n{words}" in out


def test_what_is_in_the_way_of_a_cluster_is_a_finding_each_with_what_to_do(
    labctl: Run, lab: ScriptedSession, cluster: tuple[str, ...]
) -> None:
    problems = (Problem("the kubeconfig lacks a right: get nodes", "x", "no", "ask"), Problem("second", hint="do"))

    def play(call: Call) -> Outcome:
        return ended("failed", Failure(call.name, "A task", "node1", "both", problems=problems))

    lab.plays["check.yml"] = play
    code, out, _ = labctl("check", *cluster)
    assert code == 1
    assert out.splitlines()[1:] == [
        "error,cluster,cluster,nothing is in the way,the kubeconfig lacks a right: get nodes (x): no,ask",
        "error,cluster,cluster,nothing is in the way,second,do",
    ]


def test_a_node_that_was_left_out_is_said_to_be_so(labctl: Run, lab: ScriptedSession) -> None:
    def play(call: Call) -> Outcome:
        document = json.loads((FIXTURES / "fingerprint" / "local.json").read_text())["node1"]
        call.end("fingerprint", "node1", fingerprint=document)
        return ended("ok")

    lab.plays["check.yml"] = play
    _, out, _ = labctl("check", "-i", "mine", "--limit", "node1", "--format", "csv")
    assert "error,node2,look,the node is looked at,not asked,leave out --limit" in out


@pytest.mark.parametrize("command", ["check", "plan", "matrix"])
def test_an_empty_option_is_no_option_that_was_left_out(labctl: Run, lab: ScriptedSession, command: str) -> None:
    code, _, err = labctl(command, "--kubeconfig", "", "--client", "a", "--server", "b")
    assert (code, lab.played) == (2, [])
    assert "there is nothing in it\n  where: --kubeconfig" in err
    code, _, err = labctl(command, "--context", "")
    assert code == 2
    assert "there is nothing in it\n  where: --context" in err
