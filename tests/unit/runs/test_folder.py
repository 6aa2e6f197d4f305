"""Where the files of a run are: deployments and attempts counted, parts set aside, halves swept."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.core.errors import LabctlError
from labctl.runs import history
from labctl.runs.folder import RunFolder, require_writable, set_aside


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_a_setup_that_is_deployed_again_keeps_the_evidence_of_the_first(folder: RunFolder) -> None:
    assert folder.next_deployment("base", 3) == 1
    folder.visit("base", 3).mkdir(parents=True)
    assert folder.next_deployment("base", 3) == 2
    assert folder.visit("base", 3, 2).name == "3.2"


def test_attempts_come_in_the_order_of_their_numbers(folder: RunFolder) -> None:
    assert folder.attempts() == ()
    folder.attempt(1).parent.mkdir(parents=True)
    for name in ("10", "2", "1", "notes", ".3"):
        (folder.path / "attempts" / f"{name}.json").touch()
    assert [path.stem for path in folder.attempts()] == ["1", "2", "10"]


def test_what_was_half_written_is_swept_and_nothing_else(folder: RunFolder) -> None:
    half = folder.samples / "cell" / ".1-1.partial"
    half.mkdir(parents=True)
    (half / "client.json").touch()
    (folder.path / ".status.json.partial").touch()
    whole = folder.samples / "cell" / "1-2" / "client.json"
    whole.parent.mkdir()
    whole.touch()
    folder.sweep()
    assert [path for path in folder.path.rglob("*") if path.is_file()] == [whole]


def test_what_is_set_aside_again_hides_nothing(tmp_path: Path) -> None:
    sample = tmp_path / "1-1"
    for number in (1, 2):
        sample.mkdir()
        assert set_aside(sample, "failed") == tmp_path / f"1-1.failed-{number}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-1.failed-1", "1-1.failed-2"]


def test_what_cannot_be_set_aside_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabctlError, match="cannot be set aside"):
        set_aside(tmp_path / "missing", "failed")


def test_where_no_run_can_be_written_is_said_before_one_is_begun(tmp_path: Path) -> None:
    require_writable(tmp_path / "runs")
    require_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for wrong in (tmp_path / "file", tmp_path / "link", tmp_path / "none" / "runs", Path("/proc/runs")):
        with pytest.raises(LabctlError) as raised:
            require_writable(wrong)
        (problem,) = raised.value.problems
        assert (problem.what, problem.where) == ("a file cannot be written", str(wrong))
        assert problem.hint


def test_a_directory_that_cannot_be_listed_does_not_pass_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What voids samples stands in it."""
    folder = RunFolder(tmp_path)
    for name in ("setups", "attempts", "samples"):
        (tmp_path / name).mkdir()

    def closed(path: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", closed)
    for look in (lambda: list(folder.of_visits("visit.json")), folder.attempts, folder.set_aside):
        with pytest.raises(LabctlError, match="a directory of the run cannot be read"):
            look()
    assert len(history.read(folder).damaged) == 3
