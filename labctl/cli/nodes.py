"""The commands that look at nodes and bring them to where setups can be deployed: check, provision, reset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from labctl.cli import console
from labctl.cli.options import (
    BecomeOption,
    BundleOption,
    CheckOption,
    DiffOption,
    EditionOption,
    FormatOption,
    LabOption,
    LimitOption,
    RebootOption,
    VerboseOption,
    ansible_options,
)
from labctl.core.errors import Problem, UsageError

if TYPE_CHECKING:
    from labctl.engine.events import Event
    from labctl.labs.provision import ClusterSource


def check(
    lab: LabOption = "local", become: BecomeOption = False, limit: LimitOption = None, style: FormatOption = "table"
) -> None:
    """Check what would get in the way of a measurement; changes nothing."""
    from labctl.cli.progress import Terminal
    from labctl.core import tables
    from labctl.engine.inventory import open_lab
    from labctl.engine.session import Session
    from labctl.labs import facts
    from labctl.labs.look import look
    from labctl.nodes import findings as checks

    with Session() as session:
        inventory = open_lab(session, lab)
        tell = Terminal()
        seen = look(session, inventory, ansible_options(become, limit), tell.tasks())
        tell.clear()
    for problem in facts.keep(inventory, seen):
        console.note(f"warning: {problem}")
    findings = checks.findings(inventory, seen.fingerprints, seen.outcome.failures)
    rows = [dict(zip(checks.COLUMNS, row, strict=True)) for row in checks.table_rows(findings)]
    console.show(tables.listing(rows, keys=3, seam=checks.COLUMNS[-1]), style)
    if checks.failed(findings):
        raise typer.Exit(1)


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

    With --bundle it also makes a Kubernetes cluster of the nodes.
    """
    from labctl.cli.progress import Terminal, working
    from labctl.labs import provision as provisioning

    options = ansible_options(become, limit, check, diff, verbose)
    wanted = _cluster(edition, bundle)
    with working(lab, "provision") as (session, inventory, _):
        tell = Terminal()
        tasks = tell.tasks()
        idle: dict[str, str] = {}

        def listen(event: Event) -> None:
            idle.update(provisioning.idle_cluster(event))
            tasks(event)

        outcome = provisioning.provision(session, inventory, options, listen, allow_reboot, wanted).require()
        tell.clear()
    console.out(f"lab {inventory.name} is provisioned: {outcome.changed} changed, {outcome.seconds:.1f} s")
    for node, words in sorted(idle.items()):
        console.out(f"the idle cluster takes of {node}: {words}")


def _cluster(edition: str | None, directory: str | None) -> ClusterSource | None:
    """The cluster that `provision` is asked for."""
    from labctl.labs.provision import open_bundle

    if directory is None:
        if edition is None:
            return None
        hint = "make one with `labctl bundle create`, on a machine with internet access, and name it with --bundle"
        raise UsageError(Problem("a cluster is installed from a bundle", "--edition", edition, hint))
    return open_bundle(Path(directory), edition)


def reset(
    lab: LabOption = "local", become: BecomeOption = False, limit: LimitOption = None, verbose: VerboseOption = 0
) -> None:
    """Take the Kubernetes cluster off the nodes, and prove that nothing of it is left."""
    from labctl.cli.progress import Terminal, working
    from labctl.labs import provision as provisioning

    options = ansible_options(become, limit, verbose=verbose)
    with working(lab, "reset") as (session, inventory, _):
        tell = Terminal()
        outcome = provisioning.reset(session, inventory, options, tell.tasks()).require()
        tell.clear()
    console.out(f"lab {inventory.name}: nothing of a cluster is left, {outcome.seconds:.1f} s")
