"""Resuming: what is kept, what is set aside, what is still to be done, and damaged parts that are named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.catalog import Catalog
from labctl.core.errors import LabctlError, UsageError
from labctl.core.files import write_json
from labctl.engine.inventory import Inventory
from labctl.matrix import resume
from labctl.matrix.record import Record
from labctl.plan import plan as planning
from labctl.plan.plan import Plan
from labctl.plan.visit import setup_inventory
from labctl.runs import attempts, history
from labctl.runs.folder import RunFolder
from labctl.runs.status import RunState, VisitRecord
from labctl.samples.sample import Sample, Status
from tests.unit import lab_records
from tests.unit.synthetic import plan_of, samples_of

LAB = Inventory(Path("/labs/local"), "local", "local", "node1", "node2", {"node1": {}, "node2": {}})


@pytest.fixture
def plan(small_catalog: Catalog) -> Plan:
    return plan_of(small_catalog, variant="base,pods", workload="tcp_rr", processes="1", rounds="2", repeat="2")


@pytest.fixture
def folder(tmp_path: Path, plan: Plan) -> RunFolder:
    """A whole run: a plan, an attempt, eight valid samples."""
    run = RunFolder(tmp_path / "run")
    write_json(run.plan, planning.to_json(plan))
    attempts.write(run, attempts.observe(1, run.plan.read_text(), LAB, {}))
    for sample in samples_of(plan):
        store(run, sample)
    write_status(run, plan)
    return run


def store(run: RunFolder, sample: Sample) -> None:
    write_json(run.samples / sample.id / "sample.json", sample)


def write_status(run: RunFolder, plan: Plan, *visits: VisitRecord) -> None:
    Record(plan, run, visits=visits).save(RunState.RUNNING)


def spoil(run: RunFolder, plan: Plan, sample_id: str, status: Status, reason: str) -> None:
    sample = next(one for one in samples_of(plan) if one.id == sample_id)
    store(run, replace(sample, status=status, reasons=(reason,)))


def test_a_whole_run_lacks_nothing(folder: RunFolder, plan: Plan) -> None:
    kept = resume.keep(resume.reopen(folder.path))
    assert len(kept.samples) == plan.samples == 8
    assert kept.aside == ()
    assert Record(plan, folder, kept=kept.samples).lacking() == ()


def test_only_what_is_missing_is_done_in_the_plans_order(folder: RunFolder, plan: Plan) -> None:
    for sample_id in ("pods.tcp_rr.1/2-2", "base.tcp_rr.1/1-1"):
        shutil.rmtree(folder.samples / sample_id)
    kept = resume.keep(resume.reopen(folder.path)).samples
    record = Record(plan, folder, 2, kept)
    assert [(visit.round, visit.setup) for visit in record.lacking()] == [(1, "base"), (2, "pods")]
    assert record.taken == 6
    taken = [
        sample["id"]
        for visit in record.lacking()
        for sample in setup_inventory(plan, visit, ["node1"], folder.samples, kept, 2)["all"]["hosts"]["node1"][
            "measure_samples"
        ]
    ]
    assert taken == ["base.tcp_rr.1/1-1", "pods.tcp_rr.1/2-2"]


def test_samples_that_do_not_count_are_set_aside_taken_again_and_still_told(folder: RunFolder, plan: Plan) -> None:
    spoil(folder, plan, "base.tcp_rr.1/1-1", Status.FAILED, "netperf was killed")
    spoil(folder, plan, "pods.tcp_rr.1/2-1", Status.INVALID, "another way")
    broken = folder.samples / "pods.tcp_rr.1" / "1-2"
    (broken / "sample.json").write_text('{"schema": "labc')
    kept = resume.keep(resume.reopen(folder.path))
    assert [str(path.relative_to(folder.samples)) for path in kept.aside] == [
        "base.tcp_rr.1/1-1.failed-1",
        "pods.tcp_rr.1/2-1.invalid-1",
        "pods.tcp_rr.1/1-2.damaged-1",
    ]
    assert len(kept.samples) == 5
    told = {one.sample: one.reasons for one in history.read(folder).retaken}
    assert told["base.tcp_rr.1/1-1.failed-1"] == ("netperf was killed",)
    assert told["pods.tcp_rr.1/2-1.invalid-1"] == ("another way",)
    assert "is not valid JSON" in told["pods.tcp_rr.1/1-2.damaged-1"][0]
    spoil(folder, plan, "base.tcp_rr.1/1-1", Status.FAILED, "again")
    assert [path.name for path in resume.keep(resume.reopen(folder.path)).aside] == ["1-1.failed-2"]


def test_raw_files_without_a_sample_are_derived_and_kept(
    folder: RunFolder, repository: Path, tmp_path: Path, small_catalog: Catalog
) -> None:
    capture = repository / "tests" / "fixtures" / "samples" / "baseline.tcp_rr.2" / "1-6"
    item = json.loads((capture / "measurement.json").read_text())["sample"]
    data = json.loads(folder.plan.read_text())
    workload = next(one for one in data["workloads"] if one["name"] == "tcp_rr")
    workload["selectors"], workload["options"] = item["selectors"], item["options"]
    setup = {**data["setups"][0], "id": item["setup"], "reference": None}
    named = {name: item[name] for name in ("setup", "workload", "processes", "processes_label")}
    data |= {"setups": [setup], "cells": [{**named, "id": item["cell"]}], "rounds": 1, "repeat": 6}
    data["visits"] = [{"round": 1, "setup": item["setup"]}]
    write_json(folder.plan, data)
    shutil.rmtree(folder.samples)
    shutil.copytree(capture, folder.samples / item["id"])
    (folder.samples / item["id"] / "sample.json").unlink(missing_ok=True)
    kept = resume.keep(resume.reopen(folder.path))
    assert kept.samples == {item["id"]}
    assert (folder.samples / item["id"] / "sample.json").is_file()


def test_what_an_interruption_left_half_written_is_swept(folder: RunFolder) -> None:
    (folder.samples / "base.tcp_rr.1" / ".1-1.partial").mkdir()
    (folder.samples / "base.tcp_rr.1" / ".1-1.partial" / "client.json").write_text("{")
    (folder.path / ".status.json.partial").write_text("{")
    resume.keep(resume.reopen(folder.path))
    assert [path for path in folder.path.rglob("*") if path.name.startswith(".")] == []


@pytest.mark.parametrize("content", ["", '{"schema": "labctl.status/1", "sta', '{"schema": "labctl.status/0"}'])
def test_a_damaged_status_is_named_set_aside_and_does_not_matter(folder: RunFolder, content: str) -> None:
    folder.status.write_text(content)
    earlier = resume.reopen(folder.path)
    assert str(folder.status) in str(earlier.problems[0])
    kept = resume.keep(earlier)
    assert len(kept.samples) == 8
    assert [path.name for path in kept.aside] == ["status.json.damaged-1"]


@pytest.mark.parametrize("content", ["", '{"schema": "labctl.plan/1", "id"', '{"schema": "labctl.plan/0"}', "[]"])
def test_without_its_plan_a_run_is_refused(folder: RunFolder, content: str) -> None:
    folder.plan.write_text(content)
    with pytest.raises(LabctlError, match=r"plan\.json"):
        resume.reopen(folder.path)


@pytest.mark.parametrize("part", [".", "plan.json", "status.json", "attempts/1.json"])
def test_a_run_that_others_can_write_is_not_gone_on_with(folder: RunFolder, part: str) -> None:
    path = folder.path / part
    path.chmod(path.stat().st_mode | 0o002)
    with pytest.raises(UsageError, match="a run to go on with is not believed"):
        resume.reopen(folder.path)


def test_without_a_readable_attempt_nothing_can_be_compared(folder: RunFolder) -> None:
    now = attempts.observe(2, folder.plan.read_text(), LAB, {})
    assert resume.drift(resume.reopen(folder.path), now) == ()
    folder.attempt(1).write_text("{")
    earlier = resume.reopen(folder.path)
    assert str(folder.attempt(1)) in str(earlier.problems[0])
    assert earlier.attempts == 1  # the next one does not overwrite it
    assert [change.where for change in resume.drift(earlier, now)] == [f"{folder.path}: attempts"]


def test_cpus_that_can_no_longer_be_kept_awake_are_drift_once(folder: RunFolder) -> None:
    text, why = folder.plan.read_text(), "no right to /dev/cpu_dma_latency"
    refused = attempts.observe(2, text, LAB, {}, why)
    (change,) = resume.drift(resume.reopen(folder.path), refused)
    assert str(change) == f"lab, idle policy awake: granted became refused: {why}"
    attempts.write(folder, replace(refused, drift=(change,)))
    assert resume.drift(resume.reopen(folder.path), attempts.observe(3, text, LAB, {}, why)) == ()
    assert [one.recorded for one in resume.drift(resume.reopen(folder.path), attempts.observe(3, text, LAB, {}))] == [
        f"refused: {why}"
    ]


def test_a_run_with_the_machines_own_sleep_goes_on_wherever_awake_can_be_had(folder: RunFolder, plan: Plan) -> None:
    write_json(folder.plan, planning.to_json(replace(plan, idle="system")))
    attempts.write(folder, attempts.observe(1, folder.plan.read_text(), LAB, {}, "no /dev/cpu_dma_latency"))
    assert resume.drift(resume.reopen(folder.path), attempts.observe(2, folder.plan.read_text(), LAB, {})) == ()


def test_a_plan_that_was_edited_is_drift(folder: RunFolder) -> None:
    earlier = resume.reopen(folder.path)
    folder.plan.write_text(folder.plan.read_text() + "\n")
    now = attempts.observe(2, folder.plan.read_text(), LAB, {})
    assert [change.what for change in resume.drift(earlier, now)] == ["plan"]


def recorded(run: RunFolder, inventory: object, name: str = "local") -> None:
    """Let a run have been begun on a lab at another place."""
    attempt = json.loads(run.attempt(1).read_text())
    attempt["lab"] |= {"inventory": str(inventory), "name": name}
    write_json(run.attempt(1), attempt)


def test_a_run_goes_on_with_the_inventory_that_its_lab_has_here(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LABCTL_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    here = resume.reopen(folder.path).plan.lab.name
    assert resume.reopen(folder.path).inventory == here  # what is recorded is gone
    for nowhere in ("x" * 5000, "a\0b"):
        recorded(folder, Path(nowhere))
        assert resume.reopen(folder.path).inventory == here
    recorded(folder, elsewhere)
    with pytest.raises(UsageError) as refused:
        _ = resume.reopen(folder.path).inventory
    (problem,) = refused.value.problems
    assert (problem.where, problem.seen) == (f"{folder.attempt(1)}:lab.inventory", f"'{elsewhere}'")
    assert "-i INVENTORY" in str(problem.hint)

    def known_now(path: Path) -> bool:
        recorded(folder, path)
        return resume.reopen(folder.path).inventory == str(path)

    own = tmp_path / "inventories" / here
    cluster = tmp_path / "XDG_STATE_HOME" / "labctl" / "clusters" / f"{here}-0123"
    for path in (own, cluster):
        path.mkdir(parents=True)
        assert known_now(path)
    lab_records.record(tmp_path / "LABCTL_STATE_DIR", here, inventory=str(elsewhere))
    assert known_now(elsewhere)


@pytest.mark.parametrize("name", ["../evil", "/evil", "{{ 1/0 }}", ""])
def test_a_run_of_a_lab_without_a_proper_name_does_not_go_on(folder: RunFolder, plan: Plan, name: str) -> None:
    earlier = replace(resume.reopen(folder.path), plan=replace(plan, lab=replace(plan.lab, name=name)))
    with pytest.raises(UsageError, match="this cannot be the name of a lab"):
        _ = earlier.inventory
