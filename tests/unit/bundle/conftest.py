"""What tests of bundles share: a site on the loopback, an edition whose files are there, and a bundle made of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl import catalog
from labctl.bundle import create as bundle_create
from labctl.bundle.index import Bundle
from labctl.catalog.editions import Edition
from tests.conftest import served
from tests.unit.bundle.loopback import fill, overrides


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory with a file per name, and the URL at which it is served."""
    root = tmp_path / "site"
    fill(root)
    with served(root) as url:
        yield root, url


@pytest.fixture
def edition(site: tuple[Path, str], tmp_path: Path) -> Edition:
    """The edition 2021 of the catalog, its files at the site."""
    path = tmp_path / "overrides.yml"
    path.write_text(overrides(*site))
    return catalog.editions(path)["2021"]


@pytest.fixture
def made(edition: Edition, tmp_path: Path) -> tuple[Path, Bundle]:
    directory = tmp_path / "bundle"
    return directory, bundle_create.create(directory, [edition], [], "amd64")
