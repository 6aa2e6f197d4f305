"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.cli import console
from labctl.core.errors import LabctlError, Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labctl.bundle.index import Bundle
    from labctl.engine.events import Event, Listener
    from labctl.engine.inventory import Inventory
    from labctl.engine.session import AnsibleOptions, Session
    from labctl.labs.lock import LabLock
    from labctl.matrix import execution as matrix_module
    from labctl.matrix.workflow import Cluster, Look, RunResult
    from labctl.plan.options import RawOptions
    from labctl.plan.plan import Plan

app = typer.Typer(
    name="labctl",
    help="What does this CNI cost me? A lab that deploys network variants, proves them and measures them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
lab_app = typer.Typer(help="The embedded labs: hosts on this machine.", no_args_is_help=True)
runs_app = typer.Typer(help="What was measured.", no_args_is_help=True)
app.add_typer(lab_app, name="lab")
bundle_app = typer.Typer(help="All that a lab without internet needs, in one directory.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")
app.add_typer(bundle_app, name="bundle")

EMULATION = (
    "warning: the guests are emulated, without KVM: they are slow, and nothing measured on them is a performance result"
)
INTERRUPTED = 130  # what typer ends with after Ctrl-C; among labctl's exit codes that is 1

LEFTOVER = "cleared  {node}, where an earlier run left it: {task}"

LabOption = Annotated[str, typer.Option("--lab", "-i", help="Inventory directory of the lab, or its name.")]
BecomeOption = Annotated[bool, typer.Option("--ask-become-pass", "-K", help="Ask for the password of sudo.")]
LimitOption = Annotated[str | None, typer.Option("--limit", "-l", help="Ansible's --limit.")]
CheckOption = Annotated[bool, typer.Option("--check", help="Ansible's --check: change nothing.")]
DiffOption = Annotated[bool, typer.Option("--diff", help="Ansible's --diff: show what changes in files.")]
RebootOption = Annotated[
    bool, typer.Option("--allow-reboot", help="Reboot nodes where the lab's kernel_line or kernel_cmdline takes it.")
]
VerboseOption = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Ansible's verbosity.")]
ResumeOption = Annotated[
    str | None, typer.Option(help="Measure what this run lacks: its id, the beginning of one, a path, or latest.")
]
DriftOption = Annotated[
    bool, typer.Option("--accept-drift", help="With --resume: go on though the lab or its nodes changed; recorded.")
]
FailFastOption = Annotated[
    bool, typer.Option("--fail-fast", help="End at the first visit that fails, or sample that does not count.")
]
OtherLabOption = Annotated[
    str | None, typer.Option("--lab", "-i", help="The lab, as elsewhere [default: local; the run's with --resume].")
]
EditionOption = Annotated[str | None, typer.Option(help="Edition of the cluster: 2021, current.")]
BundleOption = Annotated[str | None, typer.Option(help="Install the cluster out of this bundle, and nothing else.")]
KubeconfigOption = Annotated[
    str | None, typer.Option(help="Measure on a cluster you have, as it is: its kubeconfig. Needs no SSH and no root.")
]
ContextOption = Annotated[
    str | None, typer.Option(help="With --kubeconfig: a context of it [default: its current one].")
]
ClientOption = Annotated[str | None, typer.Option(help="With --kubeconfig: the node that netperf runs on.")]
ServerOption = Annotated[str | None, typer.Option(help="With --kubeconfig: the node that netserver runs on.")]
ImageOption = Annotated[
    str | None, typer.Option(help="With --kubeconfig: image with netperf, netserver and python3 (docs/cluster.md).")
]
FormatOption = Annotated[str, typer.Option("--format", help="table, github, csv or json.")]


def _text(help: str) -> object:  # noqa: A002  (typer's word)
    return Annotated[str | None, typer.Option(help=help)]


def _flag(name: str, help: str) -> object:  # noqa: A002  (typer's word)
    return Annotated[bool, typer.Option(name, help=help)]


# The options that say what is measured; `plan` and `matrix` take the same ones. Name to annotation and default.
MATRIX_OPTIONS: dict[str, tuple[object, str | bool | None]] = {
    "variant": (_text("Variants, separated by commas [default: all]."), None),
    "edition": (_text("Editions of variants on Kubernetes, separated by commas: 2021, current."), None),
    "encryption": (_text("Encryptions, separated by commas [default: none]."), None),
    "mtu": (_text("MTUs, separated by commas [default: 1500]."), None),
    "workload": (_text("Workloads, separated by commas [default: all]."), None),
    "processes": (_text("netperf processes: numbers or max, separated by commas [default: 1,max]."), None),
    "duration": (_text("Measured window of a sample: 10, 10s, 2m [default: 10s]."), None),
    "warmup": (_text("Time before the window [default: 2s]."), None),
    "repeat": (_text("Samples of a cell per round [default: 1]."), None),
    "rounds": (_text("Visits of every setup; an interval needs 6 [default: 6]."), None),
    "pin": (_text("none, or cores: one CPU thread per process [default: none]."), None),
    "endpoint": (_text("Only variants whose ends are pods, or nodes: pod or node."), None),
    "seed": (_text("Seed of the order of setups [default: the time]."), None),
    "noise_floor": (_flag("--noise-floor", "Measure the reference twice (A/A)."), False),
    "no_reference": (_flag("--no-reference", "Do not bring reference setups along."), False),
    "quick": (_flag("--quick", "Three variants, 2 s, three rounds: a look, not a result."), False),
}


def _takes_matrix_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `raw` by the options of a matrix, each declared once above."""
    hints = {name: globals().get(str(text), text) for name, text in command.__annotations__.items()}
    signature = inspect.signature(command)
    own = [p.replace(annotation=hints[name]) for name, p in signature.parameters.items() if name != "raw"]
    kind = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(name, kind, default=default, annotation=annotation)
        for name, (annotation, default) in MATRIX_OPTIONS.items()
    ]
    parameters = [*options, *(parameter.replace(kind=kind) for parameter in own)]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        from labctl.plan.options import RawOptions

        raw = RawOptions(**{name: given.pop(name) for name in MATRIX_OPTIONS})
        command(raw=raw, **given)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _options(
    become: bool, limit: str | None = None, check: bool = False, diff: bool = False, verbose: int = 0
) -> AnsibleOptions:
    from labctl.engine.session import AnsibleOptions

    password = typer.prompt("BECOME password", hide_input=True) if become else None
    return AnsibleOptions(become_password=password, limit=limit, check=check, diff=diff, verbosity=verbose)


def _show_tasks(live: console.Live, changed: str = "changed  {node}: {task}") -> Listener:
    """Show each task as it starts, and each one that changed something or failed as a line that stays.

    `changed` is how a task that changed something is told.
    """
    from labctl.engine.events import TaskResult, TaskStart

    def listener(event: TaskStart | TaskResult) -> None:
        if isinstance(event, TaskStart):
            live.step(event.task)
        elif not event.ok:
            live.line(f"{live.elapsed}  failed   {event.node}: {event.task}")
        elif event.changed:
            live.line(f"{live.elapsed}  " + changed.format(node=event.node, task=event.task))

    return listener


def _version(wanted: bool) -> None:
    if wanted:
        from labctl import __version__

        console.out(f"labctl {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options before the command."""


@lab_app.command("create")
def lab_create(lab: LabOption = "local", become: BecomeOption = False) -> None:
    """Create the hosts of a lab on this machine; what is there already stays."""
    from labctl.labs import embedded as labs

    with _working(lab, "lab create") as (session, _, _):
        live = console.Live()
        created = labs.create(session, lab, _options(become), _show_tasks(live))
        live.clear()
    if created.emulated:
        console.note(EMULATION)
    console.out(f"lab {created.name}: " + ", ".join(f"{node.name} {node.place}" for node in created.nodes))


@lab_app.command("destroy")
def lab_destroy(lab: LabOption = "local", become: BecomeOption = False) -> None:
    """Remove a lab and all that belongs to it, and prove the host unchanged."""
    from labctl.engine.session import Session
    from labctl.labs import embedded as labs
    from labctl.matrix import workflow

    with Session() as session, workflow.locked_to_destroy(session, lab):
        live = console.Live()
        labs.destroy(session, lab, _options(become), _show_tasks(live))
        live.clear()
    console.out(f"lab {lab}: nothing is left of it on this machine")


@lab_app.command("list")
def lab_list() -> None:
    """List the labs that were created on this machine."""
    from labctl.core import tables
    from labctl.labs import embedded as labs

    found, problems = labs.list_labs()
    for problem in problems:
        console.note(f"warning: {problem}")
    rows = [
        {
            "lab": lab.name,
            "kind": lab.kind,
            "state": lab.state,
            "nodes": " ".join(f"{n.name}={n.place}" for n in lab.nodes),
        }
        for lab in found
    ]
    console.out(tables.plain(rows) if rows else "no lab; make one with: labctl lab create")


@lab_app.command("shell")
def lab_shell(
    node: Annotated[str, typer.Argument(help="Name of the node, such as node1.")],
    command: Annotated[list[str] | None, typer.Argument(help="A command instead of a login shell.")] = None,
    lab: LabOption = "local",
) -> None:
    """Log in to a node over SSH."""
    import os

    from labctl.labs import embedded as labs

    argv = [*labs.shell_command(lab, node), *(command or [])]
    os.execvp(argv[0], argv)  # noqa: S606  (an argv of our own)


@app.command()
def check(
    lab: LabOption = "local", become: BecomeOption = False, limit: LimitOption = None, style: FormatOption = "table"
) -> None:
    """Look at the lab and say what would hinder a measurement; changes nothing."""
    from labctl.core import tables
    from labctl.engine.session import Session
    from labctl.matrix import workflow
    from labctl.nodes import findings as checks

    with Session() as session:
        inventory = workflow.open_lab(session, lab)
        live = console.Live()
        seen = workflow.look(session, inventory, _options(become, limit), _show_tasks(live))
        live.clear()
    findings = checks.findings(inventory, seen.fingerprints, seen.outcome.failures)
    rows = [dict(zip(checks.COLUMNS, row, strict=True)) for row in checks.table_rows(findings)]
    console.out(tables.plain(rows, style))
    if checks.failed(findings):
        raise typer.Exit(1)


@app.command()
def provision(
    lab: LabOption = "local",
    become: BecomeOption = False,
    limit: LimitOption = None,
    check: CheckOption = False,
    diff: DiffOption = False,
    verbose: VerboseOption = 0,
    allow_reboot: RebootOption = False,
    edition: EditionOption = None,
    bundle: BundleOption = None,
) -> None:
    """Install and set up what the variants need; a second time changes nothing.

    With --bundle the nodes become a Kubernetes cluster.
    """
    from labctl.matrix import workflow

    options = _options(become, limit, check, diff, verbose)
    wanted = _cluster(edition, bundle)
    with _working(lab, "provision") as (session, inventory, _):
        live = console.Live()
        tell = _show_tasks(live)
        idle: dict[str, str] = {}

        def listen(event: Event) -> None:
            idle.update(workflow.idle_cluster(event))
            tell(event)

        outcome = workflow.provision(session, inventory, options, listen, allow_reboot, wanted).require()
        live.clear()
    console.out(f"lab {inventory.name} is provisioned: {outcome.changed} changed, {outcome.seconds:.1f} s")
    for node, words in sorted(idle.items()):
        console.out(f"the idle cluster takes of {node}: {words}")


def _cluster(edition: str | None, directory: str | None) -> Cluster | None:
    """The cluster that `provision` is asked for."""
    from pathlib import Path

    from labctl.matrix import workflow

    if directory is None:
        if edition is None:
            return None
        hint = "make one with `labctl bundle create`, on a machine with internet, and give it with --bundle"
        raise UsageError(Problem("a cluster is installed out of a bundle", "--edition", edition, hint))
    return workflow.open_bundle(Path(directory), edition)


@app.command()
def reset(
    lab: LabOption = "local", become: BecomeOption = False, limit: LimitOption = None, verbose: VerboseOption = 0
) -> None:
    """Take the Kubernetes cluster off the nodes, and prove that nothing of it is left."""
    from labctl.matrix import workflow

    options = _options(become, limit, verbose=verbose)
    with _working(lab, "reset") as (session, inventory, _):
        live = console.Live()
        outcome = workflow.reset(session, inventory, options, _show_tasks(live)).require()
        live.clear()
    console.out(f"lab {inventory.name}: nothing of a cluster is left, {outcome.seconds:.1f} s")


@app.command()
@_takes_matrix_options
def plan(
    raw: RawOptions,
    lab: OtherLabOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    client: ClientOption = None,
    server: ServerOption = None,
    image: ImageOption = None,
    become: BecomeOption = False,
    style: FormatOption = "table",
) -> None:
    """Show what `matrix` would do with the same options: cells, order, time. Measures nothing."""
    from labctl import catalog
    from labctl.engine.session import Session
    from labctl.matrix import workflow
    from labctl.plan import tables as plan_tables
    from labctl.plan.options import parse_options

    parse_options(raw, catalog.load())
    with Session() as session:
        named = _named_lab(lab, kubeconfig=kubeconfig, context=context, client=client, server=server, image=image)
        inventory = workflow.open_lab(session, named or "local")
        options = parse_options(raw, catalog.load(), inventory.kind)
        seen = workflow.look(session, inventory, _options(become))
    console.out(plan_tables.plan_tables(workflow.plan(options, workflow.facts(inventory, seen)), style))


@app.command()
@_takes_matrix_options
def matrix(
    raw: RawOptions,
    resume: ResumeOption = None,
    accept_drift: DriftOption = False,
    fail_fast: FailFastOption = False,
    lab: OtherLabOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    client: ClientOption = None,
    server: ServerOption = None,
    image: ImageOption = None,
    become: BecomeOption = False,
    style: FormatOption = "table",
) -> None:
    """Deploy, prove and measure every setup, round by round, and print the summary."""
    _refuse_beside_resume(raw, resume, accept_drift)
    lab = _named_lab(lab, kubeconfig=kubeconfig, context=context, client=client, server=server, image=image)
    if resume is None:
        result = _measure(raw, lab or "local", _options(become), fail_fast)
    else:
        result = _resume(resume, lab, _options(become), accept_drift, fail_fast)
    _print_report(str(result.folder), style)
    console.note(f"run folder: {result.folder}")
    if result.broken:
        raise result.broken
    if not result.complete:
        raise typer.Exit(1)


def _named_lab(lab: str | None, **cluster: str | None) -> str | None:
    """The lab that the options name, an inventory or a cluster behind a kubeconfig; None where they name none."""
    if not any(cluster.values()):
        return lab
    from labctl.labs import kubeconfig as clusters

    if lab is not None:
        raise UsageError(Problem("two labs are named", "--lab, --kubeconfig", hint="name one of them"))
    return str(clusters.lab(clusters.ClusterOptions(**cluster)))


def _refuse_beside_resume(raw: RawOptions, resume: str | None, accept_drift: bool) -> None:
    """A run that is resumed has its plan: whatever else would change it is a misunderstanding."""
    if resume is None:
        if accept_drift:
            raise UsageError(Problem("--accept-drift goes with --resume RUN"))
        return
    given = [name for name, (_, default) in MATRIX_OPTIONS.items() if getattr(raw, name) != default]
    hint = "leave them out: the run goes on with the plan it was begun with"
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(
            Problem("these options say what is measured, and a run that is resumed knows", names, hint=hint)
        )


@contextlib.contextmanager
def _working(lab: str, command: str) -> Iterator[tuple[Session, Inventory, LabLock]]:
    """A session with a lab that no other labctl uses meanwhile."""
    from labctl.engine.session import Session
    from labctl.matrix import workflow

    with Session() as session:
        inventory = workflow.open_lab(session, lab)
        with workflow.locked(inventory, command) as held:
            if held.dead:
                console.note(f"lab {inventory.name} is taken over from a labctl that is gone: {held.dead}")
            yield session, inventory, held


def _measure(raw: RawOptions, lab: str, options: AnsibleOptions, fail_fast: bool) -> RunResult:
    """A new run."""
    from labctl import catalog
    from labctl.matrix import workflow
    from labctl.plan.options import parse_options

    parse_options(raw, catalog.load())
    with _working(lab, "matrix") as (session, inventory, held):
        wanted = parse_options(raw, catalog.load(), inventory.kind)
        seen = _ready(session, inventory, options)
        planned = workflow.plan(wanted, workflow.facts(inventory, seen))
        held.tell(workflow.folder_of(planned).path)
        live = console.Live()
        size = f"{len(planned.setups)} setups, {planned.samples} samples"
        live.line(f"{planned.id}: {size}, about {console.clock(planned.estimated_s)}")
        work = workflow.Work(session, inventory, options, _show_progress(live, planned), fail_fast)
        result = workflow.measure(work, planned, seen)
        live.clear()
    return result


def _resume(run: str, lab: str | None, options: AnsibleOptions, accept_drift: bool, fail_fast: bool) -> RunResult:
    """What a run lacks."""
    from labctl.matrix import resume as resuming
    from labctl.matrix import workflow
    from labctl.runs import find as runs

    folder = runs.find(run)
    recorded = resuming.reopen(folder)
    with _working(lab or recorded.inventory, "matrix --resume") as (session, inventory, held):
        earlier = resuming.reopen(folder)  # another labctl may have finished it meanwhile
        held.tell(folder)
        live = console.Live()
        for problem in earlier.problems:
            live.line(f"damaged: {problem}")
        seen = _ready(session, inventory, options)
        seen.outcome.require()
        attempt, changes = workflow.drift(earlier, inventory, seen)
        if changes and not accept_drift:
            raise LabctlError(*(change.problem() for change in changes))
        for change in changes:
            live.line(f"accepted: {change}")
        kept = resuming.keep(earlier)
        for aside in kept.aside:
            live.line(f"set aside: {aside.relative_to(folder)}")
        live.line(f"{earlier.plan.id}: {len(kept.samples)} of {earlier.plan.samples} samples are there and count")
        work = workflow.Work(session, inventory, options, _show_progress(live, earlier.plan), fail_fast)
        result = workflow.resume(work, earlier, kept, replace(attempt, drift=changes))
        live.clear()
    return result


def _ready(session: Session, inventory: Inventory, options: AnsibleOptions) -> Look:
    """The lab as it is with nothing deployed; one of this machine that is missing or bare is made and provisioned."""
    from labctl.catalog import CLUSTER
    from labctl.labs import embedded as labs
    from labctl.matrix import workflow

    live = console.Live()
    if inventory.kind in labs.KINDS and not labs.is_up(inventory.name):
        live.line(f"{live.elapsed}  creating lab {inventory.name}")
        created = labs.create(session, str(inventory.path), options, _show_tasks(live))
        if created.emulated:
            live.line(EMULATION)
    seen = workflow.look(session, inventory, options, _show_tasks(live, LEFTOVER), playbook="clear.yml")
    seen.outcome.require()
    if inventory.kind != CLUSTER and not workflow.is_provisioned(seen):
        if inventory.kind not in labs.KINDS:
            problem = Problem("the lab is not provisioned", str(inventory.path), hint="labctl provision")
            raise LabctlError(problem)
        live.line(f"{live.elapsed}  provisioning lab {inventory.name}")
        workflow.provision(session, inventory, options, _show_tasks(live)).require()
        seen = workflow.look(session, inventory, options, _show_tasks(live))
        seen.outcome.require()
    live.clear()
    return seen


def _show_progress(live: console.Live, planned: Plan) -> Callable[[matrix_module.Progress], None]:
    """One line per sample, the step in hand between them."""
    from labctl.matrix import execution as matrix_module
    from labctl.results import tables as report_tables

    def progress(event: matrix_module.Progress) -> None:
        if isinstance(event, matrix_module.Measured):
            sample = event.sample
            live.line(
                f"{live.elapsed}  {event.number:>{len(str(event.total))}}/{event.total}  {sample.id:<40} "
                f"{report_tables.sample_words(sample)}  {console.clock(event.left_s)} left"
            )
        elif isinstance(event, matrix_module.VisitFailed):
            for failure in event.failures:
                live.line(f"{live.elapsed}  {event.setup} round {event.round} failed: {failure.problem()}")
        elif event.node:
            live.line(f"{live.elapsed}  {event.setup} round {event.round}: {event.node}: failed: {event.text}")
        else:
            live.step(f"{event.setup} round {event.round}/{planned.rounds}: {event.text}", event.left_s)

    return progress


def _print_report(run: str, style: str, reference: str | None = None) -> None:
    from labctl.results import report as reports

    console.out(reports.render(run, style, reference))


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Id of the run, the beginning of one, a path, or latest.")] = "latest",
    reference: Annotated[str | None, typer.Option(help="Setup to compare all others with.")] = None,
    style: FormatOption = "table",
) -> None:
    """Print the summary of a run, rebuilt from its samples."""
    _print_report(run, style, reference)


