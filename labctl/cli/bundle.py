"""labctl bundle: everything that a lab without internet needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labctl.cli import console
from labctl.core import ending

if TYPE_CHECKING:
    from labctl.bundle.index import Bundle

bundle_app = typer.Typer(help="Everything that a lab without internet needs, in one directory.", no_args_is_help=True)


@bundle_app.command("create")
def bundle_create(
    directory: Annotated[str, typer.Argument(help="Where to make the bundle; intact files there are kept.")],
    edition: Annotated[str, typer.Option(help="Editions, separated by commas.")] = "current",
    variant: Annotated[str | None, typer.Option(help="Variants whose own files are to be included.")] = None,
    architecture: Annotated[str, typer.Option(help="Architecture of the nodes: amd64, arm64.")] = "amd64",
    overrides: Annotated[str | None, typer.Option(help="A file with other locations, versions, checksums.")] = None,
) -> None:
    """Fetch everything that clusters of some editions need, verify it, and write an index."""
    from labctl import catalog
    from labctl.bundle import create as creating
    from labctl.cli.progress import warn_of_disturbing
    from labctl.plan.options import parse_names

    known = catalog.load()
    editions = catalog.editions(None if overrides is None else Path(overrides))
    wanted = parse_names("--edition", edition, editions)
    variants = parse_names("--variant", variant, known.variants)
    warn_of_disturbing()
    live = console.Live()
    with ending.leaves("what was fetched whole stays: the same command fetches the rest"):
        wishes = [editions[name] for name in wanted]
        made = creating.create(Path(directory), wishes, variants, architecture, live.timed)
    live.clear()
    console.out(f"bundle {directory}: {_bundle_words(made)}")


@bundle_app.command("verify")
def bundle_verify(directory: Annotated[str, typer.Argument(help="The bundle.")]) -> None:
    """Read every file of a bundle and name each that is missing, altered or not in the index."""
    from labctl.bundle import index as bundle
    from labctl.cli.progress import warn_of_disturbing

    warn_of_disturbing()
    console.out(f"bundle {directory}: {_bundle_words(bundle.verify(Path(directory)))}")


def _bundle_words(found: Bundle) -> str:
    editions = ", ".join(f"{name} (Kubernetes {edition.kubernetes})" for name, edition in found.editions.items())
    size = sum(file.bytes for file in found.files) / 1e6
    return f"{editions}, {found.architecture}, {len(found.files)} files, {size:.0f} MB, all as they should be"
