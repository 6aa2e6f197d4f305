"""Under which conditions a sample was taken, from what the nodes recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labctl.samples import raw, sample
from labctl.samples.conditions import moved
from labctl.samples.sample import Flag, Sample, Status
from tests.unit.samples.captures import BUSY, CRR, RR2, STREAM, Copy, editing


def idle_reading(entries: int, policy: str = "awake", driver: str = "haltpoll", held: bool = True) -> dict[str, Any]:
    """A kernel of two CPUs that entered its deep state so often on each."""

    def slept(deep: int) -> dict[str, Any]:
        cpus = {str(cpu): {"POLL": [10 * deep, 7], "haltpoll": [deep, 20 * deep]} for cpu in range(2)}
        return {"cpus": None if driver == "none" else cpus, "rescheduling": 4 * deep, "calls": 0}

    return {
        "policy": policy,
        "latency_us": 0 if held else None,
        "held": held,
        "why": None if held else "there is no /dev/cpu_dma_latency",
        "driver": driver,
        "before": slept(0),
        "after": slept(entries),
        "khz": None,
    }


def load_reading(foreign_s: float | None, own_s: float = 0.0) -> dict[str, Any]:
    top = [] if not foreign_s else [{"name": "cc1", "pid": 4711, "cpu_s": foreign_s}]
    return {
        "seconds": 3.0,
        "cpu_s": None if foreign_s is None else 3.5 + foreign_s,
        "endpoint_s": 3.5,
        "own_s": own_s,
        "foreign_s": foreign_s,
        "top": top,
    }


def with_kernel(folder: Path, **kernel: object) -> Path:
    """The sample as the owner of the shared kernel saw it; planned awake where it was awake."""
    with editing(folder, "measurement.json") as data:
        data["kernel"] = kernel
        if "idle" in kernel:
            data["sample"]["idle"] = kernel["idle"]["policy"]  # type: ignore[index]
    return folder


def test_units_are_those_of_the_whole_test(copy: Copy) -> None:
    seen = sample.derive(with_kernel(copy(CRR), idle=idle_reading(100))).idle
    assert seen is not None
    connections = 29_598  # ten packets each on the cable of the fixture
    assert seen.deep_entries_per_unit == pytest.approx(200 / connections, rel=0.01)
    assert seen.rescheduling_per_unit == pytest.approx(400 / connections, rel=0.01)
    assert (seen.policy, seen.latency_us, seen.held, seen.driver) == ("awake", 0, True, "haltpoll")
    assert seen.client_switches_per_unit is None, "nobody counted them"
    assert seen.deep_pct == pytest.approx(100 * 2 * 2000 / 1e6 / (2 * 6.4), rel=0.6), (
        "of all CPUs, of the time between the first reading and the last"
    )


@pytest.mark.parametrize(
    ("reading", "flag"),
    [
        (idle_reading(100), None),
        (idle_reading(1000), Flag.IDLE_EXITS),
        (idle_reading(1000, policy="awake:30"), Flag.IDLE_EXITS),
        (idle_reading(50_000, policy="system", held=False), None),
        (idle_reading(0, driver="none"), Flag.IDLE_EXITS),
    ],
)
def test_a_kernel_that_sleeps_though_it_was_to_stay_awake_is_flagged(
    copy: Copy, reading: dict[str, Any], flag: Flag | None
) -> None:
    flags = sample.derive(with_kernel(copy(CRR), idle=reading)).flags
    assert (Flag.IDLE_EXITS in flags) is (flag is Flag.IDLE_EXITS)
    assert Flag.IDLE_UNKNOWN not in flags


def test_a_kernel_that_nobody_owned_may_have_slept(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "measurement.json") as data:
        data["sample"]["idle"] = "awake"
    derived = sample.derive(folder)
    assert derived.idle is None
    assert Flag.IDLE_UNKNOWN in derived.flags


def test_bulk_data_waits_for_no_cpu(copy: Copy) -> None:
    derived = sample.derive(with_kernel(copy(STREAM), idle=idle_reading(100_000)))
    assert Flag.IDLE_EXITS not in derived.flags
    assert derived.idle is not None
    assert derived.idle.deep_entries_per_unit is not None


@pytest.mark.parametrize(
    ("foreign_s", "pct", "flagged", "status"),
    [
        (0.03, 1.0, False, Status.VALID),
        (0.09, 3.0, True, Status.VALID),
        (0.6, 20.0, True, Status.INVALID),
    ],
)
def test_what_others_took_of_a_cpu_is_flagged_and_voids_by_name(
    copy: Copy, foreign_s: float, pct: float, flagged: bool, status: Status
) -> None:
    derived = sample.derive(with_kernel(copy(CRR), load=load_reading(foreign_s)))
    (seen,) = derived.load
    assert seen.foreign_pct == pytest.approx(pct)
    assert (Flag.FOREIGN_LOAD in derived.flags, derived.status) == (flagged, status)
    if status is Status.INVALID:
        assert derived.reasons == (
            "foreign load on the machine of both nodes took 20 % of a CPU thread, more than 10 %: cc1 (4711) 20.0 %",
        )
        assert derived.cpu_cost is None, "nobody can tell whose the CPU was"


def test_a_cost_is_the_tests_own(copy: Copy) -> None:
    def cost(folder: Path) -> float:
        found = sample.derive(folder).cpu_cost
        assert found is not None
        return found.value

    alone = cost(with_kernel(copy(CRR), load=load_reading(0.0)))
    watched = with_kernel(copy(CRR), load=load_reading(0.06, own_s=0.06) | {"cluster_s": 0.03})
    derived = sample.derive(watched)
    assert derived.rate is not None
    assert derived.window is not None
    less = derived.window.seconds * 0.05 / (derived.rate.value * derived.window.seconds / 1000)
    assert cost(watched) == pytest.approx(alone - less)


def test_what_nobody_could_look_at_is_unknown(copy: Copy) -> None:
    derived = sample.derive(with_kernel(copy(CRR), load=load_reading(None)))
    assert derived.load[0].foreign_pct is None
    assert derived.status is Status.VALID
    assert Flag.LOAD_UNKNOWN in derived.flags


@pytest.mark.parametrize(
    ("share", "limit_pct", "status"),
    [
        (0.03, None, Status.VALID),
        (0.28, None, Status.INVALID),
        (0.28, 30, Status.VALID),
        (0.28, 20, Status.INVALID),
        (0.03, 2, Status.INVALID),
    ],
)
def test_steal_is_flagged_and_voids(copy: Copy, share: float, limit_pct: float | None, status: Status) -> None:
    """28 % of the CPUs that the hypervisor took are no network's, unless the plan says that they count."""
    folder = copy(CRR)
    if limit_pct is not None:
        with editing(folder, "measurement.json") as data:
            data["sample"]["steal_limit_pct"] = limit_pct
    with editing(folder, "client.json") as data:
        first = data["ticks"][0]
        for tick in data["ticks"]:
            for name, row in tick["stat"].items():
                began = first["stat"][name][3]
                taken = round(share * (tick["t"] - first["t"]) * data["hz"] * (2 if name == "cpu" else 1))
                row[3] -= min(taken, row[3] - began)
                row[7] += taken
    derived = sample.derive(folder)
    assert Flag.STEAL in derived.flags
    assert derived.status is status
    assert status is Status.VALID or "the hypervisor took" in derived.reasons[0]