@bundle_app.command("create")
def bundle_create(
    directory: Annotated[str, typer.Argument(help="Where the bundle is made; what is there and right is kept.")],
    edition: Annotated[str, typer.Option(help="Editions, separated by commas.")] = "current",
    variant: Annotated[str | None, typer.Option(help="Variants whose own files are wanted, too.")] = None,
    architecture: Annotated[str, typer.Option(help="Architecture of the nodes: amd64, arm64.")] = "amd64",
    overrides: Annotated[str | None, typer.Option(help="A file with other locations, versions, checksums.")] = None,
) -> None:
    """Fetch all that clusters of some editions need, check it, and write an index of it."""
    from pathlib import Path

    from labctl import catalog
    from labctl.bundle import create as creating
    from labctl.plan.options import parse_names

    known = catalog.load()
    editions = catalog.editions(None if overrides is None else Path(overrides))
    wanted = parse_names("--edition", edition, editions)
    variants = parse_names("--variant", variant, known.variants)
    live = console.Live()
    made = creating.create(
        Path(directory),
        [editions[name] for name in wanted],
        variants,
        architecture,
        lambda origin: live.line(f"{live.elapsed}  {origin}"),
    )
    live.clear()
    console.out(f"bundle {directory}: {_bundle_words(made)}")


