"""What the agents are told to run: data, whatever the tool."""

from __future__ import annotations

import json

import pytest
from labctl_measure import job

SAMPLE = {
    "processes": 3,
    "duration_s": 1.0,
    "warmup_s": 0.5,
    "interval_s": 0.2,
    "pin": "none",
    "test": "TCP_RR",
    "options": ["-r", "1,1"],
    "selectors": ["THROUGHPUT", "THROUGHPUT_UNITS", "ELAPSED_TIME"],
    "data_port": 20000,
}


def test_every_process_has_a_command_of_its_own() -> None:
    told = json.loads(json.dumps(job.clients(SAMPLE, "10.0.0.1", "10.0.0.2", threads=2)))
    assert [argv[0] for argv in told["argvs"]] == ["netperf"] * 3
    assert [argv[argv.index("-P", argv.index("--")) + 1] for argv in told["argvs"]] == [",20000", ",20001", ",20002"]
    assert told["cpus"] == [None] * 3


def test_pinned_processes_go_round_the_threads() -> None:
    assert job.clients({**SAMPLE, "pin": "cores"}, "10.0.0.1", "10.0.0.2", threads=2)["cpus"] == [0, 1, 0]


@pytest.mark.parametrize("process", [0, 31])
def test_what_a_process_printed_has_its_file(process: int) -> None:
    assert job.stdout_file(SAMPLE, process) == f"netperf-{process:02d}.txt"


def test_the_server_is_the_unit_of_its_role() -> None:
    assert job.server(SAMPLE) == {"name": "netserver", "port": 12865, "unit": "labctl-netserver.service"}
