"""What a playbook reports while it runs, in labctl's own words, and the outcome that it adds up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labctl.engine.outcome import ITEMS_FAILED, Failure, Outcome, hint_for, message_of, problems_of

# Every module that returns a fingerprint, or sections of one as the role of a CNI does, returns it by this name.
FINGERPRINT = "fingerprint"
PROVERS = ("datapath_proof", "cluster_proof")  # those that return a proof
SAMPLERS = ("netperf_sample",)  # and those that take a sample
NOTHING_RAN = "nothing was done: correct the inventory or file that is named, then do the same again"


@dataclass(frozen=True)
class TaskStart:
    """A task begins."""

    play: str
    task: str


@dataclass(frozen=True)
class TaskResult:
    """One node's result of one task, or of one item of its loop, whose `label` it has then.

    `action` is the module's short name.
    """

    action: str
    task: str
    node: str
    ok: bool
    changed: bool
    data: Mapping[str, Any]
    label: str = ""

    @property
    def title(self) -> str:
        """The task, and the item that it was for."""
        return f"{self.task}: {self.label}" if self.label else self.task


@dataclass(frozen=True)
class Difference:
    """What a task changed in a file or setting of a node, or would change, in Ansible's words; told before its result.

    Only where it was asked for.
    """

    task: str
    node: str
    text: str


Event = TaskStart | TaskResult | Difference
Listener = Callable[[Event], None]


@dataclass
class Watcher:
    """Turns runner's events into ours, and remembers failures."""

    listener: Listener
    failures: list[Failure] = field(default_factory=list)
    unreachable: set[str] = field(default_factory=set)
    stats: Mapping[str, Mapping[str, int]] | None = None
    play: str = ""

    def __call__(self, event: Mapping[str, Any]) -> bool:
        """Take one event of runner; False, since runner need not keep it on disk."""
        kind, data = event["event"], event.get("event_data", {})
        if kind == "playbook_on_play_start":
            self.play = data.get("name", "")
        elif kind == "playbook_on_task_start":
            self.listener(TaskStart(self.play, data.get("name", "")))
        elif kind == "playbook_on_stats":
            self.stats = data
        elif kind == "runner_on_file_diff":
            text = str(event.get("stdout", "")).replace("\r\n", "\n").strip("\n")
            if text:
                self.listener(Difference(data.get("task", ""), data.get("host", ""), text))
        elif kind.startswith(("runner_on_", "runner_item_on_")) and "res" in data:
            self.result(kind, data)
        return False

    def result(self, kind: str, data: Mapping[str, Any]) -> None:
        """Take the result of a task on one node."""
        res = data["res"] if isinstance(data["res"], Mapping) else {"msg": data["res"]}
        if kind == "runner_on_unreachable":
            self.unreachable.add(data.get("host", ""))
        failed = kind.endswith(("failed", "unreachable")) and not data.get("ignore_errors")
        if kind.startswith("runner_on_") and _is_loop(res) and (not failed or self.failures):
            return  # its items were reported one by one
        action = str(data.get("task_action", "")).rpartition(".")[2]
        if failed:
            playbook, node, message = Path(data.get("playbook", "")).name, data.get("host", ""), message_of(res)
            if action == "fail" and self._repeats(node, message):
                return
            problems = problems_of(res, node)
            self.failures.append(Failure(playbook, data.get("task", ""), node, message, hint_for(message), problems))
        ok, changed = not failed, bool(res.get("changed"))
        self.listener(TaskResult(action, data.get("task", ""), data.get("host", ""), ok, changed, res, _label(res)))

    def outcome(self, status: str, name: str, output: str, seconds: float) -> Outcome:
        """How playbook `name` ended, by runner's `status`; `output` is what ansible-playbook printed."""
        changed = sum((self.stats or {}).get("changed", {}).values())
        if status == "canceled":
            return Outcome("interrupted", tuple(self.failures), changed, seconds)
        if status == "successful":
            return Outcome("ok", (), changed, seconds)
        failures = tuple(self.failures)
        if not failures:
            # Nothing ran: the playbook or the inventory itself is at fault. Or it ran, and did not come to its end.
            ended = f"Ansible ended during the play '{self.play}', killed perhaps. It said last:\n" if self.play else ""
            words = ended + "\n".join(output.strip().splitlines()[-(3 if ended else 15) :])
            hint = hint_for(output) or (None if self.play else NOTHING_RAN)
            failures = (Failure(name, "", "controller", words, hint),)
        return Outcome("failed", failures, changed, seconds, tuple(sorted(self.unreachable)))

    def _repeats(self, node: str, message: str) -> bool:
        """Whether a failure has no words of its own, since it lets an earlier one of its node stand."""
        earlier = [failure.message for failure in self.failures if failure.node == node]
        return any(message == ITEMS_FAILED or message in said for said in earlier)


def _label(res: Mapping[str, Any]) -> str:
    """What a loop calls the item of a result; nothing for one that is no word or number."""
    label = res.get("_ansible_item_label")
    return str(label) if isinstance(label, str | int | float) else ""


def _is_loop(res: Mapping[str, Any]) -> bool:
    """Whether a result is that of a whole loop, its items within."""
    items = res.get("results") or ()
    return bool(items) and all(isinstance(item, Mapping) and "ansible_loop_var" in item for item in items)
