"""The commands of a run: plan, matrix, report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from labctl.cli import console
from labctl.cli.options import (
    BecomeOption,
    FormatOption,
    OtherLabOption,
    ansible_options,
    named_lab,
    refuse_beside_resume,
    takes_shared_options,
)
from labctl.core import ending, paths
from labctl.plan.options import RawOptions

if TYPE_CHECKING:
    from labctl.engine.session import AnsibleOptions
    from labctl.matrix.workflow import RunResult

RESUME = "Finish this run: its id, the beginning of its id, a path, or latest."
DRIFT = "With --resume: accept changes of lab or nodes, and record them."
FAIL_FAST = "End at the first failed visit, or the first sample that does not count."


@takes_shared_options
def plan(
    raw: RawOptions,
    *,
    lab: OtherLabOption = None,
    cluster: Mapping[str, str | None],
    become: BecomeOption = False,
    style: FormatOption = "table",
) -> None:
    """Show what `matrix` would do with the same options: cells, order, time. Measures nothing."""
    from labctl import catalog
    from labctl.cli.progress import opened, warn_of_disturbing
    from labctl.engine.inventory import open_lab
    from labctl.labs.facts import known
    from labctl.matrix import workflow
    from labctl.plan import tables as plan_tables
    from labctl.plan.options import parse_options

    parse_options(raw, catalog.load())
    with ending.leaves("nothing was changed"), opened() as session:
        named = named_lab(lab, cluster)
        inventory = open_lab(session, named or "local")
        warn_of_disturbing(inventory)
        options = parse_options(raw, catalog.load(), inventory.kind)
        lab_known = known(session, inventory, ansible_options(become))
    for problem in lab_known.problems:
        console.note(f"warning: {problem}")
    planned = workflow.plan(options, lab_known.facts)
    console.show(plan_tables.document(planned), style)


@takes_shared_options
def matrix(
    raw: RawOptions,
    *,
    resume: Annotated[str | None, typer.Option(help=RESUME)] = None,
    accept_drift: Annotated[bool, typer.Option("--accept-drift", help=DRIFT)] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help=FAIL_FAST)] = False,
    lab: OtherLabOption = None,
    cluster: Mapping[str, str | None],
    become: BecomeOption = False,
    style: FormatOption = "table",
) -> None:
    """Deploy, prove and measure every setup, round by round, and print the summary."""
    refuse_beside_resume(raw, resume, accept_drift)
    lab = named_lab(lab, cluster)
    if resume is None:
        result = _measure(raw, lab or "local", ansible_options(become), fail_fast)
    else:
        result = _resume(resume, lab, ansible_options(become), fail_fast, accept_drift)
    _print_report(str(result.folder), style)
    console.note(f"run folder: {result.folder}")
    if result.broken:
        raise result.broken
    if not result.complete:
        raise typer.Exit(1)


def _measure(raw: RawOptions, lab: str, options: AnsibleOptions, fail_fast: bool) -> RunResult:
    """A new run. Options that no lab could take are refused before one is looked at."""
    from labctl import catalog
    from labctl.cli.progress import Terminal, working
    from labctl.matrix import workflow
    from labctl.plan.options import parse_options
    from labctl.runs.folder import require_writable

    parse_options(raw, catalog.load())
    require_writable(paths.runs_dir())
    with working(lab, "matrix", measures=True) as (session, inventory, held):
        wanted = parse_options(raw, catalog.load(), inventory.kind)
        return workflow.measure(workflow.Bench(session, inventory, held, options, Terminal, fail_fast), wanted)


def _resume(run: str, lab: str | None, options: AnsibleOptions, fail_fast: bool, accept_drift: bool) -> RunResult:
    """What a run lacks, on the lab that it was begun on unless another is named."""
    from labctl.cli.progress import Terminal, working
    from labctl.matrix import resume as resuming
    from labctl.matrix import workflow
    from labctl.runs import find as runs
    from labctl.runs.folder import require_writable

    folder = runs.find(run)
    require_writable(folder)
    recorded = resuming.reopen(folder).inventory
    with working(lab or recorded, "matrix --resume", measures=True) as (session, inventory, held):
        bench = workflow.Bench(session, inventory, held, options, Terminal, fail_fast)
        return workflow.resume(bench, folder, accept_drift)


def _print_report(run: str, style: str, reference: str | None = None) -> None:
    from labctl.results import report as reports

    console.show(reports.document(run, reference), style)


def report(
    run: Annotated[str, typer.Argument(help="Id of the run, the beginning of one, a path, or latest.")] = "latest",
    reference: Annotated[str | None, typer.Option(help="Setup to compare all others with.")] = None,
    style: FormatOption = "table",
) -> None:
    """Print the summary of a run, rebuilt from its samples."""
    _print_report(run, style, reference)
