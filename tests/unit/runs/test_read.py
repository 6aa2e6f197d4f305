"""Reading what a run measured: derived where that is missing, and what cannot be read named by its sample."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from labctl.core.errors import LabctlError
from labctl.core.files import read_record, write_json
from labctl.nodes.fingerprint import Span
from labctl.runs.conditions import Changed, Conditions
from labctl.runs.read import keep_derived, read
from labctl.samples.sample import Sample, Status
from tests.unit.captures import TAKEN, captured_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a plan and the three captured samples, nothing derived."""
    return captured_run(tmp_path)


def test_samples_are_derived_from_their_raw_files_and_kept(run: Path) -> None:
    results = read(run)
    assert [sample.id for sample in results.samples] == sorted(TAKEN, key=lambda name: int(name[-1]))
    assert results.damaged == {}
    for sample in results.samples:
        kept = run / "samples" / sample.id / "sample.json"
        assert read_record(Sample, kept) == sample


def test_what_was_derived_before_is_what_counts(run: Path) -> None:
    first = read(run).samples[0]
    path = run / "samples" / first.id / "sample.json"
    write_json(path, json.loads(path.read_text()) | {"mss": 7})
    (path.parent / "client.json").unlink()
    assert read(run).samples[0].mss == 7


@pytest.mark.parametrize("content", ["{", '{"schema": "labctl.sample/0"}', "[]"])
def test_a_damaged_derived_file_is_made_again(run: Path, content: str) -> None:
    first = read(run).samples[0]
    (run / "samples" / first.id / "sample.json").write_text(content)
    assert read(run).samples[0] == first


def test_a_sample_whose_raw_files_are_damaged_is_named_and_the_others_read(run: Path) -> None:
    (run / "samples" / TAKEN[0] / "client.json").write_text("{")
    results = read(run)
    assert len(results.samples) == 2
    ((name, (reason,)),) = results.damaged.items()
    assert name == TAKEN[0]
    assert reason == f"a file is not valid JSON ({run / 'samples' / TAKEN[0] / 'client.json'})"


def test_a_sample_in_a_folder_of_another_name_does_not_count(run: Path) -> None:
    other = "baseline.tcp_crr.1/1-4"
    (run / "samples" / TAKEN[0]).rename(run / "samples" / other)
    assert read(run).damaged == {other: (f"the folder holds another sample ({run / 'samples' / other})",)}


def test_folders_that_were_not_planned_are_left_alone(run: Path) -> None:
    (run / "samples" / "baseline.tcp_crr.1" / ".1-2.partial").mkdir()
    (run / "samples" / "other.tcp_rr.1" / "1-1").mkdir(parents=True)
    results = read(run)
    assert (len(results.samples), results.damaged) == (3, {})


def voided(run: Path, deployment: int = 1) -> str:
    """Let the visit of the first sample be void; the reason."""
    change = Changed(Span.VISIT, "x", "node1", "link.mtu", 1500, 1400)
    one = Conditions("labctl.visit/1", "baseline", 1, deployment, 1, True, (change,), tuple(TAKEN), tuple(TAKEN[:1]))
    write_json(run / "setups" / "baseline" / "1" / "visit.json", one)
    return str(change)


def test_samples_of_a_void_visit_do_not_count_whenever_they_are_derived(run: Path) -> None:
    assert {sample.status for sample in read(run).samples} == {Status.VALID}
    reason = voided(run)  # labctl ended before it derived the samples again
    for _ in range(2):
        void, *others = read(run).samples
        assert (void.id, void.status, void.reasons) == (TAKEN[0], Status.INVALID, (reason,))
        assert {sample.status for sample in others} == {Status.VALID}
        for name in TAKEN:
            (run / "samples" / name / "sample.json").unlink()


def test_a_sample_that_was_taken_again_in_another_deployment_counts(run: Path) -> None:
    voided(run, deployment=2)
    assert {sample.status for sample in read(run).samples} == {Status.VALID}


def test_without_its_plan_nothing_is_read(run: Path) -> None:
    (run / "plan.json").unlink()
    with pytest.raises(LabctlError, match=r"plan\.json"):
        read(run)


def test_derived_files_that_cannot_be_kept_do_not_spoil_a_sample(run: Path) -> None:
    """An archive that nobody can write to; root ignores permissions, so a directory stands in the way."""
    for name in TAKEN:
        (run / "samples" / name / ".sample.json.partial").mkdir()
    assert len(read(run).samples) == 3
    assert list(run.rglob("sample.json")) == []


def test_a_derived_file_is_kept_where_that_is_possible(tmp_path: Path) -> None:
    keep_derived(tmp_path / "summary.json", {"rows": 1})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"rows": 1}
    (tmp_path / "file").touch()
    keep_derived(tmp_path / "file" / "summary.json", {})  # says nothing


def test_a_sample_that_cannot_be_seen_does_not_pass_for_one_that_was_not_taken(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Path.stat

    def closed(path: Path, **how: bool) -> os.stat_result:
        if path == run / "samples" / TAKEN[0]:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **how)

    monkeypatch.setattr(Path, "stat", closed)
    results = read(run)
    assert results.damaged == {TAKEN[0]: (f"a sample cannot be read ({run / 'samples' / TAKEN[0]})",)}
    assert len(results.samples) == 2
