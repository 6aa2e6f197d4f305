"""Records of labs on this machine: one that is not understood hides none of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.labs import embedded as labs


def test_records_that_are_not_understood_are_told_and_the_rest_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABCTL_STATE_DIR", str(tmp_path))
    for name, content in (("half", '{"schema"'), ("old", '{"schema": "labctl.lab/1"}')):
        (tmp_path / "labs" / name).mkdir(parents=True)
        (tmp_path / "labs" / name / "lab.json").write_text(content)
    found, problems = labs.list_labs()
    assert (labs.names(), found) == (("half", "old"), ())
    assert [problem.what for problem in problems] == [
        "the record of lab half cannot be read",
        "the record of lab old is not of schema labctl.lab/2",
    ]
