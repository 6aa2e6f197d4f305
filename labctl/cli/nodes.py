"""The commands that look at nodes and bring them to where setups can be deployed: check, provision, reset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labctl.cli import console
from labctl.cli.options import (
    BecomeOption,
    FormatOption,
    LabOption,
    LimitOption,
    OtherLabOption,
    VerboseOption,
    ansible_options,
    named_lab,
    takes_shared_options,
)
from labctl.core import ending
from labctl.core.errors import Problem, UsageError

if TYPE_CHECKING:
    from labctl.engine.events import Event
    from labctl.engine.outcome import Outcome

REBOOT = "Reboot nodes where the lab's kernel_line or kernel_cmdline needs it."
BUNDLE = "Install the cluster from this bundle, and from nowhere else."


@takes_shared_options
def check(
    *,
    lab: OtherLabOption = None,
    cluster: Mapping[str, str | None],
    become: BecomeOption = False,
    limit: LimitOption = None,
    style: FormatOption = "table",
) -> None:
    """Check what would get in the way of a measurement; changes nothing."""
    from labctl.cli.progress import Terminal, opened, warn_of_disturbing
    from labctl.core import tables
    from labctl.engine.inventory import open_lab
    from labctl.labs import embedded, facts
    from labctl.labs.look import look
    from labctl.nodes import findings as checks

    with ending.leaves("nothing was changed"), opened() as session:
        inventory = open_lab(session, named_lab(lab, cluster) or "local")
        embedded.require_running(inventory)
        warn_of_disturbing(inventory)
        tell = Terminal()
        seen = look(session, inventory, ansible_options(become, limit), tell.tasks())
    for problem in facts.keep(inventory, seen):
        console.note(f"warning: {problem}")
    outcome, overruled = seen.outcome, session.settings.overruled
    failures, lost = outcome.failures, outcome.unreachable
    findings = checks.findings(inventory, seen.fingerprints, failures, lost, overruled, limited=limit is not None)
    console.show(tables.listing(checks.records(findings), keys=3, seam=checks.COLUMNS[-1]), style)
    if checks.failed(findings):
        raise typer.Exit(1)


def provision(
    lab: LabOption = "local",
    become: BecomeOption = False,
    limit: LimitOption = None,
    check: Annotated[bool, typer.Option("--check", help="Ansible's --check: change nothing.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Ansible's --diff: show what changes in files.")] = False,
    verbose: VerboseOption = 0,
    allow_reboot: Annotated[bool, typer.Option("--allow-reboot", help=REBOOT)] = False,
    edition: Annotated[str | None, typer.Option(help="Edition of the cluster: 2021, current.")] = None,
    bundle: Annotated[str | None, typer.Option(help=BUNDLE)] = None,
) -> None:
    """Install and set up what the variants need; a second time changes nothing.

    With --bundle it also makes a Kubernetes cluster of the nodes.
    """
    from labctl.cli.progress import Terminal, working
    from labctl.labs import embedded
    from labctl.labs import provision as provisioning

    options = ansible_options(become, limit, check, diff, verbose)
    wanted = _cluster(edition, bundle)
    left = "the nodes are as far as they came: labctl provision goes on from there"
    with ending.leaves(left), working(lab, "provision") as (session, inventory, _):
        embedded.require_running(inventory)
        tell = Terminal()
        tasks = tell.tasks()
        idle: dict[str, str] = {}

        def listen(event: Event) -> None:
            idle.update(provisioning.idle_cluster(event))
            if words := provisioning.taken_of_bundle(event):
                tell.timed(words)
            tasks(event)

        outcome = provisioning.provision(session, inventory, options, listen, allow_reboot, wanted).require()
    done = f"lab {inventory.name} is provisioned: {outcome.changed} changed, {outcome.seconds:.1f} s"
    console.out(_would_change(inventory.name, outcome) if check else done)
    for node, words in sorted(idle.items()):
        console.out(f"the idle cluster takes of {node}: {words}")


def _would_change(lab: str, outcome: Outcome) -> str:
    """What is said in the end where nothing was done."""
    from labctl.core.tables import counted

    seconds = f"nothing was done (--check), {outcome.seconds:.1f} s"
    if not outcome.changed:
        return f"lab {lab} would not change: {seconds}"
    would = f"lab {lab}: {counted(outcome.changed, 'task')} would change something"
    it = "it" if outcome.changed == 1 else "them"
    return f"{would}, and what builds on {it} is not known yet; {seconds}"


def _cluster(edition: str | None, directory: str | None) -> Mapping[str, object] | None:
    """The cluster that `provision` is asked for."""
    from labctl.labs.provision import cluster_from

    if directory is None:
        if edition is None:
            return None
        hint = "make one with `labctl bundle create`, on a machine with internet access, and name it with --bundle"
        raise UsageError(Problem("a cluster is installed from a bundle", "--edition", edition, hint))
    return cluster_from(Path(directory), edition)


def reset(
    lab: LabOption = "local", become: BecomeOption = False, limit: LimitOption = None, verbose: VerboseOption = 0
) -> None:
    """Take the Kubernetes cluster off the nodes, and prove that nothing of it is left."""
    from labctl.cli.progress import Terminal, working
    from labctl.labs import embedded
    from labctl.labs import provision as provisioning

    options = ansible_options(become, limit, verbose=verbose)
    left = "a part of the cluster may be left: labctl reset removes it"
    with ending.leaves(left), working(lab, "reset") as (session, inventory, _):
        embedded.require_running(inventory)
        tell = Terminal()
        outcome = provisioning.reset(session, inventory, options, tell.tasks()).require()
    console.out(f"lab {inventory.name}: nothing of a cluster is left, {outcome.seconds:.1f} s")
