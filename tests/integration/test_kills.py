"""Whatever dies, and whenever: kills drawn at random on the real local lab, and the run that survives them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.integration.conftest import ProvisionedLab
from tests.integration.kills import VICTIMS, Ordeal, Stage, Victim, draw

pytestmark = pytest.mark.lab

SEED, COUNT = 20211122, 20


def test_draws_are_spread_over_stages_and_victims() -> None:
    kills = list(islice(draw(SEED), COUNT))
    assert kills == list(islice(draw(SEED), COUNT))
    assert {kill.stage for kill in kills} == set(Stage)
    assert {kill.victim for kill in kills} == set(Victim)
    assert all(kill.victim in VICTIMS[kill.stage] for kill in kills)


def test_a_run_survives_every_kill(lab: ProvisionedLab, impatient: Path, tmp_path: Path) -> None:
    ordeal = Ordeal(lab, impatient, tmp_path, say=print)
    ordeal.suffer(draw(SEED), COUNT)
    assert ordeal.hits.total() == COUNT
    assert ordeal.finished >= 1
