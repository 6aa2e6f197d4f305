"""What tests of bundles share: a site on the loopback, an edition whose files are there, and a bundle made of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.bundle import create as bundle_create
from labctl.bundle import index as bundle
from labctl.bundle.index import Bundle
from labctl.catalog.editions import Edition
from tests.conftest import served
from tests.unit.bundle.loopback import fill, of_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory with a file per name, and the URL at which it is served."""
    root = tmp_path / "site"
    fill(root)
    with served(root) as url:
        yield root, url


@pytest.fixture
def edition(site: tuple[Path, str]) -> Edition:
    """The edition 2021 of the catalog, its files at the site."""
    return of_site(*site)


@pytest.fixture
def made(edition: Edition, tmp_path: Path) -> tuple[Path, Bundle]:
    """A bundle, and the site that it was made from."""
    directory = tmp_path / "bundle"
    return directory, bundle_create.create(directory, [edition], [], "amd64")


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is there for all tests, and that none of them changes."""
    top = tmp_path_factory.mktemp("first")
    fill(top / "site")
    with served(top / "site") as url:
        bundle_create.create(top / "bundle", [of_site(top / "site", url)], [], "amd64")
    return top / "bundle"


@pytest.fixture
def copied(first: Path, tmp_path: Path) -> tuple[Path, Bundle]:
    """A copy of a bundle, whose site is gone."""
    directory = Path(shutil.copytree(first, tmp_path / "bundle"))
    return directory, bundle.read(directory)
