"""The list of runs: found by name, damaged ones named, nothing removed that is not a run."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Protocol

import pytest

from labctl.catalog import Catalog
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.files import write_json
from labctl.plan import plan as planning
from labctl.runs import find as runs
from labctl.runs.attempts import Attempt, LabRecord
from labctl.runs.find import State
from tests.unit.synthetic import plan_of

HERE = platform.node()


class Make(Protocol):
    """Makes a run folder of this name and state."""

    def __call__(self, name: str, state: str = "done", **status: object) -> Path: ...


@pytest.fixture
def make(tmp_path: Path, small_catalog: Catalog) -> Make:
    """What makes run folders in `tmp_path`."""
    plan = plan_of(small_catalog, variant="pods", workload="tcp_rr", processes="1", rounds="2", quick=True)

    def one(name: str, state: str = "done", **status: object) -> Path:
        folder = tmp_path / name
        write_json(folder / "plan.json", planning.to_json(plan))
        content = {"schema": "labctl.status/1", "state": state, "host": HERE, "pid": os.getpid(), "visits": []}
        times = {"started": "2026-03-04T05:06:07Z", "updated": "2026-03-04T05:09:00Z"}
        counts = {"samples_planned": 4, "samples_taken": 4}
        write_json(folder / "status.json", {**content, **times, **counts, **status})
        return folder

    return one


def test_runs_are_listed_oldest_first(make: Make, tmp_path: Path) -> None:
    make("20260302-000000-local")
    make("20260301-000000-local", "interrupted", samples_taken=3)
    assert runs.list_rows(tmp_path) == [
        {
            "run": name,
            "lab": "local",
            "state": state,
            "setups": 2,
            "rounds": 2,
            "samples": samples,
            "note": "quick look, not a result",
        }
        for name, state, samples in (
            ("20260301-000000-local", "interrupted", "3/4"),
            ("20260302-000000-local", "done", "4/4"),
        )
    ]


def test_without_a_directory_there_are_no_runs(tmp_path: Path) -> None:
    assert runs.list_runs(tmp_path / "runs") == ()


def test_a_damaged_run_is_named_and_the_others_listed(make: Make, tmp_path: Path) -> None:
    make("a")
    (make("b") / "plan.json").write_text("{")
    make("c", "dancing")
    (make("d") / "status.json").unlink()
    found = {run.id: run for run in runs.list_runs(tmp_path)}
    assert {name: run.state for name, run in found.items()} == {
        "a": State.DONE,
        "b": State.DAMAGED,
        "c": State.DAMAGED,
        "d": State.DAMAGED,
    }
    assert found["b"].problems[0].what == "a file is not valid JSON"
    assert found["b"].problems[0].where == str(tmp_path / "b" / "plan.json")
    where = f"{tmp_path / 'c' / 'status.json'}:state"
    unknown = Problem("the value is not running or done or failed or interrupted", where, "'dancing'", runs.STILL)
    assert found["c"].problems == (unknown,)
    file = str(tmp_path / "d" / "status.json")
    missing = Problem("a file cannot be read", file, "No such file or directory", runs.STILL)
    assert found["d"].problems == (missing,)
    row = next(row for row in runs.list_rows(tmp_path) if row["run"] == "d")
    assert row["note"] == f"quick look, not a result; a file cannot be read ({tmp_path / 'd' / 'status.json'})"
    assert row["samples"] is None


def test_a_run_whose_labctl_is_gone_was_killed(make: Make, tmp_path: Path) -> None:
    make("mine", "running")
    make("gone", "running", pid=2**22 + 1)
    make("elsewhere", "running", host="another", pid=2**22 + 1)
    assert {run.id: run.state for run in runs.list_runs(tmp_path)} == {
        "mine": State.RUNNING,
        "gone": State.KILLED,
        "elsewhere": State.RUNNING,
    }


def test_a_run_is_found_by_id_beginning_path_or_as_the_latest(make: Make, tmp_path: Path) -> None:
    old, new = make("20260301-000000-local"), make("20260302-000000-local")
    (make("20260303-000000-local") / "plan.json").unlink()
    assert runs.find("20260301-000000-local", tmp_path) == old
    assert runs.find("20260302", tmp_path) == new
    assert runs.find(str(old), tmp_path) == old
    assert runs.find("latest", tmp_path) == new


def test_a_run_that_is_not_there_is_refused(make: Make, tmp_path: Path) -> None:
    make("20260301-000000-local")
    with pytest.raises(UsageError) as raised:
        runs.find("20260301-000000-lokal", tmp_path)
    hint = "did you mean 20260301-000000-local? known: 20260301-000000-local"
    problem = Problem("there is no such run", str(tmp_path), "'20260301-000000-lokal'", hint)
    assert raised.value.problems == (problem,)


def test_an_ambiguous_beginning_is_refused(make: Make, tmp_path: Path) -> None:
    make("20260301-000000-local")
    make("20260301-000001-local")
    with pytest.raises(UsageError) as raised:
        runs.find("2026", tmp_path)
    hint = "give more of the id; it matches 20260301-000000-local, 20260301-000001-local"
    assert raised.value.problems == (Problem("more than one run begins like this", str(tmp_path), "'2026'", hint),)


@pytest.mark.parametrize("reference", ["latest", "x", ""])
def test_without_runs_the_way_to_one_is_shown(reference: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        runs.find(reference, tmp_path)
    problem = Problem("there is no run", str(tmp_path), hint="make one with: labctl matrix")
    assert raised.value.problems == (problem,)


def test_when_all_are_damaged_there_is_no_latest(make: Make, tmp_path: Path) -> None:
    (make("a") / "plan.json").unlink()
    with pytest.raises(UsageError, match="every run is damaged"):
        runs.find("latest", tmp_path)


def test_a_run_on_emulated_nodes_is_listed_and_described_as_such(make: Make, tmp_path: Path) -> None:
    path = make("a") / "plan.json"
    plan = json.loads(path.read_text())
    plan["lab"]["emulated"] = True
    path.write_text(json.dumps(plan))
    marks = ("quick look, not a result", "emulated processors (QEMU without KVM): not a performance result")
    (row,) = runs.list_rows(tmp_path)
    assert row["note"] == "; ".join(marks)
    assert runs.describe("a", tmp_path).splitlines()[0] == ": ".join(["run a", *marks])


def test_a_run_is_described_with_its_failures(make: Make, tmp_path: Path) -> None:
    failure = {"playbook": "visit.yml", "node": "node2", "task": "Proof holds", "message": "no program", "hint": None}
    visit = {"setup": "pods", "round": 2, "deployment": 1, "attempt": 1, "status": "failed"}
    make("a", "failed", visits=[{**visit, "seconds": {"total": 3.5}, "failures": [failure]}])
    assert runs.describe("a", tmp_path).splitlines() == [
        "run a: quick look, not a result",
        "lab:       local (local): node1 to node2, 2 CPU threads",
        "created:   2026-03-04T05:06:07Z",
        "state:     failed",
        "samples:   4 of 4 taken",
        "setups:    base, pods",
        "workloads: tcp_rr",
        "rounds:    2, 1 per cell and round, seed 1",
        "window:    2 s after 1 s of warm-up",
        "CPUs:      idle awake, pinned cores",
        f"folder:    {tmp_path / 'a'}",
        "pods, round 2: node2: Proof holds: no program",
    ]


def test_a_damaged_run_is_not_described_but_refused_by_what_is_wrong(make: Make, tmp_path: Path) -> None:
    (make("a") / "plan.json").write_text("[]")
    with pytest.raises(LabctlError) as refused:
        runs.describe("a", tmp_path)
    assert str(refused.value).splitlines() == [
        "the schema is not labctl.plan/1",
        f"  where: {tmp_path / 'a' / 'plan.json'}:schema",
        "  seen:  null",
        "  next:  use the labctl that wrote it (attempts/1.json says which), or measure again with this one",
    ]


def test_what_can_still_be_done_with_a_damaged_run_is_said(make: Make, tmp_path: Path) -> None:
    (make("a") / "status.json").write_text('{"schema": "labctl.status/1"}')
    with pytest.raises(LabctlError) as refused:
        runs.describe("a", tmp_path)
    assert {problem.hint for problem in refused.value.problems} == {runs.STILL}


@pytest.mark.parametrize("name", ["plan.json", "status.json"])
def test_a_fifo_in_the_place_of_a_file_of_a_run_is_named_and_not_waited_for(
    make: Make, tmp_path: Path, name: str
) -> None:
    file = make("a") / name
    file.unlink()
    os.mkfifo(file)
    (run,) = runs.list_runs(tmp_path)
    assert [(problem.what, problem.where) for problem in run.problems] == [("this is no regular file", str(file))]


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "x/" * 3000])
def test_a_name_that_no_folder_can_have_is_of_no_run(make: Make, tmp_path: Path, name: str) -> None:
    make("a")
    with pytest.raises(UsageError):
        runs.find(f"runs/{name}", tmp_path)


def test_a_run_that_was_never_begun_is_no_run(make: Make, tmp_path: Path) -> None:
    make("a")
    (tmp_path / ".b.partial").mkdir()
    assert [run.id for run in runs.list_runs(tmp_path)] == ["a"]


def test_removing_takes_the_whole_folder(make: Make, tmp_path: Path) -> None:
    make("a")
    kept = make("b")
    assert runs.remove("a", tmp_path) == "a"
    assert list(tmp_path.iterdir()) == [kept]


ID = "20260301-000000-local"


@pytest.mark.parametrize("left", ["status.json", "plan.json", "attempts/1.json", "samples", None])
def test_a_damaged_run_that_proves_to_be_one_is_removed_by_its_id(make: Make, tmp_path: Path, left: str | None) -> None:
    folder = make(ID)
    write_json(folder / "attempts" / "1.json", {"schema": "labctl.attempt/1"})
    (folder / "samples").mkdir()
    for part in ("status.json", "plan.json", "attempts/1.json"):
        if part != left:
            (folder / part).write_text("{")
    with pytest.raises(UsageError, match="there is no such run"):  # only whole runs go by a beginning
        runs.remove("20260301-000000", tmp_path)
    assert runs.remove(ID, tmp_path) == ID
    assert list(tmp_path.iterdir()) == []


def test_a_run_called_otherwise_proves_itself_by_a_record(make: Make, tmp_path: Path) -> None:
    folder = make("mine")
    (folder / "status.json").unlink()
    assert runs.remove("mine", tmp_path) == "mine"
    folder = make("mine")
    for record in ("plan.json", "status.json"):
        (folder / record).write_text("{}")
    with pytest.raises(UsageError, match="this is no run: no record in it says so"):
        runs.remove("mine", tmp_path)
    assert folder.is_dir()


def test_a_run_is_removed_by_its_day_or_more_of_its_id(make: Make, tmp_path: Path) -> None:
    kept = make("20260228-000000-local")
    make(ID)
    with pytest.raises(UsageError) as raised:
        runs.remove("202603", tmp_path)
    hint = f"give its id, or at least the first 8 characters of it: {ID}"
    problem = Problem("that is too little to remove a run by", str(tmp_path), "'202603'", hint)
    assert raised.value.problems == (problem,)
    assert runs.remove("20260301", tmp_path) == ID
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize(
    "reference", ["n", "note", "notes", "notes/", "./notes", "link", "file", "20260301-000000-link"]
)
def test_what_is_no_run_is_never_removed(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    root = tmp_path / "runs"
    elsewhere = make("elsewhere/20260301-000000-other")
    make(f"runs/{ID}")
    (root / "notes").mkdir()
    (root / "notes" / "plan.json").write_text('{"schema": "of another program"}')
    (root / "file").touch()
    (root / "link").symlink_to(elsewhere)
    (root / "20260301-000000-link").symlink_to(elsewhere)
    monkeypatch.chdir(root)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError) as raised:
        runs.remove(reference, root)
    assert sorted(tmp_path.rglob("*")) == before
    assert all(problem.hint for problem in raised.value.problems)
    assert "20260301-000000-link" not in [run.id for run in runs.list_runs(root)]


ABOVE = ("runs/..", "runs/.", "runs/../", ".", "..", "/", "//", "./", "", f"runs/{ID}/..", f"runs/{ID}/.")
BESIDE = (f"runs/{ID}/samples", "runs", "runs/", "runs/*", ".hidden", "-rf", "~", "a\0b")


@pytest.mark.parametrize("reference", [*ABOVE, *BESIDE])
def test_a_path_that_leads_elsewhere_removes_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    (make(f"runs/{ID}") / "samples").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError):
        runs.remove(reference)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("reference", [f"runs/{ID}", f"runs/{ID}/", f"./runs/../runs/{ID}"])
def test_a_run_is_removed_by_its_path(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    make(f"runs/{ID}")
    monkeypatch.chdir(tmp_path)
    assert runs.remove(reference) == ID
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_removal_that_was_cut_short_is_listed_and_finished(make: Make, tmp_path: Path) -> None:
    make("20260302-000000-local")
    make(ID).rename(tmp_path / f".removing-{ID}")
    row = runs.list_rows(tmp_path)[0]
    assert (row["run"], row["state"], row["lab"]) == (ID, "removing", None)
    assert f"labctl runs remove {ID} finishes it" in str(row["note"])
    with pytest.raises(UsageError, match="there is no such run"):
        runs.find(ID, tmp_path)
    with pytest.raises(UsageError, match="there is no such run"):
        runs.remove(ID[:-1], tmp_path)
    assert runs.remove(ID, tmp_path) == ID
    assert [path.name for path in tmp_path.iterdir()] == ["20260302-000000-local"]


def test_a_run_whose_status_is_damaged_may_still_go_on(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(ID)
    (folder / "status.json").write_text("{")
    lab = LabRecord("local", "a", "b", "/labs", {})
    attempt = Attempt("labctl.attempt/1", 1, "", HERE, os.getpid(), "0", "", lab, {}, ())
    write_json(folder / "attempts" / "1.json", attempt)
    monkeypatch.setattr(runs, "_is_labctl", lambda pid: pid == os.getpid())
    with pytest.raises(UsageError, match="the run is going on"):
        runs.remove(ID, tmp_path)
    monkeypatch.setattr(runs, "_is_labctl", lambda _: False)
    assert runs.remove(ID, tmp_path) == ID


def test_a_run_that_goes_on_is_not_removed(make: Make, tmp_path: Path) -> None:
    folder = make("a", "running")
    with pytest.raises(UsageError) as raised:
        runs.remove("a", tmp_path)
    assert raised.value.problems == (Problem("the run is going on", str(folder), hint="end it with Ctrl-C first"),)
    assert folder.is_dir()
