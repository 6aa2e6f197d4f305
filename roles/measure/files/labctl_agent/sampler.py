"""An instrument: CPU times and softirqs over the time of a sample."""

from __future__ import annotations

import threading
import time
from typing import Any, Dict, List

from labctl_agent.instrument import Scene
from labctl_agent.procfs import read

RAW = time.CLOCK_MONOTONIC_RAW


def clocks() -> Dict[str, Any]:
    """The time of day and the monotonic clocks at one moment: read again if something came between them.

    `raw` is the clock that nobody adjusts: what the others gained or lost against it is drift.
    """
    for _ in range(5):
        before, wall, raw, after = time.monotonic(), time.time(), time.clock_gettime(RAW), time.monotonic()
        if after - before < 0.001:
            break
    return {"t": wall, "mono": (before + after) / 2, "raw": raw}


def cpu_times() -> Dict[str, List[int]]:
    """The rows of CPUs in /proc/stat, in jiffies, cumulative."""
    rows = {}
    for line in (read("/proc/stat") or "").splitlines():
        name, *values = line.split()
        if not name.startswith("cpu"):
            break
        rows[name] = [int(value) for value in values]
    return rows


def network_softirqs() -> Dict[str, List[int]]:
    """Softirqs of the network by CPU, cumulative: of CPU n at place n, 0 where the kernel has no CPU of that number."""
    return softirqs_by_cpu(read("/proc/softirqs") or "")


def softirqs_by_cpu(text: str) -> Dict[str, List[int]]:
    """The rows of the network in /proc/softirqs; its first line says which CPU a column is of."""
    head, _, rest = text.partition("\n")
    numbers = [int(name[len("CPU") :]) for name in head.split()]
    found = {}
    for name, _, values in (line.strip().partition(":") for line in rest.splitlines()):
        if name in ("NET_RX", "NET_TX"):
            by_cpu = dict(zip(numbers, map(int, values.split())))
            found[name.lower()] = [by_cpu.get(cpu, 0) for cpu in range(max(numbers) + 1)]
    return found


class Sampler:
    """Takes a tick every `interval_s` seconds, one at the beginning and one at the end."""

    def __init__(self, scene: Scene) -> None:
        self.interval = float(scene.sample["interval_s"])
        self.scene = scene
        self.ticks: List[Dict[str, Any]] = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def take(self) -> None:
        now = clocks()
        seen = dict(network_softirqs(), stat=cpu_times()) if self.scene.watch else {"stat": {}}
        self.ticks.append(dict(now, own_s=time.process_time(), **seen))

    def loop(self) -> None:
        while not self.stopped.wait(self.interval):
            self.take()

    def begin(self) -> None:
        self.take()
        self.thread.start()

    def end(self) -> Dict[str, Any]:
        self.stopped.set()
        self.thread.join()
        self.take()
        return {"ticks": self.ticks}
