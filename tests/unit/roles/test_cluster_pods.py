"""What keeps pods of a cluster from running, and how a wait for them ends: objects as the API shows them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.labctl_node import pods
from ansible.module_utils.labctl_node.kubectl import Kubectl
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import CommandFailed

from roles.cluster_path.library import cluster_logs, cluster_rollout


def pod_that(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **status: object) -> dict[str, Any]:
    """A pod with these statuses of containers, and of those that run before them."""
    return {
        "kind": "Pod",
        "metadata": {"name": "agent-x", "uid": "u1", "ownerReferences": [{"uid": "d1", "kind": "DaemonSet"}]},
        "spec": {"nodeName": "node2"},
        "status": {"containerStatuses": list(containers), "initContainerStatuses": list(init), **status},
    }


def waiting(reason: str, message: str = "", restarts: int = 0, name: str = "agent", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": name, "image": "i:1", "state": state, "restartCount": restarts, "ready": False, **more}


def ended(reason: str, code: int = 1, message: str = "") -> dict[str, Any]:
    return {"lastState": {"terminated": {"reason": reason, "exitCode": code, "message": message}}}


def only(seen: dict[str, Any]) -> pods.Trouble:
    (found,) = pods.troubles(seen)
    return found


@pytest.mark.parametrize(
    "seen",
    [
        pod_that(phase="Running"),
        pod_that(waiting("ContainerCreating"), phase="Pending"),
        pod_that(waiting("PodInitializing"), phase="Pending"),
        pod_that({"name": "agent", "state": {"running": {}}, "restartCount": 2, "ready": False, **ended("Error")}),
        # Ready again after what it had: that it was started often is no trouble of now
        pod_that({"name": "a", "state": {}, "restartCount": 9}, conditions=[{"type": "Ready", "status": "True"}]),
    ],
)
def test_a_pod_that_is_on_its_way_has_no_trouble(seen: dict[str, Any]) -> None:
    assert list(pods.troubles(seen)) == []


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (
            pod_that(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
            "pod agent-x on node2 has ended (Evicted: The node was low on resource: memory.)",
        ),
        (
            pod_that(phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu"),
            "pod agent-x on node2 has ended (OutOfcpu: Node didn't have enough resource: cpu)",
        ),
        (
            pod_that({"name": "agent", "state": {"terminated": {"reason": "Error", "exitCode": 3}}}, phase="Failed"),
            "pod agent-x on node2 has ended (agent: Error, exit code 3)",
        ),
        (
            pod_that(waiting("ErrImageNeverPull", 'Container image "x" is not present with pull policy of Never')),
            "pod agent-x on node2 does not start: its container agent (ErrImageNeverPull: "
            'Container image "x" is not present with pull policy of Never)',
        ),
        (
            pod_that(waiting("InvalidImageName", 'couldn\'t parse image "UPPER"')),
            "pod agent-x on node2 does not start: its container agent (InvalidImageName: "
            'couldn\'t parse image "UPPER")',
        ),
        (
            pod_that(waiting("CrashLoopBackOff", "back-off 40s", 3, **ended("OOMKilled", 137))),
            "pod agent-x on node2 does not start: its container agent (CrashLoopBackOff: back-off 40s: OOMKilled)",
        ),
        (  # between two crashes of a loop it runs for a moment
            pod_that({"name": "agent", "state": {"running": {}}, "restartCount": 3, **ended("Error", 2)}),
            "pod agent-x on node2 does not start: its container agent was started 4 times (Error, exit code 2)",
        ),
        (
            pod_that(init=({"name": "mount", "state": {"running": {}}, "restartCount": 4, **ended("Error")},)),
            "pod agent-x on node2 does not start: its init container mount was started 5 times (Error, exit code 1)",
        ),
        (  # terminationMessagePolicy: FallbackToLogsOnError
            pod_that(
                waiting("CrashLoopBackOff", "back-off", 3, **ended("Error", 1, "usage: agent\n --a\n" + "x" * 999))
            ),
            "pod agent-x on node2 does not start: its container agent (CrashLoopBackOff: back-off: "
            f"Error, exit code 1: ... {'x' * 300})",
        ),
    ],
)
def test_what_is_hopeless_ends_a_wait_at_once(seen: dict[str, Any], words: str) -> None:
    trouble = only(seen)
    assert (trouble.words, trouble.after_s) == (words, 0.0)


def test_pods_that_wait_for_one_image_are_told_as_one() -> None:
    patience = pods.Patience(iter((0.0, pods.RECOVERY_S)).__next__)
    seen: list[pods.Trouble] = []
    for name, image in (("a", "i:1"), ("b", "i:1"), ("c", "i:2")):
        pod = pod_that(waiting("ErrImagePull", "no such host") | {"image": image}, phase="Pending")
        pod["metadata"] |= {"name": name, "uid": name}
        seen += pods.troubles(pod)
    assert patience.over(seen) == []
    first, other = patience.over(seen)
    assert (first.pod, first.image, other.pod, other.image) == ("a", "i:1", "c", "i:2")
    assert first.words.endswith("(ErrImagePull: no such host); so it is for b")
    assert not other.words.endswith("b")


@pytest.mark.parametrize("kind", ["containerStatuses", "initContainerStatuses"])
@pytest.mark.parametrize(
    "reason",
    ["ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"],
)
def test_what_may_recover_has_a_while(kind: str, reason: str) -> None:
    seen = pod_that()
    seen["status"][kind] = [waiting(reason, "why")]
    trouble = only(seen)
    assert (trouble.after_s, f"{reason}: why" in trouble.words) == (pods.RECOVERY_S, True)
    assert trouble.image == ("i:1" if "Image" in reason else "")


def test_patience_counts_from_when_something_was_first_seen_and_begins_anew_after_it_was_gone() -> None:
    now = 0.0
    patience = pods.Patience(lambda: now)
    pull, backoff = (only(pod_that(waiting(reason))) for reason in ("ErrImagePull", "ImagePullBackOff"))
    assert patience.over([pull]) == []
    now = 14.0
    assert patience.over([backoff]) == [], "the same trouble in other words"
    now = 15.0
    assert patience.over([pull]) == [pull]
    assert patience.over([]) == []
    now = 40.0
    assert patience.over([pull]) == []


def event(reason: str, count: int, name: str = "agent-x", **more: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "name": name}
    return {"type": "Warning", "reason": reason, "message": "why\nnot", "count": count, "involvedObject": about, **more}


def test_warnings_that_repeat_are_trouble_and_others_are_told_of_what_came_too_late() -> None:
    repeated = [event("FailedMount", 5), event("FailedCreatePodSandBox", 0, series={"count": 4})]
    others = [event("FailedMount", 1), event("Unhealthy", 9), event("FailedMount", 5, name="somebody's")]
    found = list(pods.lasting([*repeated, *others], ["agent-x"]))
    assert [one.words for one in found] == [
        "pod agent-x: FailedMount: why not",
        "pod agent-x: FailedCreatePodSandBox: why not",
    ]
    assert {one.after_s for one in found} == {pods.LASTING_S}
    assert pods.warnings(others, ["agent-x"]) == "agent-x: why\nnot"
    assert pods.warnings([]) == "nothing"


class Scripted(Kubectl):
    """kubectl that answers with objects, or fails, one answer per look; the last one stays."""

    def __init__(self, *looks: Any) -> None:
        super().__init__("kubectl", "/config")
        self.looks = list(looks)

    def run(self, *arguments: str, stdin: str = "") -> str:  # noqa: ARG002  (as Kubectl has it)
        return f"logs of {' '.join(arguments)}"

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        look = self.looks[0]
        if isinstance(look, Exception):
            self.looks = self.looks[1:] or self.looks
            raise look
        what = arguments[0]
        if what == "events":  # the last that is asked for in a look
            self.looks = self.looks[1:] or self.looks
        return list(look.get("everything" if "," in what else what, []))


NODE = {"kind": "Node", "metadata": {"name": "node2"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


def look(*found: dict[str, Any], available: int = 0, nodes: Any = (NODE,), events: Any = ()) -> dict[str, Any]:
    """A daemon set of one pod, and what else there is."""
    daemon_set = {
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "uid": "d1", "generation": 1},
        "spec": {},
        "status": {
            "desiredNumberScheduled": 1,
            "updatedNumberScheduled": 1,
            "numberAvailable": available,
            "observedGeneration": 1,
        },
    }
    return {"everything": [daemon_set, *found], "nodes": list(nodes), "events": list(events)}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second of a wait be a moment."""
    monkeypatch.setattr(cluster_rollout, "POLL_S", 0.0)
    monkeypatch.setattr(pods, "RECOVERY_S", 0.0)
    monkeypatch.setattr(pods, "LASTING_S", 0.0)
    monkeypatch.setattr(cluster_rollout, "SILENCE_S", 0.05)


