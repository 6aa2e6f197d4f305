"""The command line: its commands put together. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from labctl.cli import console, crash, matrix, nodes
from labctl.cli.bundle import bundle_app
from labctl.cli.labs import lab_app
from labctl.cli.runs import runs_app
from labctl.cli.strict import StrictCommand
from labctl.core import ending, paths
from labctl.core.errors import LabctlError

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
    """Run the command line.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 regressed, 128 + n asked to end by the signal n.
    """
    with ending.heard(console.at_once) as requests:
        code = _exit_code()
    sys.exit(code if requests.first is None else 128 + requests.first)


def _exit_code() -> int:
    """How the command ended, everything said that is to be said of it. Nothing but a number leaves here."""
    try:
        console.require_output()
        paths.require_working_directory()
        app()
    except ending.Ended as ended:
        if ended.number is not signal.SIGPIPE:
            console.note(f"ended by {ended.number.name}" + (f"; {ended.left}" if ended.left else ""))
        return ended.exit_code
    except LabctlError as failure:
        console.error(failure)
        return failure.exit_code
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer's own words had no reader
            console.forget_output()
            return 128 + signal.SIGPIPE
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except Exception as unforeseen:  # noqa: BLE001  (a user is told in one line, and whoever mends it in a file)
        misused = getattr(unforeseen.__context__, "exit_code", None)
        if isinstance(unforeseen, OSError) and isinstance(misused, int):  # typer's own words could not be said
            return misused
        console.note(crash.report(unforeseen, sys.argv))
        return 1
    return 0