def placed(folder: Path, client: dict[str, int], server: dict[str, int], planned: tuple[int, int] | None) -> Sample:
    """The sample with its processes seen on these CPUs so often."""
    for name, key, looks, cpu in (("client", "processes", client, 0), ("server", "servers", server, 1)):
        with editing(folder, f"{name}.json") as data:
            data[key] = data[key] or [{}]
            for one in data[key]:
                one.update(looks=looks, planned=planned[cpu] if planned else None)
    return sample.derive(folder)


@pytest.mark.parametrize(
    ("client", "server", "together", "mode"),
    [
        ({"0": 20}, {"1": 20}, 0.0, "ends on CPUs of their own"),
        ({"0": 20}, {"0": 19, "1": 1}, 0.95, "ends on the same CPUs"),
        ({"0": 10, "1": 10}, {"0": 20}, 0.5, "ends changing CPUs"),
    ],
)
def test_the_two_modes_of_a_shared_kernel_have_different_records(
    copy: Copy, client: dict[str, int], server: dict[str, int], together: float, mode: str
) -> None:
    seen = placed(copy(CRR), client, server, None).placement
    assert seen is not None
    assert seen.together == pytest.approx(together)
    assert seen.mode == mode
    assert sum(seen.client.values()) == pytest.approx(1)
    assert sum(seen.client_softirq.values()) == pytest.approx(1)
    assert seen.planned_client is None


def test_without_a_shared_kernel_it_is_the_softirqs_that_are_beside_a_process_or_not(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "measurement.json") as data:
        data["shared_kernel"] = False
    for name, busy in (("client", 0), ("server", 1)):
        with editing(folder, f"{name}.json") as data:
            for number, tick in enumerate(data["ticks"]):
                tick["net_rx"] = [1000 * number if cpu == busy else 7 for cpu in range(2)]
    seen = placed(folder, {"0": 20}, {"0": 20}, None).placement
    assert seen is not None
    assert seen.together is None
    assert seen.mode == "client beside its softirqs, server apart from its softirqs"
    assert (seen.client_softirq, seen.server_softirq) == ({"0": 1.0}, {"1": 1.0})


@pytest.mark.parametrize(("looks", "left"), [({"0": 19, "1": 1}, False), ({"0": 10, "1": 10}, True), ({"3": 1}, True)])
def test_an_end_that_left_its_planned_cpu_is_flagged(copy: Copy, looks: dict[str, int], left: bool) -> None:
    derived = placed(copy(CRR), looks, {"1": 20}, (0, 1))
    assert (Flag.MOVED in derived.flags) is left
    assert derived.placement is not None
    assert (derived.placement.planned_client, derived.placement.planned_server) == ((0,), (1,))


def test_samples_that_were_taken_before_all_this_know_nothing_of_it() -> None:
    old = sample.derive(Path(__file__).parents[2] / "fixtures" / "samples" / RR2)
    assert (old.idle, old.placement) == (None, None)
    end = raw.read(Path(__file__).parents[2] / "fixtures" / "samples" / RR2).client
    assert end is not None
    assert not moved(end)
    assert json.loads(json.dumps(old.load[0].foreign_pct)) is None


def test_a_sample_that_was_taken_beside_a_busy_program_is_void_and_names_it(copy: Copy) -> None:
    derived = sample.derive(copy(BUSY))
    assert derived.status is Status.INVALID
    (load,) = derived.load
    assert load.where == "machine"
    assert load.foreign_pct == pytest.approx(92.7, abs=0.1)
    assert load.top[0] == "pytest (9332) 90.0 %"
    assert any("foreign load on the machine of both nodes took 93 %" in reason for reason in derived.reasons)
