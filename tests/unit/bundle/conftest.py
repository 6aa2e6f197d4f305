"""What tests of bundles share: a site on the loopback, an edition whose files are there, and a bundle made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from labctl import catalog
from labctl.bundle import create as bundle_create
from labctl.bundle.index import Bundle
from labctl.catalog.editions import Edition
from tests.conftest import served
from tests.unit.bundle.loopback import FILES, IMAGES


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory with a file per name, and the URL at which it is served."""
    root = tmp_path / "site"
    root.mkdir()
    for name in (*FILES, *IMAGES):
        (root / name).write_text(f"{name}\n")
    with served(root) as url:
        yield root, url


@pytest.fixture
def edition(site: tuple[Path, str], tmp_path: Path) -> Edition:
    """The edition 2021 of the catalog, its files at the site."""
    root, url = site
    entries = {
        name: {
            "origin": f"{{site}}/{name}",
            "sha256": {"amd64": hashlib.sha256((root / name).read_bytes()).hexdigest()},
        }
        for name in FILES
    }
    images = {name: {"origin": f"{{site}}/{name}"} for name in IMAGES}
    overrides = tmp_path / "overrides.yml"
    overrides.write_text(
        yaml.safe_dump({"2021": {"locations": {"site": url}, "files": {**entries, "crictl": None}, "images": images}})
    )
    return catalog.editions(overrides)["2021"]


@pytest.fixture
def made(edition: Edition, tmp_path: Path) -> tuple[Path, Bundle]:
    directory = tmp_path / "bundle"
    return directory, bundle_create.create(directory, [edition], [], "amd64")