def wait(*looks: Any, timeout_s: float = 30) -> dict[str, Any]:
    wanted = {"workloads": ["daemonset/agent"], "namespace": "kube-system", "timeout_s": timeout_s}
    return cluster_rollout.wait(Scripted(*looks), wanted)


def refused(*looks: Any, timeout_s: float = 30) -> dict[str, str]:
    with pytest.raises(Refused) as caught:
        wait(*looks, timeout_s=timeout_s)
    assert caught.value.problems[0]["hint"]
    return dict(caught.value.problems[0])  # type: ignore[arg-type]


@pytest.mark.usefixtures("impatient")
def test_a_rollout_is_over_once_every_pod_is_available() -> None:
    starting, ready = pod_that(waiting("ContainerCreating")), pod_that(conditions=[{"type": "Ready", "status": "True"}])
    down = CommandFailed(["kubectl"], "failed", "connection refused")
    assert wait(look(starting), down, look(ready, available=1))["pods"] == ["agent-x"]


@pytest.mark.usefixtures("impatient")
def test_a_rollout_ends_at_what_keeps_it_from_coming_about() -> None:
    init = pod_that(waiting("PodInitializing"), init=(waiting("CrashLoopBackOff", "back-off", 3, "mount"),))
    assert "its init container mount (CrashLoopBackOff: back-off)" in refused(look(init))["what"]
    init["status"]["initContainerStatuses"][0].update(ended("Error", 2))
    which = "logs agent-x --namespace=kube-system --container=mount --tail=10 --previous"
    assert refused(look(init))["seen"] == f"its last words: logs of {which}"
    quota = event("FailedCreate", 12, "agent", involvedObject={"kind": "DaemonSet", "name": "agent"})
    assert refused(look(events=[quota]))["what"] == "daemonset agent: FailedCreate: why not"
    unknown = [{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]
    gone = {"kind": "Node", "metadata": {"name": "node2"}, "status": {"conditions": unknown}}
    assert refused(look(nodes=[gone]))["what"] == "node node2 is gone: Unknown, Kubelet stopped posting node status."


@pytest.mark.usefixtures("impatient")
def test_a_rollout_tells_a_cluster_that_is_silent_from_one_that_is_late() -> None:
    down = CommandFailed(["kubectl"], "failed", "The connection to the server 192.0.2.1:6443 was refused")
    silent = refused(down)
    assert silent["what"] == "The API server does not answer."
    assert silent["seen"].endswith(f" s: {down.output}")
    assert "journalctl -u kubelet" in silent["hint"]
    late = refused(look(pod_that(waiting("ContainerCreating"))), timeout_s=0)
    assert late["what"] == "Not Ready within 0 s: daemonset/agent: 0 of 1 pods are available"
    other = {"everything": [], "nodes": [NODE], "events": []}
    assert refused(other, timeout_s=0)["what"] == "Not Ready within 0 s: daemonset/agent is not there"


def test_every_container_is_asked_for_its_log_by_itself_those_that_ended_before_too() -> None:
    crashed = waiting("CrashLoopBackOff", "", 2, "mount")
    seen = pod_that(waiting("PodInitializing"), init=(crashed,))
    wanted = {"selectors": ["k8s-app=agent"], "namespace": "kube-system", "lines": 20}
    read = cluster_logs.read(Scripted({"pods": [seen]}), wanted)
    assert read["summary"] == (
        "pod agent-x on node2: mount waiting (CrashLoopBackOff), 2 restarts, agent waiting (PodInitializing)"
    )
    asked = [line for line in read["text"].splitlines() if line.startswith("logs of logs")]
    common = "logs of logs agent-x --namespace=kube-system"
    assert asked == [
        f"{common} --container=mount --tail=20 --previous",
        f"{common} --container=mount --tail=20",
        f"{common} --container=agent --tail=20",
    ]
    down = CommandFailed(["kubectl"], "failed", "connection refused")
    assert cluster_logs.read(Scripted(down), wanted)["summary"] == "the API server does not answer: connection refused"
