"""What the tests of samples share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.samples.captures import FIXTURES, Copy


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """Makes a copy of a raw folder that a test may break."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(FIXTURES / name, folder, dirs_exist_ok=True)
        return folder

    return make
