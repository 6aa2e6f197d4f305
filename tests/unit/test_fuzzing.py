"""A few of the cases that benchmarks/fuzz.py tries by the ten thousand: the same ones every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing import TARGETS, Target, fuzz

# As many as take about half a second each.
CASES = {"run": 8, "sample": 20, "kubeconfig": 25, "fingerprint": 12, "plan": 15, "node": 60}
WHOLE = {"inventory", "bundle", "kubeconfig"}


@pytest.mark.parametrize("target", [one for one in TARGETS if one.name not in WHOLE], ids=lambda one: one.name)
def test_what_others_give_ends_as_data_or_as_a_refusal(target: Target, tmp_path: Path) -> None:
    fuzz(target, CASES.get(target.name, 60), tmp_path)
