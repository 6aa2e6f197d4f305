"""status.json: what is written is read, and what is none is refused with its place."""

from __future__ import annotations

import json

import pytest

from labctl.core.errors import LabctlError
from labctl.engine.outcome import Failure
from labctl.runs import status as statuses
from labctl.runs.status import RunState, Status, VisitRecord

FAILURE = Failure("visit.yml", "A proof", "node1", "no program", None)
VISIT = VisitRecord("base", 1, 2, 3, "failed", {"Deploy": 1.5, "total": 2.0}, (FAILURE,))
TIMES = ("2026-03-04T05:06:07+00:00", "2026-03-04T05:09:00+00:00")
STATUS = Status("labctl.status/1", RunState.INTERRUPTED, "here", 7, *TIMES, 4, 2, (VISIT,))


def test_a_status_comes_back_from_its_file() -> None:
    text = json.dumps(statuses.to_json(STATUS))
    assert statuses.from_json(json.loads(text), "status.json") == STATUS


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"schema": "labctl.status/2"}, "status.json:schema"),
        ({"state": "killed"}, "status.json:state"),
        ({"samples_taken": None}, "status.json:samples_taken"),
        ({"visits": [{}]}, "status.json:visits[0].setup"),
    ],
)
def test_what_is_no_status_is_refused_with_its_place(change: dict[str, object], where: str) -> None:
    with pytest.raises(LabctlError) as raised:
        statuses.from_json(statuses.to_json(STATUS) | change, "status.json")
    assert raised.value.problems[0].where == where
