"""The command line: its commands put together. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from labctl.cli import console, matrix, nodes
from labctl.cli.bundle import bundle_app
from labctl.cli.labs import lab_app
from labctl.cli.runs import runs_app
from labctl.cli.strict import StrictCommand
from labctl.core.errors import LabctlError

INTERRUPTED = 130  # what typer ends with after Ctrl-C; among labctl's exit codes that is 1

app = typer.Typer(
    name="labctl",
    help="What does this CNI cost me? A lab that deploys network variants, proves them and measures them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(lab_app, name="lab")
app.add_typer(runs_app, name="runs")
app.add_typer(bundle_app, name="bundle")
for command in (nodes.check, nodes.provision, nodes.reset, matrix.plan, matrix.matrix, matrix.report):
    app.command(cls=StrictCommand)(command)


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
