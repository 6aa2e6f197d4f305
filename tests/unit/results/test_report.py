"""Reports from run folders with real raw samples: what is derived can be deleted and comes back the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from labctl import catalog
from labctl.catalog.lab import LabFacts
from labctl.core.errors import LabctlError
from labctl.core.files import write_json
from labctl.core.tables import render
from labctl.plan import plan as planning
from labctl.plan import stored
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.visit import setup_inventory
from labctl.results import report
from labctl.samples.sample import Status
from tests.unit.captures import TAKEN, captured_run

OLD = "20261122-160000-local"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a plan and the three captured samples, nothing derived."""
    return captured_run(tmp_path / "runs")


def test_a_report_is_made_from_raw_files_alone(run: Path) -> None:
    text = render(report.document(run.name, directory=run.parent))
    assert "36 samples of 2 s in 1 round: 3 valid, 0 invalid, 0 failed, 33 not taken" in text
    assert (run / "summary.json").is_file()
    assert sorted(path.parent.relative_to(run / "samples").as_posix() for path in run.rglob("sample.json")) == TAKEN


def test_what_is_derived_comes_back_the_same(run: Path) -> None:
    before = render(report.document(str(run)), "csv")
    derived = {path: path.read_bytes() for path in [run / "summary.json", *run.rglob("sample.json")]}
    for path in derived:
        path.unlink()
    assert render(report.document(str(run)), "csv") == before
    assert {path: path.read_bytes() for path in derived} == derived


def test_a_damaged_derived_file_is_made_again(run: Path) -> None:
    report.document(str(run))
    derived = {path: path.read_bytes() for path in [run / "summary.json", *run.rglob("sample.json")]}
    for path in derived:
        path.write_text('{"schema": "labctl.sample/0"')
    report.document(str(run))
    assert {path: path.read_bytes() for path in derived} == derived


def test_what_is_there_is_not_written_again(run: Path) -> None:
    report.document(str(run))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    report.document(str(run))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before


def test_another_reference_does_not_change_the_summary_on_disk(run: Path) -> None:
    report.document(str(run))
    before = (run / "summary.json").read_bytes()
    report.document(str(run), "baseline")
    assert (run / "summary.json").read_bytes() == before


def test_a_damaged_raw_folder_is_named_and_the_rest_reported(run: Path) -> None:
    (run / "samples" / TAKEN[0] / "client.json").write_text("{")
    summary = report.summary_of(run)
    (unusable,) = summary.unusable
    assert (unusable.sample, unusable.status) == (TAKEN[0], Status.FAILED)
    assert "client.json" in unusable.reasons[0]
    assert sum(row.valid for row in summary.rows) == 2
    assert TAKEN[0] in render(report.document(str(run)))


def test_a_run_without_a_readable_plan_has_no_report(run: Path) -> None:
    plan = json.loads((run / "plan.json").read_text())
    write_json(run / "plan.json", plan | {"schema": "labctl.plan/9"})
    with pytest.raises(LabctlError, match=r"the schema is not labctl\.plan/1"):
        report.document(str(run))


# A run of a labctl whose workloads were netperf's alone (tests/fixtures/runs/ORIGIN.md)


@pytest.fixture
def old(tmp_path: Path, repository: Path) -> Path:
    """The folder of such a run, nothing derived."""
    fixtures = repository / "tests" / "fixtures"
    folder = tmp_path / OLD
    folder.mkdir()
    shutil.copy(fixtures / "runs" / OLD / "plan.json", folder)
    for name in TAKEN:
        shutil.copytree(fixtures / "samples" / name, folder / "samples" / name)
    return folder


def rounded(file: Path) -> dict[str, Any]:
    """What a JSON file says, in 12 digits: labctl summed with an error in the last one when the old run was made."""
    content: dict[str, Any] = json.loads(file.read_text(), parse_float=lambda digits: f"{float(digits):.12g}")
    return content


# Busy is what was not idle since; then it was what the tick had sampled, which is still beside it.
CPU_SINCE = ("cpu", "cpu_cost")


def test_an_old_run_reports_and_derives_what_it_did(old: Path, repository: Path) -> None:
    assert "36 samples of 2 s in 1 round: 3 valid, 0 invalid, 0 failed, 33 not taken" in render(
        report.document(str(old))
    )
    for name in TAKEN:
        then = repository / "tests" / "fixtures" / "runs" / OLD / "samples" / name / "sample.json"
        now, wanted = rounded(old / "samples" / name / "sample.json"), rounded(then)
        for key in CPU_SINCE:
            del now[key], wanted[key]
        wire = {"now": now.pop("wire"), "then": wanted.pop("wire")}
        for key in ("bytes", "packets", "bytes_per_packet"):  # retransmits were not expected then
            assert wire["now"][key] == wire["then"][key]
        assert now.pop("flags") == [*wanted.pop("flags"), "load_unknown"], "nobody looked then"
        assert [one["foreign_pct"] for one in now.pop("load")] == [None]
        assert {key: now.pop(key) for key in wanted} == wanted
        assert not any(now.values()), "what nobody recorded then"


def test_an_old_plan_is_written_and_measured_as_it_was(old: Path, repository: Path) -> None:
    data = json.loads((old / "plan.json").read_text())
    plan = stored.from_json(data, "plan.json")
    assert planning.to_json(plan)["workloads"] == data["workloads"]
    then = json.loads((repository / "tests" / "fixtures" / "runs" / OLD / "measure_samples.json").read_text())
    inventory = setup_inventory(plan, plan.visits[0], ["node1"], Path("/x"))
    now = {item["id"]: item for item in inventory["all"]["hosts"]["node1"]["measure_samples"]}
    assert [{key: now[item["id"]][key] for key in item} for item in then] == then
    assert {now[item["id"]]["idle"] for item in then} == {"system"}, "nobody kept the CPUs awake then"


def test_two_stored_samples_of_two_placements_are_told_apart_and_not_pooled(tmp_path: Path, repository: Path) -> None:
    """The same path, both valid, 2.9 times apart (tests/fixtures/modes/ORIGIN.md)."""
    raw = RawOptions(variant="baseline", workload="tcp_rr", processes="1", rounds="2", duration="2", warmup="1")
    known = catalog.load()
    facts = LabFacts("local", "local", "node1", "node2", 2)
    options = parse_options(replace(raw, idle="system"), known)
    plan = planning.build(options, known, facts, datetime(2026, 3, 4, tzinfo=UTC))
    run = tmp_path / plan.id
    write_json(run / "plan.json", planning.to_json(plan))
    for number, name in enumerate(("same", "apart"), 1):
        folder = run / "samples" / "baseline.tcp_rr.1" / f"{number}-1"
        shutil.copytree(repository / "tests" / "fixtures" / "modes" / name, folder)
        measurement = json.loads((folder / "measurement.json").read_text())
        measurement["sample"] |= {"id": f"baseline.tcp_rr.1/{number}-1", "round": number}  # both were a first round
        write_json(folder / "measurement.json", measurement)
    (row,) = report.summary_of(run).rows
    assert row.valid == 2
    assert {mode.label: round(mode.median or 0) for mode in row.modes} == {
        "ends on the same CPUs": 47187,
        "ends on CPUs of their own": 16413,
    }
    assert row.rate is not None
    assert (row.rate.median, row.rate.mean, row.latency_us, row.cpu_cost) == (None, None, None, None)
    table = render(report.document(str(run))).split("tcp_rr, 1 process")[1]
    assert "31800" not in table  # the mean of both
    assert "- ends on the same CPUs" in table
