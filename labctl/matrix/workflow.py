"""What the commands do, as plain functions over a lab: look, provision, plan, measure. Nothing here prints."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from labctl import catalog
from labctl.bundle import index as bundles
from labctl.bundle import install as cluster
from labctl.bundle.index import Bundle
from labctl.catalog import CLUSTER
from labctl.core import paths
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.files import write_json
from labctl.engine.events import FINGERPRINTERS, Event, Listener, TaskResult
from labctl.engine.inventory import Inventory, load_inventory
from labctl.engine.outcome import Outcome
from labctl.engine.session import AnsibleOptions, Session
from labctl.labs import embedded as labs
from labctl.labs import lock
from labctl.labs.lock import LabLock
from labctl.matrix import execution as matrix
from labctl.matrix import resume as resuming
from labctl.matrix.resume import Earlier, Kept
from labctl.nodes import encryption
from labctl.nodes.fingerprint import Fingerprint, parse
from labctl.plan import plan as planning
from labctl.plan.options import MatrixOptions
from labctl.plan.plan import LabFacts, Plan
from labctl.runs import attempts
from labctl.runs import status as statuses
from labctl.runs.attempts import Attempt, Change
from labctl.runs.folder import RunFolder
from labctl.runs.status import RunState


@dataclass(frozen=True)
class Look:
    """What `check` saw: a fingerprint per node that answered, and how the playbook ended."""

    fingerprints: Mapping[str, Fingerprint]
    outcome: Outcome


def look(
    session: Session,
    lab: Inventory,
    options: AnsibleOptions,
    listener: Listener = lambda _: None,
    playbook: str = "check.yml",
) -> Look:
    """Fingerprint the nodes; changes nothing on them.

    With `playbook` clear.yml what an earlier run left deployed is taken down first.
    """
    fingerprints: dict[str, Fingerprint] = {}

    def collect(event: Event) -> None:
        if isinstance(event, TaskResult) and event.action in FINGERPRINTERS and event.ok:
            fingerprints[event.node] = parse(event.data["fingerprint"], event.node)
        listener(event)

    outcome = session.run_playbook(playbook, [lab.path], options=options, listener=collect)
    return Look(fingerprints, outcome)


@dataclass(frozen=True)
class Cluster:
    """A cluster to provision: an edition out of the bundle in `directory`, all of whose files are as they should be."""

    bundle: Bundle
    directory: Path
    edition: str


def provision(
    session: Session,
    lab: Inventory,
    options: AnsibleOptions,
    listener: Listener = lambda _: None,
    allow_reboot: bool = False,
    wanted: Cluster | None = None,
) -> Outcome:
    """Bring the nodes to where every setup can be deployed; with `wanted`, make them a cluster.

    UsageError for nodes that are not labctl's to change.
    """
    if lab.kind == CLUSTER:
        what = "a cluster one already has is measured as it is: there is nothing to provision"
        raise UsageError(Problem(what, str(lab.path), hint="labctl matrix"))
    allowed = {"all": {"hosts": {host: {"kernel_allow_reboot": True} for host in lab.hosts}}} if allow_reboot else None
    content = None
    if wanted is not None:
        cluster.require_groups(lab.groups, str(lab.path))
        content = cluster.inventory(wanted.bundle, wanted.directory, wanted.edition)
    with session.source(allowed) as more, session.source(content) as members:
        sources = [lab.path, *more, *members]
        return session.run_playbook("provision.yml", sources, options=options, listener=listener)


def idle_cluster(event: Event) -> Mapping[str, str]:
    """What an idle cluster takes of a node's CPU, in words by node, where the event says it."""
    if not isinstance(event, TaskResult) or event.action != "kubernetes_idle" or not event.ok:
        return {}
    parts = ", ".join(f"{program} {percent:g}" for program, percent in event.data["percent"].items() if percent)
    return {event.node: f"{event.data['total']:g} % of one CPU ({parts or 'nothing that counts'})"}


def open_bundle(directory: Path, edition: str | None) -> Cluster:
    """The bundle in `directory`, every file of it verified, and the edition that is meant."""
    found = bundles.verify(directory)
    return Cluster(found, directory, bundles.choose(found, edition, directory))


def reset(session: Session, lab: Inventory, options: AnsibleOptions, listener: Listener = lambda _: None) -> Outcome:
    """Take the cluster off the nodes; fails with every trace of it that is left."""
    return session.run_playbook("reset.yml", [lab.path], options=options, listener=listener)


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
    emulated = any(fingerprint.emulated for fingerprint in seen.fingerprints.values())
    can = encryption.facts(tuple(seen.fingerprints.values()))
    limits = [limit for one in seen.fingerprints.values() if (limit := one.whole("link", "max_mtu"))]
    return LabFacts(
        name=lab.name,
        kind=lab.kind,
        client=lab.client,
        server=lab.server,
        threads=min(known),
        emulated=emulated,
        tunnels=can,
        largest_mtu=min(limits, default=None),
        edition=next((one.text("versions", "edition") for one in seen.fingerprints.values()), None),
    )


