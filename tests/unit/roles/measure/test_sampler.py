"""The sampler: ticks over a real second, by the machine's own clocks."""

from __future__ import annotations

import os
import time
from itertools import pairwise

from labctl_agent.instrument import Scene
from labctl_agent.namespaces import Inside
from labctl_agent.places import Node
from labctl_agent.sampler import Sampler, clocks, softirqs_by_cpu
from labctl_agent.watched import Watched


def sampler(watched: Watched, watch: bool = True) -> Sampler:
    return Sampler(Scene({"interval_s": 0.1}, Inside(Node().enter_network), "lo", watch, watched))


def test_ticks_enclose_the_sample_and_keep_their_distance() -> None:
    instrument = sampler(Watched(lambda: ()))
    before = time.time()
    instrument.begin()
    began = time.time()
    while time.time() < began + 1:
        pass  # CPU time that has to show
    ended = time.time()
    ticks = instrument.end()["ticks"]
    assert before <= ticks[0]["t"] <= began
    assert ended <= ticks[-1]["t"] <= time.time()
    assert 6 <= len(ticks) <= 12
    assert all(one["mono"] < other["mono"] and one["t"] < other["t"] for one, other in pairwise(ticks))
    assert set(ticks[0]["stat"]) >= {"cpu", f"cpu{min(os.sched_getaffinity(0))}"}
    spent = sum(ticks[-1]["stat"]["cpu"][:3]) - sum(ticks[0]["stat"]["cpu"][:3])
    assert spent >= 0.3 * os.sysconf("SC_CLK_TCK"), "a second of work is not in the ticks"
    assert ticks[-1]["own_s"] - ticks[0]["own_s"] >= 0.3  # the same work, by the clock of this process
    assert all(tick.keys() == {"t", "mono", "raw", "own_s", "stat", "net_rx", "net_tx"} for tick in ticks)
    assert len(ticks[0]["net_rx"]) >= len(os.sched_getaffinity(0))


def test_after_its_end_it_takes_no_tick() -> None:
    instrument = sampler(Watched(lambda: ()))
    instrument.begin()
    taken = len(instrument.end()["ticks"])
    time.sleep(0.3)
    assert (len(instrument.ticks), instrument.thread.is_alive()) == (taken, False)


def test_where_the_node_cannot_be_seen_ticks_have_only_the_time() -> None:
    instrument = sampler(Watched(lambda: ()), watch=False)
    instrument.begin()
    ticks = instrument.end()["ticks"]
    assert all(tick.keys() == {"t", "mono", "raw", "own_s", "stat"} and tick["stat"] == {} for tick in ticks)


def test_clocks_are_of_one_moment() -> None:
    one = clocks()
    assert abs((time.time() - one["t"]) - (time.monotonic() - one["mono"])) < 0.01


def test_softirqs_stand_at_the_number_of_their_cpu_whatever_cpus_there_are() -> None:
    text = "          CPU0       CPU2       CPU4\n  TIMER:   9 9 9\n NET_TX:   1 2 3\n NET_RX:   4 5 6\n"
    assert softirqs_by_cpu(text) == {"net_tx": [1, 0, 2, 0, 3], "net_rx": [4, 0, 5, 0, 6]}
    assert softirqs_by_cpu("") == {}
