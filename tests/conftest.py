"""What every test shares: the repository's root, and the rule for tests that need the real lab."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout that the tests belong to."""
    return REPOSITORY


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to start lab tests that cannot work: skipped tests would look like passed ones."""
    if any("lab" in item.keywords for item in session.items) and not _may_become_root():
        raise pytest.UsageError(
            "The tests marked 'lab' create network namespaces and containers: run them as root, or with a "
            "sudo that asks no password, or leave them out with -m 'not lab'."
        )


def _may_become_root() -> bool:
    if os.geteuid() == 0:
        return True
    try:
        return subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