def plan(options: MatrixOptions, lab: LabFacts) -> Plan:
    """The plan for what was asked, on this lab, now."""
    return planning.build(options, catalog.load(), lab, datetime.now(UTC))


def open_lab(session: Session, lab: str) -> Inventory:
    """The lab of this name or path."""
    return load_inventory(session, paths.resolve_lab(lab))


@contextmanager
def locked(lab: Inventory, command: str) -> Iterator[LabLock]:
    """Hold a lab against every other labctl of this machine. LabctlError naming the owner when one has it."""
    ends = {node: lab.hosts.get(node, {}) for node in (lab.client, lab.server)}
    with lock.held(lab.name, lock.key(lab.name, lab.kind, ends), command) as held:
        yield held


@contextmanager
def locked_to_destroy(session: Session, lab: str) -> Iterator[LabLock]:
    """As `locked`, also for a lab that is no more than a record, its inventory gone."""
    try:
        inventory = open_lab(session, lab)
    except UsageError:
        with lock.held(lab, lock.key(lab, "local", {}), "lab destroy") as held:
            yield held
    else:
        with locked(inventory, "lab destroy") as held:
            yield held


@dataclass(frozen=True)
class RunResult:
    """A run that ended: its folder, whether all that was planned was done and counts, and what ended it if not."""

    folder: Path
    complete: bool
    broken: LabctlError | None


@dataclass(frozen=True)
class Work:
    """What executing a plan takes besides the plan."""

    session: Session
    lab: Inventory
    options: AnsibleOptions
    progress: Callable[[matrix.Progress], None]
    fail_fast: bool = False


def folder_of(plan: Plan) -> RunFolder:
    """Where the run of a new plan will be."""
    return RunFolder(paths.runs_dir() / plan.id)


def measure(work: Work, plan: Plan, seen: Look) -> RunResult:
    """Execute a plan in a new run folder. The first Ctrl-C ends it after the sample in flight, the second at once."""
    folder = folder_of(plan)
    # Under a name that means nothing until it holds a whole run.
    begun = RunFolder(folder.path.with_name(f".{plan.id}.partial"))
    if folder.path.exists():
        problem = Problem("a run of this name exists", str(folder.path), hint="wait a second, or remove it")
        raise LabctlError(problem)
    execution = _execution(work, plan, folder)
    write_json(begun.plan, planning.to_json(plan))
    attempts.write(begun, attempts.observe(1, begun.plan.read_text(), work.lab, seen.fingerprints))
    write_json(begun.status, statuses.to_json(execution.status(RunState.RUNNING)))
    begun.path.rename(folder.path)
    return _execute(execution)


def drift(earlier: Earlier, lab: Inventory, seen: Look) -> tuple[Attempt, tuple[Change, ...]]:
    """The attempt about to be made at an earlier run, and what is not what it was in the one before."""
    now = attempts.observe(earlier.attempts + 1, earlier.folder.plan.read_text(), lab, seen.fingerprints)
    return now, resuming.drift(earlier, now)


def resume(work: Work, earlier: Earlier, kept: Kept, attempt: Attempt) -> RunResult:
    """Measure what a run lacks, in its plan's order; `attempt` holds the drift that was accepted."""
    attempts.write(earlier.folder, attempt)
    execution = _execution(work, earlier.plan, earlier.folder, kept.samples)
    execution.attempt = attempt.number
    execution.visits.extend(earlier.visits)
    return _execute(execution)


def _execution(work: Work, plan: Plan, folder: RunFolder, kept: frozenset[str] = frozenset()) -> matrix.Execution:
    stop = matrix.StopSwitch(folder)
    return matrix.Execution(
        session=work.session,
        plan=plan,
        inventory=work.lab,
        folder=folder,
        options=work.options,
        progress=work.progress,
        stop=stop,
        kept=kept,
        fail_fast=work.fail_fast,
        revive=_Revival(work) if work.lab.kind in labs.KINDS else None,
    )


@dataclass(frozen=True)
class _Revival:
    """Creates and provisions again what is left of a lab that labctl made."""

    work: Work

    def needed(self) -> bool:
        """Whether a node of the lab does not run."""
        return not labs.is_up(self.work.lab.name)

    def __call__(self) -> None:
        """Start the nodes that do not run; their disks are as new."""
        labs.create(self.work.session, str(self.work.lab.path), self.work.options)
        provision(self.work.session, self.work.lab, self.work.options).require()


def _execute(execution: matrix.Execution) -> RunResult:
    with _interrupts(execution.stop.request):
        execution.run()
    return RunResult(execution.folder.path, execution.complete, execution.broken)


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
