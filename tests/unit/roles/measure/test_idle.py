"""Idle: a real request to this machine's kernel, and states of machines that this one is not."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from labctl_agent import idle
from labctl_agent.idle import DEVICE, Idle, awake_us, interrupts, is_virtual, states_of
from labctl_agent.instrument import Machine

from tests.unit.roles.measure.conftest import NOBODY, ROOT, agent, until

DRIVEN = Path("/sys/devices/system/cpu/cpu0/cpuidle/state0").exists() and Path(DEVICE).exists()
NOBODY_US = 2000 * 1000 * 1000  # PM_QOS_CPU_LATENCY_DEFAULT_VALUE
SAMPLE = {"warmup_s": 0.1, "duration_s": 0.1, "time_limit_s": 5, "interval_s": 0.1}
HOLD = "import struct, sys, time; f = open(sys.argv[1], 'wb', 0); f.write(struct.pack('=i', 7)); time.sleep(60)"


def effective_us() -> int:
    """Return what this machine's kernel goes by."""
    read = "import os, sys; sys.stdout.buffer.write(os.read(os.open(sys.argv[1], os.O_RDONLY), 4))"
    done = subprocess.run([*ROOT, sys.executable, "-c", read, DEVICE], capture_output=True, check=True)
    return int(struct.unpack("=i", done.stdout)[0])


def machine(directory: Path, **cpus: dict[str, int]) -> Path:
    """Make a machine whose CPUs (`cpu0`) have idle states with these exit latencies, the shallowest first."""
    (directory / "cpuidle").mkdir()
    (directory / "cpuidle/current_driver").write_text("test_idle\n")
    (directory / "online").write_text(",".join(name.removeprefix("cpu") for name in cpus) + "\n")
    for cpu, states in cpus.items():
        for index, (name, exit_us) in enumerate(states.items()):
            state = directory / cpu / "cpuidle" / f"state{index}"
            state.mkdir(parents=True)
            for file, value in {"name": name, "latency": exit_us, "disable": 0, "usage": 10, "time": 1000}.items():
                (state / file).write_text(f"{value}\n")
    return directory


def looked(directory: str | Path, device: str = DEVICE, **sample: Any) -> dict[str, Any]:
    """Let the instrument look at nothing in particular; return what it says."""
    instrument = Idle(Machine({**SAMPLE, **sample}), device, str(directory))
    instrument.begin()
    told: dict[str, Any] = instrument.end()["idle"]
    return told


INTEL = {"POLL": 0, "C1": 2, "C1E": 10, "C6": 133}


def test_on_a_real_machine_the_shallowest_sleep_is_allowed_and_on_a_virtual_one_none(tmp_path: Path) -> None:
    made = machine(tmp_path, cpu0=INTEL, cpu2={"POLL": 0, "C1_ACPI": 1, "C2": 127})
    states = {cpu: states_of(cpu, str(made)) for cpu in (0, 2)}
    assert [state.name for state in states[0]] == ["POLL", "C1", "C1E", "C6"]
    assert (awake_us(states, virtual=False), awake_us(states, virtual=True)) == (2, 0)
    (made / "cpu0/cpuidle/state1/disable").write_text("1\n")
    assert awake_us(states, virtual=False) == 10, "a state that somebody switched off is none"
    assert awake_us({0: states_of(0, str(made))[:1]}, virtual=False) == 0


def test_states_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    made = machine(tmp_path, cpu0={f"C{number}": number for number in range(12)})
    assert [state.exit_us for state in states_of(0, str(made))] == list(range(12))


def test_this_machine_knows_whether_it_is_virtual() -> None:
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    if not flags:
        pytest.skip("not x86")
    assert is_virtual() is ("hypervisor" in flags)


@pytest.mark.skipif(not DRIVEN, reason="this machine has no cpuidle driver")
def test_states_are_counted_while_a_cpu_rests() -> None:
    instrument = Idle(Machine(SAMPLE))
    instrument.begin()
    time.sleep(0.3)
    told = instrument.end()["idle"]
    assert (told["policy"], told["held"], told["latency_us"], told["why"]) == ("system", False, None, None)
    assert told["before"]["cpus"].keys() == told["after"]["cpus"].keys()
    spent = sum(
        after[1] - told["before"]["cpus"][cpu][name][1]
        for cpu, rows in told["after"]["cpus"].items()
        for name, after in rows.items()
    )
    assert 0 <= spent <= 0.5e6 * len(told["after"]["cpus"])
    assert told["driver"] == Path("/sys/devices/system/cpu/cpuidle/current_driver").read_text().strip()


