"""What keeps pods from running, in the cluster's own words: of one look, and of a wait.

What is hopeless ends a wait at once. What may recover - a pull, a crash, an event about the pod - gets a few
repetitions first: kubelet pulls again after ten seconds, and starts a container that crashed after 0, 10 and 20.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible.module_utils.labctl_node.kubectl import Kubectl
from ansible.module_utils.labctl_node.refused import Problem
from ansible.module_utils.labctl_node.run import CommandFailed

Object = Mapping[str, Any]

# Reasons of a container that waits, after which it does not start by itself.
HOPELESS = ("ErrImageNeverPull", "InvalidImageName")
# Those that kubelet tries to overcome, and how long one may last.
RECOVERING = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
    "CreateContainerConfigError",
    "CreateContainerError",
    "PreCreateHookError",
    "PreStartHookError",
    "PostStartHookError",
    "RunContainerError",
    "StartError",
    "CrashLoopBackOff",
)
IMAGE = ("ErrImageNeverPull", "InvalidImageName", "ErrImagePull", "ImagePullBackOff", "ImageInspectError")
RECOVERY_S = 15.0
ENDED = ("Failed", "Succeeded")
RESTARTS = 3
# Warnings about a pod, or about what makes pods, that keep it from starting as long as they are repeated.
LASTING = (
    "FailedCreate",
    "FailedScheduling",
    "FailedMount",
    "FailedAttachVolume",
    "FailedMapVolume",
    "FailedCreatePodSandBox",
    "FailedCreatePodContainer",
    "FailedPodSandBoxStatus",
    "NetworkNotReady",
    "Evicted",
    "NodeNotReady",
)
REPETITIONS, LASTING_S = 3, 40.0
LINES = 10  # of a log that are told
LONGEST = 300  # characters of a container's message
LOST = "unable to retrieve container logs"  # what kubelet says, in the log's place, of a container that it removed
WORDS = 3  # warnings that are told of a wait that took too long


class Trouble(NamedTuple):
    """What keeps a pod from running. `after_s`: so long it may last before the wait is over; 0 for not at all.

    `key` tells it from others of the same wait; `image` is the one that cannot be had. `pod` and `container` are what
    ran and ended, and so has something to say.
    """

    key: str
    words: str
    after_s: float = 0.0
    image: str = ""
    pod: str = ""
    container: str = ""


def name_of(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def called(pod: Object) -> str:
    """A pod as messages say it."""
    return f"pod {name_of(pod)} on {pod['spec'].get('nodeName') or 'no node yet'}"


def is_ready(pod: Object) -> bool:
    """Whether a pod is Ready."""
    conditions: List[Object] = pod["status"].get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def readiness(node: Object) -> str:
    """What a node's kubelet, or the cluster in its place, says of it."""
    for one in node["status"].get("conditions") or ():
        if one["type"] == "Ready":
            return ", ".join(filter(None, (one["status"], one.get("message") or one.get("reason"))))
    return "Unknown, it was never Ready"


def containers(pod: Object) -> Iterator[Tuple[str, Object]]:
    """What the cluster says of a pod's containers, those that run before the others first: kind and status."""
    for kind, key in (("init container", "initContainerStatuses"), ("container", "containerStatuses")):
        for one in pod["status"].get(key) or []:
            yield kind, one


def troubles(pod: Object) -> Iterator[Trouble]:
    """What keeps a pod from running, or took it down."""
    status, key = pod["status"], pod["metadata"].get("uid") or name_of(pod)
    if status.get("phase") in ENDED:
        why = ": ".join(filter(None, (status.get("reason"), status.get("message")))) or _exits(pod)
        yield Trouble(f"{key} ended", f"{called(pod)} has ended ({why or status['phase']})")
    elif pod["metadata"].get("deletionTimestamp"):
        yield Trouble(f"{key} deleted", f"{called(pod)} is being deleted by somebody else")
    elif not is_ready(pod):
        for kind, container in containers(pod):
            found = _container(pod, kind, container)
            if found:
                ran = container["name"] if _last(container) else ""
                yield found._replace(key=f"{key} {container['name']}", pod=name_of(pod), container=ran)


