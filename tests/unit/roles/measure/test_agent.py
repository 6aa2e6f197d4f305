"""The agent as it runs on a node: the whole bundle in a Python of its own, asked over a real channel."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labctl_agent import procfs
from labctl_measure.channel import Channel, ChannelDied, Refused

from tests.unit.roles.measure.conftest import AGENT, ROOT, agent, until

SAMPLE = {"time_limit_s": 5, "interval_s": 0.1}
WAITS = "import socket, sys, time; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.recv(1)"
HERE: dict[str, Any] = {"netns": "", "pod": "", "peer": "127.0.0.1", "watch": True, "again": False}
LOOPBACK = ["127.0.0.1", "127.0.0.1"]


def run(channel: Channel, *argvs: list[str], **sample: float) -> dict[str, Any]:
    channel.ask("begin", sample={**SAMPLE, **sample}, addresses=LOOPBACK)
    return channel.ask("run", argvs=argvs, cpus=[None] * len(argvs))


def test_a_sample_is_begun_run_and_read() -> None:
    with agent() as channel:
        hello = channel.ask("hello", cable="", **HERE)
        assert hello["cable"] == "lo"
        begun = channel.ask("begin", sample=SAMPLE, addresses=LOOPBACK)
        assert begun["hygiene"].keys() == {"conntrack_flushed", "time_wait"}
        assert begun["cpus"]["allowed"] == sorted(os.sched_getaffinity(channel.process.pid))
        answer = channel.ask("run", argvs=[["sleep", "0.5"], ["echo", "told"]], cpus=[0, None])
    told_of = {"ok", "reason", "processes", "servers", "switches", "ticks", "counters", "cpu_weight"}
    assert answer.keys() == told_of
    assert (answer["reason"], answer["servers"]) == (None, None)
    slept, told = answer["processes"]
    assert (slept["index"], slept["exit"], slept["cpus"], slept["planned"]) == (0, 0, [0], 0)
    assert slept["looks"]["0"] >= 3
    assert (told["index"], told["stdout"], told["planned"]) == (1, "told\n", None)
    for kind in ("voluntary", "involuntary"):
        assert answer["switches"][kind] == sum(process[f"{kind}_switches"] for process in (slept, told))
    assert slept["voluntary_switches"] >= 1
    assert 0 < told["cpu_s"] < 1
    assert answer["ticks"][0]["t"] <= slept["started"] <= slept["ended"] <= answer["ticks"][-1]["t"]


def test_samples_follow_each_other_also_after_one_that_failed() -> None:
    with agent() as channel:
        channel.ask("hello", cable="lo", **HERE)
        late = run(channel, ["sleep", "60"], time_limit_s=0.5)
        assert late["reason"] == "the time limit of 0.5 s was reached: sleep process 0 had not ended"
        with pytest.raises(Refused, match="here: RuntimeError: there is no network namespace nowhere"):
            channel.ask("hello", cable="lo", **{**HERE, "netns": "nowhere"})
        good = run(channel, ["true"])
        assert [process["exit"] for process in good["processes"]] == [0]


def test_a_cpu_that_does_not_exist_fails_the_sample_with_the_kernels_words() -> None:
    with agent() as channel:
        channel.ask("hello", cable="lo", **HERE)
        channel.ask("begin", sample=SAMPLE, addresses=LOOPBACK)
        answer = channel.ask("run", argvs=[["sleep", "60"], ["sleep", "60"]], cpus=[0, 4000])
        assert answer["reason"].startswith("sleep cannot run on CPU 4000: Invalid argument (it may run on ")
        assert [process["signal"] for process in answer["processes"]] == [signal.SIGKILL] * 2
        assert [process["exit"] for process in run(channel, ["true"])["processes"]] == [0]


def test_when_all_processes_wait_for_the_server_that_is_told_until_they_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, agent() as channel:
        channel.ask("hello", cable="lo", **HERE)
        channel.ask("begin", sample=SAMPLE, addresses=LOOPBACK)
        argv = [sys.executable, "-c", WAITS, str(server.getsockname()[1])]
        channel.send("run", argvs=[argv, ["sleep", "0.5"]], cpus=[None, None], over_after=0.2)
        began = time.monotonic()
        accepted, _ = server.accept()
        with accepted:
            for _ in range(2):
                assert channel.receive() == {"ok": True, "over": True}
            assert time.monotonic() - began > 0.45, "one process did not wait yet"
        answer = channel.receive()
        while "over" in answer:
            answer = channel.receive()
    assert [process["exit"] for process in answer["processes"]] == [0, 0]


def test_what_runs_ends_with_the_agent(tmp_path: Path) -> None:
    with agent() as channel:
        channel.ask("hello", cable="lo", **HERE)
        channel.ask("begin", sample=SAMPLE, addresses=LOOPBACK)
        channel.send("run", argvs=[["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"]], cpus=[None])
        until(lambda: (procfs.read(f"{tmp_path}/pid") or "").endswith("\n"))
        process = int((tmp_path / "pid").read_text())
        os.kill(channel.process.pid, signal.SIGKILL)
        with pytest.raises(ChannelDied, match="here: the connection was closed"):
            channel.receive()
        until(lambda: procfs.has_ended(process))


def test_the_next_agent_ends_the_one_before_which_left_nothing_when_it_ended_by_itself() -> None:
    with agent() as before, agent() as after:
        before.ask("hello", cable="lo", **HERE)
        after.ask("hello", cable="lo", **HERE)
        assert before.process.wait(timeout=10) == -signal.SIGKILL
    assert after.process.returncode == 0
    assert list(Path("/run").glob(f"labctl-agent-{Path('/proc/self/ns/net').stat().st_ino}")) == []


def test_it_imports_the_standard_library_alone_and_knows_no_tool() -> None:
    for path in AGENT.glob("*.py"):
        text = path.read_text()
        assert not re.search(r"\bnet(perf|server)\b", text.replace("netperf_pods", "")), path
        assert not re.search(r"^(from|import) (ansible|labctl|yaml)\b", text, re.MULTILINE), path


def test_requests_of_another_kind_end_it_with_words() -> None:
    with agent() as channel, pytest.raises(ChannelDied, match=r"the connection was closed \(KeyError: 'dance'\)"):
        channel.ask("dance")


@pytest.fixture
def cpuset() -> Iterator[tuple[str, int]]:
    """A control group that allows one CPU; the command that runs others in it, and the CPU."""
    group, cpu = Path(f"/sys/fs/cgroup/cpuset/labctl-test-{os.getpid()}"), max(os.sched_getaffinity(0))
    if not group.parent.exists() or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has no cpuset hierarchy (cgroup v1), or one CPU")
    made = f"mkdir {group}; echo {cpu} > {group}/cpuset.cpus; cat {group.parent}/cpuset.mems > {group}/cpuset.mems"
    subprocess.run([*ROOT, "sh", "-c", made], check=True)
    try:
        yield f'echo $$ > {group}/cgroup.procs; exec "$@"', cpu
    finally:
        until(lambda: not (group / "cgroup.procs").read_text())
        subprocess.run([*ROOT, "rmdir", str(group)], check=True)


@pytest.mark.lab
def test_in_a_cpuset_its_cpus_are_the_allowed_ones_and_another_is_refused(cpuset: tuple[str, int]) -> None:
    enter, cpu = cpuset
    other = min(os.sched_getaffinity(0))
    with agent(*ROOT, "sh", "-c", enter, "sh") as channel:
        channel.ask("hello", cable="lo", **HERE)
        told = channel.ask("begin", sample=SAMPLE, addresses=LOOPBACK)["cpus"]
        assert (told["allowed"], set(told["online"]) >= {cpu, other}) == ([cpu], True)
        refused = channel.ask("run", argvs=[["true"]], cpus=[other])
        assert refused["reason"] == f"true cannot run on CPU {other}: Invalid argument (it may run on {cpu})"
        channel.ask("begin", sample=SAMPLE, addresses=LOOPBACK)
        (process,) = channel.ask("run", argvs=[["true"]], cpus=[cpu])["processes"]
        assert (process["exit"], process["planned"]) == (0, cpu)
