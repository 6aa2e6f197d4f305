"""labctl runs: list, show, remove."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from labctl.catalog import Catalog
from labctl.core.files import write_json
from labctl.plan import plan as planning
from labctl.runs.status import RunState, Status
from tests.unit.cli.run import Run
from tests.unit.synthetic import plan_of

NAME = "20260304-050607-local"


@pytest.fixture
def run(tmp_path: Path, small_catalog: Catalog) -> Path:
    """A run that is done."""
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="2")
    folder = tmp_path / "runs" / NAME
    times = ("2026-03-04T05:06:07Z", "2026-03-04T05:09:00Z")
    done = Status("labctl.status/1", RunState.DONE, platform.node(), os.getpid(), *times, 2, 2, ())
    write_json(folder / "plan.json", planning.to_json(plan))
    write_json(folder / "status.json", done)
    return folder


def test_runs_are_listed(labctl: Run, run: Path) -> None:
    code, out, err = labctl("runs", "list", "--format", "csv")
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == f"{NAME},local,done,1,2,2/2,"


def test_without_a_run_the_way_to_one_is_shown(labctl: Run) -> None:
    code, _, err = labctl("runs", "list")
    assert (code, err) == (0, "no run here; make one with: labctl matrix\n")


def test_a_run_is_shown(labctl: Run, run: Path) -> None:
    code, out, _ = labctl("runs", "show")
    assert code == 0
    assert out.startswith(f"run {NAME}\n")
    assert "2 of 2 taken" in out


def test_a_run_is_removed_by_its_name(labctl: Run, run: Path) -> None:
    assert labctl("runs", "remove", "2027")[0] == 2
    assert run.exists()
    assert labctl("runs", "remove", NAME) == (0, f"removed {NAME}\n", "")
    assert not run.exists()


def test_a_damaged_run_is_shown_as_an_error(labctl: Run, tmp_path: Path) -> None:
    (tmp_path / "runs" / "20261130-010203-a").mkdir(parents=True)
    code, out, err = labctl("runs", "show", "20261130-010203-a")
    assert (code, out) == (1, "")
    assert err.startswith("error: a file cannot be read\n")
    assert "plan.json" in err
    assert "  next:  " in err