def _container(pod: Object, kind: str, container: Object) -> Optional[Trouble]:
    """What keeps a container from starting, or from running on."""
    waiting = container.get("state", {}).get("waiting") or {}
    reason, restarts = waiting.get("reason") or "", container.get("restartCount") or 0
    last = _last(container)
    which = f"{called(pod)} does not start: its {kind} {container['name']}"
    image = str(container.get("image") or "") if reason in IMAGE else ""
    if reason in HOPELESS or reason in RECOVERING:
        said = str(waiting.get("message") or "")
        own = last.partition(": ")[0] if last and last.partition(": ")[2] in said else last
        words = ": ".join(filter(None, (reason, said, own)))
        looping = reason == "CrashLoopBackOff" and restarts >= RESTARTS
        return Trouble("", f"{which} ({words})", 0.0 if looping or reason in HOPELESS else RECOVERY_S, image)
    if restarts >= RESTARTS and not container.get("ready"):
        return Trouble("", f"{which} was started {restarts + 1} times ({last or 'and ended each time'})")
    return None


def _last(container: Object) -> str:
    """How a container ended the last time."""
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
    if not ended:
        return ""
    reason = str(ended.get("reason") or "ended")
    how = reason if reason == "OOMKilled" else f"{reason}, exit code {ended.get('exitCode')}"
    # A message may be the end of the container's log (terminationMessagePolicy): its last line is enough.
    said = str(ended.get("message") or "").strip().rpartition("\n")[2]
    return ": ".join(filter(None, (how, said if len(said) <= LONGEST else f"... {said[-LONGEST:]}")))


def _exits(pod: Object) -> str:
    return "; ".join(f"{one['name']}: {_last(one)}" for _, one in containers(pod) if _last(one))


def lasting(events: Iterable[Object], concerned: Sequence[str]) -> Iterator[Trouble]:
    """Warnings about these objects, by name, that were repeated: each may last a while longer."""
    for event in events:
        about, reason = event.get("involvedObject") or {}, event.get("reason") or ""
        if event.get("type") != "Warning" or reason not in LASTING or about.get("name") not in concerned:
            continue
        count = (event.get("series") or {}).get("count") or event.get("count") or 1
        if count >= REPETITIONS:
            words = f"{str(about.get('kind') or '').lower()} {about['name']}: {reason}: {event.get('message')}"
            yield Trouble(f"{about['name']} {reason}", " ".join(words.split()), LASTING_S)


def warnings(events: Iterable[Object], concerned: Optional[Sequence[str]] = None) -> str:
    """What the cluster warned of last, of these objects or of all."""
    said = [
        f"{event['involvedObject'].get('name')}: {event.get('message')}"
        for event in events
        if event.get("type", "Warning") == "Warning"
        and (concerned is None or event["involvedObject"].get("name") in concerned)
    ]
    return "; ".join(dict.fromkeys(said[-WORDS:])) or "nothing"


class Patience:
    """What was seen to be wrong in a wait, and since when: tells what has lasted too long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: Dict[str, float] = {}

    def over(self, seen: Iterable[Trouble]) -> List[Trouble]:
        """Return what there is no point in waiting for. What is not seen any more may begin anew."""
        found, now = list(seen), self._clock()
        self._since = {one.key: self._since.get(one.key, now) for one in found}
        return list(_once(one for one in found if now - self._since[one.key] >= one.after_s))


def _once(found: Iterable[Trouble]) -> Iterator[Trouble]:
    """Each cause once: of the pods that wait for one image, the first stands for all."""
    waiting: Dict[str, List[Trouble]] = {}
    for one in found:
        waiting.setdefault(one.image or one.key, []).append(one)
    for first, *more in waiting.values():
        others = ", ".join(sorted({one.pod for one in more} - {"", first.pod}))
        yield first._replace(words=f"{first.words}; so it is for {others}") if others else first


def problem(kubectl: Kubectl, space: str, trouble: Trouble, hint: str) -> Problem:
    """A trouble as what a module refuses: what the cluster says of it, and what the container itself said last."""
    found: Problem = {"what": trouble.words, "hint": hint}
    said = last_words(kubectl, space, trouble) if trouble.container else ""
    if said:
        found["seen"] = f"its last words: {said}"
    return found


def last_words(kubectl: Kubectl, space: str, trouble: Trouble) -> str:
    """What a container said last, before its last start or since; empty where nothing is known of it."""
    which = ("logs", trouble.pod, f"--namespace={space}", f"--container={trouble.container}", f"--tail={LINES}")
    for how in (("--previous",), ()):
        try:
            said = kubectl.run(*which, *how).strip()
        except CommandFailed:
            continue
        if said and not said.startswith(LOST):
            return said
    return ""