@bundle_app.command("verify")
def bundle_verify(directory: Annotated[str, typer.Argument(help="The bundle.")]) -> None:
    """Read every file of a bundle and name each that is missing, altered or not in the index."""
    from pathlib import Path

    from labctl.bundle import index as bundle

    console.out(f"bundle {directory}: {_bundle_words(bundle.verify(Path(directory)))}")


def _bundle_words(found: Bundle) -> str:
    editions = ", ".join(f"{name} (Kubernetes {edition.kubernetes})" for name, edition in found.editions.items())
    size = sum(file.bytes for file in found.files) / 1e6
    return f"{editions}, {found.architecture}, {len(found.files)} files, {size:.0f} MB, all as they should be"


@runs_app.command("list")
def runs_list(style: FormatOption = "table") -> None:
    """List the runs in ./runs."""
    from labctl.core import tables
    from labctl.runs import find as runs

    rows = runs.list_rows()
    if not rows:
        console.note("no run here; make one with: labctl matrix")
    console.out(tables.plain(rows, style))


@runs_app.command("show")
def runs_show(run: Annotated[str, typer.Argument(help="Id of the run, or latest.")] = "latest") -> None:
    """Show what a run is: its plan, how far it got, what failed."""
    from labctl.runs import find as runs

    console.out(runs.describe(run))


@runs_app.command("remove")
def runs_remove(run: Annotated[str, typer.Argument(help="Id of the run.")]) -> None:
    """Delete a run and all its samples."""
    from labctl.runs import find as runs

    console.out(f"removed {runs.remove(run)}")


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed or interrupted, 2 wrong usage, 3 regressed."""
    try:
        app()
    except LabctlError as failure:
        console.error(failure)
        sys.exit(failure.exit_code)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            sys.exit(1)
        raise