@pytest.mark.skipif(not os.access(DEVICE, os.W_OK), reason="the device is not ours to open")
def test_without_a_driver_nothing_is_requested_and_that_is_said(tmp_path: Path) -> None:
    made = machine(tmp_path, cpu0={})
    (made / "cpuidle/current_driver").write_text("none\n")
    told = looked(made, idle="awake")
    assert (told["policy"], told["held"], told["latency_us"]) == ("awake", False, None)
    assert told["why"] == "the kernel has no cpuidle driver to heed it (current_driver: none)"
    assert told["before"]["cpus"] is None


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    told = looked(machine(tmp_path, cpu0=INTEL), device=f"{tmp_path}/none", idle="awake")
    assert (told["held"], told["why"]) == (False, f"{tmp_path}/none: No such file or directory")


@pytest.mark.lab
@pytest.mark.skipif(not DRIVEN, reason="this machine has no cpuidle driver")
@pytest.mark.parametrize("end", ["released", "killed"])
def test_a_request_ends_with_the_sample_and_with_its_holder_however_that_ends(end: str) -> None:
    before = effective_us()
    with agent(*ROOT) as channel:
        channel.ask("kernel_begin", sample={**SAMPLE, "idle": "awake:3"}, parties=NOBODY)
        assert effective_us() == min(3, before)
        if end == "released":
            told = channel.ask("kernel_end")["kernel"]["idle"]
            assert (told["held"], told["latency_us"], told["why"]) == (True, 3, None)
            assert told["effective_us"] == min(3, before)
        else:
            subprocess.run([*ROOT, "kill", "-KILL", str(channel.process.pid)], check=True)
            channel.process.wait(timeout=10)
        until(lambda: effective_us() == before)


@pytest.mark.lab
@pytest.mark.skipif(not DRIVEN, reason="this machine has no cpuidle driver")
def test_what_somebody_else_requests_is_seen_through_it() -> None:
    with subprocess.Popen([*ROOT, sys.executable, "-c", HOLD, DEVICE]) as other:
        try:
            until(lambda: effective_us() <= 7)
            with agent(*ROOT) as channel:
                channel.ask("kernel_begin", sample={**SAMPLE, "idle": "awake:100"}, parties=NOBODY)
                told = channel.ask("kernel_end")["kernel"]["idle"]
            assert (told["held"], told["latency_us"]) == (True, 100)
            assert told["effective_us"] <= 7
        finally:
            other.send_signal(signal.SIGKILL)


@pytest.mark.lab
@pytest.mark.skipif(not DRIVEN, reason="this machine has no cpuidle driver")
def test_awake_cpus_of_a_virtual_machine_enter_no_sleep() -> None:
    if not is_virtual():
        pytest.skip("this machine is real")
    with agent(*ROOT) as channel:
        channel.ask("kernel_begin", sample={**SAMPLE, "idle": "awake"}, parties=NOBODY)
        time.sleep(0.5)
        told = channel.ask("kernel_end")["kernel"]["idle"]
    assert (told["held"], told["latency_us"]) == (True, 0)
    deep = sum(
        after[0] - told["before"]["cpus"][cpu][name][0]
        for cpu, rows in told["after"]["cpus"].items()
        for name, after in rows.items()
        if name != idle.POLLING
    )
    assert deep <= 2 * len(told["after"]["cpus"]), "a CPU slept although a latency of 0 is requested"


def test_interrupts_between_cpus_are_summed() -> None:
    before = interrupts()
    assert all(isinstance(value, int) for value in before.values())
    assert all(int(interrupts()[name] or 0) >= int(value or 0) for name, value in before.items())


def test_clock_rates_are_read_in_the_middle_of_the_sample(tmp_path: Path) -> None:
    made = machine(tmp_path, cpu0=INTEL, cpu1=INTEL)
    (made / "cpu0/cpufreq").mkdir()
    (made / "cpu0/cpufreq/scaling_cur_freq").write_text("3500000\n")
    instrument = Idle(Machine(SAMPLE), "", str(made))
    instrument.begin()
    until(lambda: instrument.khz)
    assert instrument.end()["idle"]["khz"] == {0: 3500000, 1: None}
    assert looked(made)["khz"] is None, "a sample that ended before its middle has none"
