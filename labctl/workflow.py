"""What the commands do, as plain functions over a lab: look, provision, plan, measure. Nothing here prints."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from labctl import catalog, matrix, paths
from labctl import plan as planning
from labctl.errors import LabctlError, Problem
from labctl.fingerprint import Fingerprint, parse
from labctl.options import MatrixOptions
from labctl.plan import LabFacts, Plan
from labctl.play import AnsibleOptions, Event, Inventory, Listener, Outcome, Session, TaskResult, load_inventory
from labctl.runfolder import RunFolder


@dataclass(frozen=True)
class Look:
    """What `check` saw: a fingerprint per node that answered, and how the playbook ended."""

    fingerprints: Mapping[str, Fingerprint]
    outcome: Outcome


def look(session: Session, lab: Inventory, options: AnsibleOptions, listener: Listener = lambda _: None) -> Look:
    """Fingerprint the nodes; changes nothing on them."""
    fingerprints: dict[str, Fingerprint] = {}

    def collect(event: Event) -> None:
        if isinstance(event, TaskResult) and event.action == "fingerprint" and event.ok:
            fingerprints[event.node] = parse(event.data["fingerprint"], event.node)
        listener(event)

    outcome = session.run_playbook("check.yml", [lab.path], options=options, listener=collect)
    return Look(fingerprints, outcome)


def provision(
    session: Session, lab: Inventory, options: AnsibleOptions, listener: Listener = lambda _: None
) -> Outcome:
    """Bring the nodes to where every setup can be deployed."""
    return session.run_playbook("provision.yml", [lab.path], options=options, listener=listener)


def is_provisioned(seen: Look) -> bool:
    """Whether the last task of provision.yml left its mark on every node."""
    return all(fingerprint.text("versions", "provisioned") for fingerprint in seen.fingerprints.values())


def facts(lab: Inventory, seen: Look) -> LabFacts:
    """What a plan needs to know of the lab."""
    seen.outcome.require()
    threads = [fingerprint.whole("cpu", "threads") for fingerprint in seen.fingerprints.values()]
    known = [count for count in threads if count]
    if len(known) < 2:
        raise LabctlError(Problem("a node does not say how many CPU threads it has", str(lab.path), str(threads)))
    return LabFacts(lab.name, lab.kind, lab.client, lab.server, min(known))


def plan(options: MatrixOptions, lab: LabFacts) -> Plan:
    """The plan for what was asked, on this lab, now."""
    return planning.build(options, catalog.load(), lab, datetime.now(UTC))


def open_lab(session: Session, lab: str) -> Inventory:
    """The lab of this name or path."""
    return load_inventory(session, paths.resolve_lab(lab))


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, and whether all that was planned was done and counts."""

    folder: Path
    complete: bool


def measure(
    session: Session,
    plan: Plan,
    lab: Inventory,
    options: AnsibleOptions,
    progress: Callable[[matrix.Progress], None],
) -> RunResult:
    """Execute a plan in a new run folder. The first Ctrl-C ends it after the sample in flight, the second at once."""
    folder = RunFolder(paths.runs_dir() / plan.id)
    try:
        folder.path.mkdir(parents=True)
    except FileExistsError:
        problem = Problem("a run of this name exists", str(folder.path), hint="wait a second, or remove it")
        raise LabctlError(problem) from None
    stop = matrix.StopSwitch(folder)
    execution = matrix.Execution(session, plan, lab, folder, options, progress, stop)
    with _interrupts(stop.request):
        execution.run()
    return RunResult(folder.path, not (execution.failed or stop.asked))


@contextmanager
def _interrupts(request: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM become requests to stop."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        request()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
