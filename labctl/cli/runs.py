"""labctl runs: what was measured."""

from __future__ import annotations

from typing import Annotated

import typer

from labctl.cli import console
from labctl.cli.options import FormatOption
from labctl.cli.strict import StrictCommand

runs_app = typer.Typer(help="The runs that were measured.", no_args_is_help=True)


@runs_app.command("list", cls=StrictCommand)
def runs_list(style: FormatOption = "table") -> None:
    """List the runs in ./runs."""
    from labctl.core import tables
    from labctl.runs import find as runs

    rows = runs.list_rows()
    if not rows:
        console.note("no run here; make one with: labctl matrix")
    console.show(tables.listing(rows, seam="note"), style)


@runs_app.command("show", cls=StrictCommand)
def runs_show(run: Annotated[str, typer.Argument(help="Id of the run, or latest.")] = "latest") -> None:
    """Show what a run is: its plan, how far it got, what failed."""
    from labctl.runs import find as runs

    console.out(runs.describe(run))


@runs_app.command("remove", cls=StrictCommand)
def runs_remove(run: Annotated[str, typer.Argument(help="Id of the run.")]) -> None:
    """Delete a run and all its samples."""
    from labctl.runs import find as runs

    console.out(f"removed {runs.remove(run)}")
