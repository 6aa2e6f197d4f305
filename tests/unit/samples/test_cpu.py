"""CPU use within a window, from readings of /proc/stat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.samples import cpu
from labctl.samples.cpu import CpuError, CpuUse, Tick

FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
HZ = 100


def row(**jiffies: int) -> tuple[int, ...]:
    return tuple(jiffies.get(name, 0) for name in FIELDS)


def ticks(*per_second: dict[str, int], cpus: int = 2) -> list[Tick]:
    """Readings a second apart from t=100; each argument is what every CPU did in one second."""
    total = dict.fromkeys(FIELDS, 1000)
    found = [_tick(100.0, total, cpus)]
    for second, spent in enumerate(per_second, start=1):
        total = {name: total[name] + spent.get(name, 0) for name in FIELDS}
        found.append(_tick(100.0 + second, total, cpus))
    return found


def _tick(t: float, total: dict[str, int], cpus: int) -> Tick:
    machine = {name: cpus * value for name, value in total.items()}
    return Tick(t, {"cpu": row(**machine), **{f"cpu{i}": row(**total) for i in range(cpus)}})


def use(readings: list[Tick], start: float = 100.0, end: float = 104.0, threads: int = 2) -> CpuUse:
    return cpu.use(readings, start, end, HZ, threads, "client.json")


def error(readings: list[Tick], start: float = 100.0, end: float = 104.0, threads: int = 2) -> str:
    with pytest.raises(CpuError) as caught:
        use(readings, start, end, threads)
    return str(caught.value)


EVERYTHING = {"user": 10, "nice": 5, "system": 20, "idle": 30, "iowait": 8, "irq": 7, "softirq": 15, "steal": 5}


def parts(*names: str) -> st.SearchStrategy[dict[str, int]]:
    """A second of a CPU, divided among these fields."""
    cuts = st.lists(st.integers(0, HZ), min_size=len(names) - 1, max_size=len(names) - 1).map(sorted)
    return cuts.map(lambda at: {name: b - a for name, a, b in zip(names, [0, *at], [*at, HZ], strict=True)})


@given(parts("user", "nice", "system", "irq", "softirq"), st.floats(0.01, 0.99))
def test_a_machine_that_is_never_idle_is_busy_for_all_of_its_time_and_no_more(
    spent: dict[str, int], edge: float
) -> None:
    seen = use(ticks(*[spent] * 8), start=100.0 + edge, end=107.0 + edge)
    assert seen.busy_pct == 100


@pytest.mark.parametrize(("sampled", "sound"), [(10, False), (28, True), (30, True), (60, False)])
def test_busy_is_what_was_not_idle_however_the_tick_sampled_it(sampled: int, sound: bool) -> None:
    """Work in pieces shorter than a tick, 30 % of the time, of which the tick saw more or less."""
    seen = use(ticks(*[{"system": sampled, "idle": 70}] * 4))
    assert seen.busy_pct == pytest.approx(30)
    assert seen.busy_core_s == pytest.approx(0.3 * 2 * 4)
    assert seen.system_pct == pytest.approx(sampled), "the parts are as they were sampled"
    assert seen.is_sound is sound


def test_busy_is_user_nice_system_irq_and_softirq() -> None:
    seen = use(ticks(*[EVERYTHING] * 4))
    assert seen.busy_pct == pytest.approx(10 + 5 + 20 + 7 + 15)
    assert seen.idle_pct == pytest.approx(30 + 8), "iowait is idle"
    assert seen.steal_pct == pytest.approx(5), "steal is neither"
    kinds = (seen.user_pct, seen.nice_pct, seen.system_pct, seen.irq_pct, seen.softirq_pct)
    assert kinds == pytest.approx((10, 5, 20, 7, 15))
    assert seen.busy_core_s == pytest.approx(0.57 * 2 * 4)
    assert seen.softirq_by_cpu == pytest.approx((15, 15))
    assert seen.accounted_pct == pytest.approx(100)
    assert seen.threads == 2


def test_waiting_for_a_disk_is_not_busy() -> None:
    seen = use(ticks(*[{"idle": 20, "iowait": 80}] * 4))
    assert (seen.busy_pct, seen.idle_pct) == (0, 100)


def test_a_guests_time_counts_once() -> None:
    """The kernel has it in user and nice already."""
    seen = use(ticks(*[{"user": 30, "guest": 30, "nice": 10, "guest_nice": 10, "idle": 60}] * 4))
    assert seen.busy_pct == pytest.approx(40)
    assert seen.busy_core_s == pytest.approx(0.4 * 2 * 4)


def test_only_the_window_counts() -> None:
    """Busy before and after it, idle within."""
    busy, idle = {"user": 100}, {"idle": 100}
    assert use(ticks(busy, busy, idle, idle, idle, idle, busy), 102.0, 106.0).busy_pct == 0


def test_readings_are_interpolated_at_the_edges() -> None:
    busy, idle = {"user": 100}, {"idle": 100}
    seen = use(ticks(busy, idle, idle, idle, busy), 100.5, 104.75)
    assert seen.busy_core_s == pytest.approx((0.5 + 0.75) * 2)
    assert seen.accounted_pct == pytest.approx(100)


def test_softirq_is_also_given_per_cpu_in_the_order_of_their_numbers() -> None:
    names = [f"cpu{i}" for i in range(12)]
    first = Tick(100.0, {name: row() for name in ["cpu", *names]})
    spent = {name: row(softirq=10 * (i % 10), idle=100 - 10 * (i % 10)) for i, name in enumerate(names)}
    last = Tick(101.0, {"cpu": row(idle=1200), **dict(sorted(spent.items()))})
    by_cpu = cpu.use([first, last], 100.0, 101.0, HZ, 12, "client.json").softirq_by_cpu
    assert by_cpu == pytest.approx((0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 10))


def test_time_that_the_kernel_lost_is_seen() -> None:
    assert use(ticks(*[{"user": 40, "idle": 40}] * 4)).accounted_pct == pytest.approx(80)


def test_idle_and_iowait_may_go_backwards_a_little() -> None:
    seen = use(ticks({"idle": 99, "iowait": 1}, {"idle": 101, "iowait": -1}, {"idle": 100}, {"idle": 100}))
    assert seen.idle_pct == 100


def test_busy_time_that_goes_backwards_is_an_error() -> None:
    readings = ticks({"user": 50, "idle": 50}, {"system": -70, "idle": 100}, {"idle": 100}, {"idle": 100})
    assert error(readings) == ("system time went backwards\n  where: client.json:cpu\n  seen:  -140.0 jiffies")


@pytest.mark.parametrize(("start", "end", "around"), [(99.0, 103.0, "99.000"), (101.0, 104.5, "104.500")])
def test_readings_have_to_enclose_the_window(start: float, end: float, around: str) -> None:
    assert error(ticks(*[EVERYTHING] * 4), start, end) == (
        f"no CPU readings around {around}\n  where: client.json\n  seen:  100.000 to 104.000"
    )


def test_without_readings_there_is_no_use() -> None:
    assert error([]) == "no CPU readings around 100.000\n  where: client.json\n  seen:  none"


def test_readings_too_far_apart_at_an_edge_are_refused() -> None:
    assert error(ticks(*[EVERYTHING] * 4), 100.5, 103.5) == (
        "CPU readings are 1.000 s apart at an edge of a window of 3.000 s\n  where: client.json"
    )


def test_a_clock_that_goes_backwards_is_an_error() -> None:
    readings = ticks(*[EVERYTHING] * 4)
    readings[2] = Tick(100.5, readings[2].stat)
    assert error(readings) == "the clock went backwards between two CPU readings\n  where: client.json"


def test_cpus_that_come_or_go_are_an_error() -> None:
    more, fewer = ticks(*[EVERYTHING] * 4, cpus=3), ticks(*[EVERYTHING] * 4, cpus=2)
    wanted = "the readings are not of 2 CPU threads throughout\n  where: client.json\n  seen:  3 CPUs in /proc/stat"
    assert error(more) == wanted
    changed = "the CPUs changed between two readings\n  where: client.json"
    assert error([*fewer[:2], *more[2:]]) == changed
    assert error([*fewer[:2], *more[2:3], *fewer[3:]]) == changed, "unplugged and back"


def change(readings: list[Tick], at: int, field: str, by: int) -> list[Tick]:
    """The readings with a field of one row changed from one of them on."""
    column = FIELDS.index(field)

    def row_of(tick: Tick) -> Tick:
        row = list(tick.stat["cpu1"])
        row[column] += by
        return Tick(tick.t, {**tick.stat, "cpu1": tuple(row)})

    return [row_of(tick) if index >= at else tick for index, tick in enumerate(readings)]


@pytest.mark.parametrize("field", FIELDS[:8])
def test_a_count_that_began_anew_between_two_readings_is_an_error_though_the_ends_agree(field: str) -> None:
    readings = change(change(ticks(*[EVERYTHING] * 4), 2, field, -60), 3, field, 60)
    assert error(readings).startswith(f"{field} time went backwards\n  where: client.json:cpu1")


@pytest.mark.parametrize("field", ["steal", "user", "idle"])
def test_a_count_that_jumps_is_an_error(field: str) -> None:
    readings = change(change(ticks(*[EVERYTHING] * 8), 2, field, 10**8), 6, field, 0)
    assert error(readings, 100.0, 108.0).startswith(f"{field} time jumped\n  where: client.json:cpu1")


def test_a_short_row_is_an_error() -> None:
    readings = [Tick(t, {"cpu": (1, 2, 3), "cpu0": (1, 2, 3)}) for t in (100.0, 104.0)]
    assert error(readings, threads=1) == "a row of /proc/stat has fewer than 8 columns\n  where: client.json:cpu"


def test_readings_in_which_no_time_passes_are_an_error() -> None:
    assert error(ticks({}, {}, {}, {})) == "no CPU time passed within the window\n  where: client.json:cpu"


SECONDS = parts(*FIELDS[:8])


@given(st.lists(SECONDS, min_size=8, max_size=8), st.floats(0, 0.9), st.floats(0, 0.9))
def test_the_parts_always_add_up_to_the_whole(seconds: list[dict[str, int]], a: float, b: float) -> None:
    seen = use(ticks(*seconds), 100 + a, 108 - b)
    assert seen.busy_pct + seen.idle_pct + seen.steal_pct == pytest.approx(100)
    kinds = seen.user_pct + seen.nice_pct + seen.system_pct + seen.irq_pct + seen.softirq_pct
    assert kinds == pytest.approx(seen.busy_pct)


@given(st.lists(SECONDS, min_size=10, max_size=10), st.floats(4, 6))
def test_two_halves_of_a_window_make_the_whole_of_its_busy_time(seconds: list[dict[str, int]], middle: float) -> None:
    readings = ticks(*seconds)
    halves = [use(readings, 100.0, 100 + middle), use(readings, 100 + middle, 110.0)]
    assert sum(half.busy_core_s for half in halves) == pytest.approx(use(readings, 100.0, 110.0).busy_core_s)
