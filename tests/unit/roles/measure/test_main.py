"""Requests and responses, a line each."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from labctl_agent.__main__ import PREFIX, serve
from labctl_measure import channel


def answers(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what an agent that can divide answers."""

    def divide(a: int, b: int) -> dict[str, Any]:
        if b == 0:
            raise RuntimeError("nothing to divide by")
        return {"value": a / b}

    written = io.StringIO()
    serve({"divide": divide}, io.BytesIO(b"".join(json.dumps(each).encode() + b"\n" for each in requests)), written)
    lines = written.getvalue().splitlines()
    assert all(line.startswith(PREFIX) for line in lines)
    return [json.loads(line.removeprefix(PREFIX)) for line in lines]


def test_a_request_has_one_answer_and_a_refused_one_does_not_end_it() -> None:
    assert answers({"op": "divide", "a": 1, "b": 0}, {"op": "divide", "a": 1, "b": 2}) == [
        {"ok": False, "error": "RuntimeError: nothing to divide by"},
        {"ok": True, "value": 0.5},
    ]
    assert answers() == []


def test_a_mistake_of_the_program_is_no_refusal() -> None:
    with pytest.raises(KeyError, match="multiply"):
        answers({"op": "multiply"})
    with pytest.raises(TypeError):
        answers({"op": "divide", "a": 1})


def test_both_ends_know_the_same_prefix() -> None:
    assert PREFIX.encode() == channel.PREFIX
