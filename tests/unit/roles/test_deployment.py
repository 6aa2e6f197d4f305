"""The record of the role that deploys: written before it begins, kept until it has undone what it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from roles.deployment.library import deployment


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "labctl" / "deployment.json"
    monkeypatch.setattr(deployment, "RECORD", str(path))
    return path


def test_a_role_is_recorded_once(record: Path) -> None:
    assert deployment.begin("one", check_mode=False) == {"changed": True, "role": "one", "other": False}
    assert deployment.begin("one", check_mode=False) == {"changed": False, "role": "one", "other": False}
    assert deployment.recorded() == "one"


def test_another_role_does_not_take_the_place_of_one_that_has_not_been_undone(record: Path) -> None:
    deployment.begin("one", check_mode=False)
    assert deployment.begin("two", check_mode=False) == {"changed": False, "role": "one", "other": True}
    assert deployment.recorded() == "one"
    assert deployment.end(check_mode=False) == {"changed": True, "role": None}
    assert deployment.begin("two", check_mode=False)["role"] == "two"


def test_a_node_without_a_record_has_no_role_and_stays_without_one_in_check_mode(record: Path) -> None:
    assert deployment.recorded() is None
    assert deployment.end(check_mode=False) == {"changed": False, "role": None}
    assert deployment.begin("one", check_mode=True)["changed"]
    assert not record.exists()
