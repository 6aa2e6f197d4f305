"""An instrument of a kernel: it keeps the CPUs from sleeping, if the sample asks for that, and tells how they slept.

The request for a wake-up latency (Documentation/power/pm_qos_interface.rst) is an open file: the kernel drops it with
its holder, however that ends. It is held from the beginning to the end of a sample, and no longer.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import threading
from functools import lru_cache
from typing import Any, Dict, List, Optional

from labctl_agent import cpus
from labctl_agent.instrument import Machine
from labctl_agent.procfs import number, read

DEVICE = "/dev/cpu_dma_latency"
POLLING = "POLL"  # drivers/cpuidle/poll_state.c: the one state that is no sleep
# The interrupts by which CPUs wake each other; their short names differ between architectures.
COUNT = re.compile(r"[0-9]{1,20}\Z")
INTERRUPTS = {"rescheduling": "Rescheduling interrupts", "calls": "Function call interrupts"}


class State:
    """An idle state of a CPU."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.name = (read(directory + "/name") or "").strip()
        self.exit_us = number(read(directory + "/latency")) or 0

    def count(self, what: str) -> Optional[int]:
        """A number of the state; None where its CPU was switched off meanwhile."""
        return number(read("%s/%s" % (self.directory, what)))


def states_of(cpu: int, directory: str = cpus.CPUS) -> List[State]:
    """The idle states of a CPU, the shallowest first; none without a cpuidle driver."""
    below = "%s/cpu%d/cpuidle" % (directory, cpu)
    found = os.listdir(below) if os.path.isdir(below) else []
    order = sorted((name for name in found if re.match(r"state[0-9]+\Z", name)), key=lambda name: int(name[5:]))
    return [State("%s/%s" % (below, name)) for name in order]


@lru_cache(maxsize=None)
def is_virtual() -> bool:
    """Whether this kernel runs on a virtual machine, whose shallowest sleep is an exit to the hypervisor."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        flags = re.search(r"^flags\s*:(.*)$", file.read(1 << 14), re.MULTILINE)  # one CPU's part: the rest is alike
    if flags:
        return "hypervisor" in flags.group(1).split()
    try:
        done = subprocess.run(["systemd-detect-virt", "--vm", "--quiet"], timeout=10)
    except OSError:
        return False  # neither x86, nor a system that could tell
    return done.returncode == 0


def awake_us(states: Dict[int, List[State]], virtual: bool) -> int:
    """The wake-up latency that keeps CPUs awake.

    On a real machine its shallowest sleep is allowed: polling on all CPUs would take the turbo, and the sibling
    threads, from those that work.
    """
    if virtual:
        return 0
    sleeps = ([s.exit_us for s in each if s.name != POLLING and not s.count("disable")] for each in states.values())
    return max((min(exits) for exits in sleeps if exits), default=0)


class Requests:
    """The device of latency requests, open: what it asks for counts until it is closed."""

    def __init__(self, device: str = DEVICE) -> None:
        self.file = open(device, "r+b", buffering=0)  # noqa: SIM115  (held open from the beginning to the end)
        self.close = self.file.close

    def hold(self, latency_us: int) -> None:
        self.file.write(struct.pack("=i", latency_us))

    def effective_us(self) -> int:
        """What the kernel goes by: the lowest latency that anyone requests, 2 * 10^9 where nobody does."""
        return int(struct.unpack("=i", self.file.read(4))[0])


def interrupts() -> Dict[str, Optional[int]]:
    """The interrupts by which CPUs wake each other, over all CPUs."""
    found: Dict[str, Optional[int]] = dict.fromkeys(INTERRUPTS)
    for line in (read("/proc/interrupts") or "").splitlines():
        for name, words in INTERRUPTS.items():
            if line.rstrip().endswith(words):
                counts = line.partition(":")[2][: -len(words)].split()
                found[name] = sum(int(count) for count in counts if COUNT.match(count))
    return found


class Idle:
    """Holds what a sample's policy asks for; reads idle states and interrupts before and after, clock rates between.

    A policy is `system` (nothing is held), `awake`, or `awake:N` with a latency of N microseconds.
    """

    def __init__(self, machine: Machine, device: str = DEVICE, directory: str = cpus.CPUS) -> None:
        self.device, self.directory = device, directory
        self.policy, _, self.asked = str(machine.sample.get("idle", "system")).partition(":")
        self.cpus = cpus.online(directory) or []
        self.states = {cpu: states_of(cpu, directory) for cpu in self.cpus}
        self.driver = (read(directory + "/cpuidle/current_driver") or "").strip() or None
        self.requests: Optional[Requests] = None
        self.effective_us: Optional[int] = None
        self.latency_us: Optional[int] = None
        self.why: Optional[str] = None
        self.before: Dict[str, Any] = {}
        self.khz: Optional[Dict[int, Optional[int]]] = None
        # In the middle of the traffic, and beside it: kernels before 5.18 may take 10 ms for a CPU that slept.
        middle = (float(machine.sample["warmup_s"]) + float(machine.sample["duration_s"])) / 2
        self.midway = threading.Timer(middle, self.read_clock_rates)
        self.midway.daemon = True

    def begin(self) -> None:
        try:
            self.hold()
        except OSError as error:
            self.why = "%s: %s" % (self.device, error.strerror) if self.policy == "awake" else None
        self.before = self.look()
        self.midway.start()

    def end(self) -> Dict[str, Any]:
        self.midway.cancel()
        self.midway.join()
        after = self.look()
        if self.requests:
            self.requests.close()
        return {
            "idle": {
                "policy": self.policy,
                "latency_us": self.latency_us,
                "held": self.latency_us is not None,
                "effective_us": self.effective_us,
                "why": self.why,
                "driver": self.driver,
                "before": self.before,
                "after": after,
                "khz": self.khz,
            }
        }

    def hold(self) -> None:
        """Make the request that is wanted, and see what the kernel goes by. OSError where the device is not ours."""
        self.requests = Requests(self.device)
        if self.policy == "awake" and not any(self.states.values()):
            self.why = "the kernel has no cpuidle driver to heed it (current_driver: %s)" % (self.driver or "not there")
        elif self.policy == "awake":
            wanted = int(self.asked) if self.asked else awake_us(self.states, is_virtual())
            self.requests.hold(wanted)
            self.latency_us = wanted
        self.effective_us = self.requests.effective_us()

    def look(self) -> Dict[str, Any]:
        """How often each CPU has entered each of its idle states, and for how many microseconds; interrupts."""
        by_cpu = {
            cpu: {state.name: [state.count("usage"), state.count("time")] for state in states}
            for cpu, states in self.states.items()
        }
        return dict(interrupts(), cpus=by_cpu if any(by_cpu.values()) else None)

    def read_clock_rates(self) -> None:
        rates = {cpu: read("%s/cpu%d/cpufreq/scaling_cur_freq" % (self.directory, cpu)) for cpu in self.cpus}
        if any(rates.values()):
            self.khz = {cpu: number(rate) for cpu, rate in rates.items()}
