"""A session whose playbooks are played here and not by Ansible: prepared events, and captured samples on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.core.files import read_yaml, write_text
from labctl.engine.events import Listener, TaskResult, TaskStart
from labctl.engine.outcome import Ending, Failure, Outcome
from labctl.engine.session import AnsibleOptions, Session
from labctl.engine.settings import Settings

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
CAPTURES = {"tcp_stream": "baseline.tcp_stream.1/1-2", "tcp_crr": "baseline.tcp_crr.1/1-1"}  # of one process
# What a sample was taken for; the rest of what stands in a capture is how it was taken.
OWN = ("id", "cell", "setup", "round", "n", "deployment")


@dataclass(frozen=True)
class Call:
    """A playbook that is to be played; `variables` are those that its last inventory source gives to every node."""

    name: str
    inventories: tuple[Path, ...]
    listener: Listener
    cancelled: Callable[[], bool]
    options: AnsibleOptions | None
    variables: Mapping[str, Any]

    @property
    def setup(self) -> str:
        """The setup that is visited."""
        return str(self.variables["setup_id"])

    def start(self, task: str = "A task", play: str = "A play") -> None:
        """A task begins."""
        self.listener(TaskStart(play, task))

    def end(self, action: str, node: str = "node1", ok: bool = True, changed: bool = False, **data: Any) -> None:
        """A task ended on a node."""
        self.listener(TaskResult(action, f"Task of {action}", node, ok, changed, data))


Play = Callable[[Call], Outcome]


def two_nodes(name: str, kind: str) -> dict[str, dict[str, object]]:
    """The variables of the two nodes of a lab."""
    same = {"lab_name": name, "lab_kind": kind, "cable_interface": "cable0"}
    return {
        f"node{number}": {**same, "cable_address": f"192.0.2.{number}", "pod_network": f"198.51.100.{number * 64}/26"}
        for number in (1, 2)
    }


class ScriptedSession(Session):
    """Plays what stands in `plays` by the playbook's name, else nothing with success; `calls` are those it played.

    Every inventory it reads has the two nodes that `variables` holds.
    """

    def __init__(self, earlier: ScriptedSession | None = None) -> None:
        super().__init__()
        self.settings = Settings()
        self.plays: dict[str, Play] = earlier.plays if earlier else {}
        self.calls: list[Call] = earlier.calls if earlier else []
        self.variables: dict[str, dict[str, object]] = earlier.variables if earlier else {"node1": {}, "node2": {}}

    @property
    def played(self) -> list[str]:
        """The playbooks so far."""
        return [call.name for call in self.calls]

    def inventory(self, *sources: Path) -> Mapping[str, Any]:  # noqa: ARG002  (as every session has it)
        """What Ansible would say of the lab."""
        client, server = self.variables
        return {
            "_meta": {"hostvars": self.variables},
            "client": {"hosts": [client]},
            "server": {"hosts": [server]},
            "control_plane": {"hosts": [client]},
            "worker": {"hosts": [server]},
        }

    def run_playbook(
        self,
        name: str,
        inventories: Sequence[Path],
        *,
        options: AnsibleOptions | None = None,
        listener: Listener = lambda _: None,
        log: Path | None = None,
        cancelled: Callable[[], bool] | None = None,
        stop: Path | None = None,  # noqa: ARG002  (as every session has it)
        looks: bool = False,  # noqa: ARG002
    ) -> Outcome:
        ended_now = cancelled or (lambda: False)
        call = Call(name, tuple(inventories), listener, ended_now, options, variables_of(inventories[-1]))
        self.calls.append(call)
        outcome = self.plays.get(name, done)(call)
        if log is not None:
            write_text(log, f"{name}: {outcome.status}\n")
        return outcome


def variables_of(source: Path) -> Mapping[str, Any]:
    """What setup.yml says of its first node; nothing for a source that is a lab."""
    if not source.is_file():
        return {}
    hosts = read_yaml(source)["all"].get("hosts") or {"": {}}
    return dict(next(iter(hosts.values())))


def ended(status: Ending, *failures: Failure, unreachable: tuple[str, ...] = ()) -> Outcome:
    return Outcome(status, failures, 0, 0.1, unreachable)


def done(_: Call) -> Outcome:
    return ended("ok")


def failing(node: str, message: str, lost: bool = False) -> Play:
    """A playbook that fails on a node, because it is `lost` perhaps."""

    def play(call: Call) -> Outcome:
        failure = Failure(call.name, "A task", node, message)
        return ended("failed", failure, unreachable=(node,) if lost else ())

    return play


def measuring(call: Call) -> Outcome:
    """Take the samples of a visit as the measuring plugin does, until the stop file is there or Ansible is ended."""
    for item in call.variables["measure_samples"]:
        if Path(call.variables["measure_stop_file"]).exists():
            break
        call.start("Samples are measured")
        take(call, item)
        if call.cancelled():
            return ended("interrupted")
    return ended("ok")


def take(call: Call, item: Mapping[str, Any], reason: str | None = None) -> None:
    """Leave a captured sample as the one that `item` asks for, or one that failed for a reason, and report it."""
    folder = Path(call.variables["measure_output_dir"]) / item["id"]
    try:
        if reason is None:
            lay(folder, item)
        else:
            folder.mkdir(parents=True)
            head = {"schema": "labctl.measurement/1", "sample": item, "status": "failed", "reason": reason}
            (folder / "measurement.json").write_text(json.dumps(head))
    except OSError as error:
        words = f"sample {item['id']} is lost, its files cannot be written: {error.strerror}"
        call.end("netperf_sample", ok=False, status="unwritten", msg=words)
        return
    call.end("netperf_sample", status="failed" if reason else "ok", folder=str(folder), reason=reason)


def lay(folder: Path, item: Mapping[str, Any]) -> None:
    """A captured sample as a raw folder of the sample `item`."""
    shutil.copytree(FIXTURES / "samples" / CAPTURES[item["workload"]], folder)
    measurement = json.loads((folder / "measurement.json").read_text())
    measurement["sample"] |= {name: item[name] for name in OWN}
    (folder / "measurement.json").write_text(json.dumps(measurement))


def looked_at(provisioned: bool = True, **changes: Mapping[str, object]) -> Play:
    """A playbook that fingerprints both nodes of the captured lab, with changes in sections of both fingerprints."""
    documents = json.loads((FIXTURES / "fingerprint" / "local.json").read_text())
    # The captures are older than these.
    versions = {"edition": None, "provisioned": "1" if provisioned else None, **changes.get("versions", {})}
    changes = {**changes, "versions": versions}

    def play(call: Call) -> Outcome:
        for node, document in documents.items():
            changed = {section: {**document[section], **values} for section, values in changes.items()}
            call.end("fingerprint", node, fingerprint={**document, **changed})
        return ended("ok")

    return play
