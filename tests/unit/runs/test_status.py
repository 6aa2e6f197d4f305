"""status.json: what is written is read, and what is none is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.core.errors import LabctlError
from labctl.core.files import read_record, write_json
from labctl.core.records import encode
from labctl.engine.outcome import Failure
from labctl.runs.status import RunState, Status, VisitRecord

FAILURE = Failure("visit.yml", "A proof", "node1", "no program", None)
VISIT = VisitRecord("base", 1, 2, 3, "failed", {"Deploy": 1.5, "total": 2.0}, (FAILURE,))
TIMES = ("2026-03-04T05:06:07+00:00", "2026-03-04T05:09:00+00:00")
STATUS = Status("labctl.status/1", RunState.INTERRUPTED, "here", 7, *TIMES, 4, 2, (VISIT,))


def test_a_status_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_json(path, STATUS)
    assert read_record(Status, path) == STATUS


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"schema": "labctl.status/2"}, "status.json:schema"),
        ({"state": "killed"}, "status.json:state"),
        ({"samples_taken": None}, "status.json:samples_taken"),
        ({"visits": [{}]}, "status.json:visits[0].setup"),
    ],
)
def test_what_is_no_status_is_refused_with_its_place(change: dict[str, object], where: str, tmp_path: Path) -> None:
    write_json(tmp_path / "status.json", encode(STATUS) | change)
    with pytest.raises(LabctlError) as raised:
        read_record(Status, tmp_path / "status.json")
    assert raised.value.problems[0].where == f"{tmp_path}/{where}"
