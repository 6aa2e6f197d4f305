"""labctl lab: the embedded labs."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from labctl.cli import console
from labctl.cli.options import BecomeOption, FormatOption, LabOption, ansible_options
from labctl.cli.strict import StrictCommand
from labctl.core import ending

lab_app = typer.Typer(help="Labs on this machine: two nodes each.", no_args_is_help=True)


@lab_app.command("create", cls=StrictCommand)
def lab_create(lab: LabOption = "local", become: BecomeOption = False) -> None:
    """Create the nodes of a lab on this machine; those that exist stay as they are."""
    from labctl.cli.progress import Terminal, working
    from labctl.labs import embedded as labs

    left = "the lab may be there in part: labctl lab create makes the rest, labctl lab destroy removes it"
    with ending.leaves(left), working(lab, "lab create") as (session, _, _):
        tell = Terminal()
        created = labs.create(session, lab, ansible_options(become), tell.tasks())
    if created.emulated:
        console.note(labs.EMULATION)
    console.out(f"lab {created.name}: " + ", ".join(f"{node.name} {node.place}" for node in created.nodes))


@lab_app.command("destroy", cls=StrictCommand)
def lab_destroy(lab: LabOption = "local", become: BecomeOption = False) -> None:
    """Remove a lab and everything that belongs to it, and prove the host unchanged."""
    from labctl.cli.progress import Terminal, opened, warn_of_disturbing
    from labctl.labs import embedded as labs
    from labctl.labs import lock

    left = "what was not removed yet is still there: labctl lab destroy removes it"
    with ending.leaves(left), opened() as session, lock.locked_to_destroy(session, lab) as held:
        warn_of_disturbing()
        tell = Terminal()
        labs.destroy(session, lab, ansible_options(become), tell.tasks())
    console.out(f"lab {held.lab}: nothing is left of it on this machine")


@lab_app.command("list", cls=StrictCommand)
def lab_list(style: FormatOption = "table") -> None:
    """List the labs that were created on this machine; as JSON with everything in their records."""
    from labctl.core import records, tables
    from labctl.labs import embedded as labs

    found, problems = labs.list_labs()
    for problem in problems:
        console.note(f"warning: {problem}")
    if not found:
        console.note("no lab; make one with: labctl lab create")
    rows = [
        {
            "lab": lab.name,
            "kind": lab.kind,
            "state": lab.state,
            "nodes": " ".join(f"{node.name}={node.place}" for node in lab.nodes),
        }
        for lab in found
    ]
    whole = [{**records.encode(lab), "state": lab.state} for lab in found]
    console.show(tables.listing(rows, data=whole), style)


@lab_app.command("shell", cls=StrictCommand)
def lab_shell(
    node: Annotated[str, typer.Argument(help="Name of the node, such as node1.")],
    command: Annotated[list[str] | None, typer.Argument(help="A command instead of a login shell.")] = None,
    lab: LabOption = "local",
) -> None:
    """Log in to a node over SSH."""
    from labctl.cli.progress import warn_of_disturbing
    from labctl.labs import embedded as labs

    warn_of_disturbing()
    argv = [*labs.shell_command(lab, node), *(command or [])]
    os.execvp(argv[0], argv)  # noqa: S606  (an argv of our own)
