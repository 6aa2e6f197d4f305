"""The raw files of a sample: all of them, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from labctl_measure import raw_files

SAMPLE = {"id": "x/1-1", "test": "TCP_RR", "options": [], "selectors": [], "data_port": 20000}


def seen() -> dict[str, dict[str, Any]]:
    process = {"index": 0, "exit": 0, "stdout": "THROUGHPUT=1\n", "stderr": ""}
    return {"measurement": {"reason": None}, "client": {"processes": [process]}, "server": {"servers": []}}


def test_what_processes_printed_has_files_of_its_own() -> None:
    files = raw_files.texts(SAMPLE, "2021-11-22T00:00:00", "ok", seen())
    assert sorted(files) == ["client.json", "measurement.json", "netperf-00.txt", "server.json"]
    assert files["netperf-00.txt"] == "THROUGHPUT=1\n"
    client, measurement = json.loads(files["client.json"]), json.loads(files["measurement.json"])
    process = {"index": 0, "exit": 0, "stderr": "", "stdout_file": "netperf-00.txt"}
    assert client == {"schema": "labctl.end/1", "processes": [process]}
    assert measurement == {
        "schema": "labctl.measurement/1",
        "sample": SAMPLE,
        "status": "ok",
        "started_at": "2021-11-22T00:00:00",
        "reason": None,
    }


def test_of_ends_that_were_not_reached_there_is_no_file() -> None:
    files = raw_files.texts(SAMPLE, "2021-11-22T00:00:00", "failed", {"measurement": {"reason": "node1: gone"}})
    assert list(files) == ["measurement.json"]


def test_a_folder_appears_whole_whatever_an_earlier_one_left(tmp_path: Path) -> None:
    left = tmp_path / "cell" / ".1-1.partial"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    raw_files.write(tmp_path / "cell" / "1-1", {"a": "1", "b": "2"})
    assert [path.name for path in (tmp_path / "cell").iterdir()] == ["1-1"]
    assert {path.name: path.read_text() for path in (tmp_path / "cell/1-1").iterdir()} == {"a": "1", "b": "2"}


def test_a_folder_that_cannot_be_written_whole_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        raw_files.write(tmp_path / "1-1", {"a": "1", "no/such/directory": "2"})
    assert list(tmp_path.iterdir()) == []
