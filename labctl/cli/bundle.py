"""labctl bundle: everything that a lab without internet needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labctl.cli import console
from labctl.cli.strict import StrictCommand
from labctl.core import ending
from labctl.core.errors import Problem, UsageError

if TYPE_CHECKING:
    from labctl.bundle.index import Bundle

bundle_app = typer.Typer(help="Everything that a lab without internet needs, in one directory.", no_args_is_help=True)


@bundle_app.command("create", cls=StrictCommand)
def bundle_create(
    directory: Annotated[str, typer.Argument(help="Where to make the bundle; intact files there are kept.")],
    edition: Annotated[str, typer.Option(help="Editions, separated by commas.")] = "current",
    variant: Annotated[str | None, typer.Option(help="Variants whose own files are to be included.")] = None,
    architecture: Annotated[str, typer.Option(help="Architecture of the nodes: amd64, arm64.")] = "amd64",
    overrides: Annotated[str | None, typer.Option(help="A file with other locations, versions, checksums.")] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Take what changed at its origin and is not pinned.")] = False,
) -> None:
    """Fetch everything that clusters of some editions need, verify it, and write an index."""
    from labctl import catalog
    from labctl.bundle import create as creating
    from labctl.cli.progress import warn_of_disturbing
    from labctl.plan.options import parse_names

    known = catalog.load()
    where = Path(directory)
    editions = catalog.editions(None if overrides is None else Path(overrides))
    wanted = parse_names("--edition", edition, editions)
    variants = parse_names("--variant", variant, known.variants)
    strange = [
        one for name in variants if (one := known.variants[name]).editions and not set(one.editions) & set(wanted)
    ]
    if strange:
        hint = "leave the variant out, or ask for one of: {}"
        raise UsageError(
            *(
                Problem(f"{one.name} is of another edition", "--edition", edition, hint.format(", ".join(one.editions)))
                for one in strange
            )
        )
    warn_of_disturbing()
    live = console.Live()
    with ending.leaves("what was fetched whole stays: the same command fetches the rest"):
        wishes = [editions[name] for name in wanted]
        made = creating.create(where, wishes, variants, architecture, live.timed, renew)
    _tell(directory, made)


@bundle_app.command("verify", cls=StrictCommand)
def bundle_verify(directory: Annotated[str, typer.Argument(help="The bundle.")]) -> None:
    """Read every file of a bundle and name each that is missing, altered or not in the index."""
    from labctl.bundle import index as bundle
    from labctl.cli.progress import warn_of_disturbing

    warn_of_disturbing()
    _tell(directory, bundle.verify(Path(directory)))


def _tell(directory: str, found: Bundle) -> None:
    """Say what a bundle is, and which of its files nobody could compare with anything when it was made."""
    editions = ", ".join(f"{name} (Kubernetes {edition.kubernetes})" for name, edition in found.editions.items())
    size = sum(file.bytes for file in found.files) / 1e6
    words = f"{editions}, {found.architecture}, {len(found.files)} files, {size:.0f} MB, all as they should be"
    console.out(f"bundle {directory}: {words}")
    if seen := [f"{file.edition} {file.name}" for file in found.files if file.pinned is False]:
        console.out(f"not pinned by labctl, recorded as seen when it was made: {', '.join(seen)}")
