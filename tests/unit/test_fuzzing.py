"""A few of the cases that benchmarks/fuzz.py tries by the ten thousand: the same ones every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing import TARGETS, Target, fuzz

# As many as take about a second each.
CASES = {
    "plan": 25,
    "run": 12,
    "sample": 30,
    "netperf": 200,
    "kubeconfig": 40,
    "inventory": 20,
    "bundle": 60,
    "fingerprint": 15,
    "node": 100,
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_what_others_give_ends_as_data_or_as_a_refusal(target: Target, tmp_path: Path) -> None:
    fuzz(target, CASES[target.name], tmp_path)
