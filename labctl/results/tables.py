"""A summary for people: rates and ratios, latency and CPU, what was left out, and how to read it all."""

from __future__ import annotations

from collections.abc import Iterable

from labctl.catalog.dimensions.mtu import NORMAL_MTU
from labctl.core.records import encode
from labctl.core.tables import Document, Table, Value, counted, fixed, listing, number
from labctl.plan.tables import marks
from labctl.results.ratios import Comparison
from labctl.results.stats import MIN_ROUNDS
from labctl.results.summary import Row, Summary
from labctl.runs.history import History
from labctl.samples.quantities import LATENCIES, Range
from labctl.samples.sample import Flag, Sample, Status

FLAG_TEXTS = {
    Flag.INDICATIVE: "indicative: measured over less than 30 s",
    Flag.STEAL: "steal: something else had the CPUs for more than 1 % of the time",
    Flag.CPU_UNKNOWN: "cpu_unknown: the CPU readings do not cover the window",
    Flag.CPU_ACCOUNTING: "cpu_accounting: /proc/stat accounts for another amount of time than passed",
    Flag.COUNTERS_UNREAD: "counters_unread: a counter that would void a sample could not be read",
    Flag.IDLE_EXITS: "idle_exits: CPUs slept though they were kept from it; haltpoll, `idle=poll` or a cpuidle driver "
    "keeps them awake",
    Flag.FOREIGN_LOAD: "foreign_load: something else took more than 2 % of a CPU thread; stop it (the samples name it)",
    Flag.MOVED: "moved: netperf or netserver left the CPUs that it was given",
    Flag.RETRANSMITS: "retransmits: segments were lost and sent again; the path or a queue drops",
    Flag.MIXED_PORTS: "mixed_ports: the client used fresh and reused ports in one window, which cost differently",
    Flag.LOAD_UNKNOWN: "load_unknown: whether anything else ran could not be read",
    Flag.IDLE_UNKNOWN: "idle_unknown: whether the CPUs slept could not be read",
}


def document(summary: Summary) -> Document:
    """The summary as tables; its records are the cells, its data all of summary.json."""
    cells = listing(_record(summary, row) for row in summary.rows)
    return Document(tuple(_parts(summary)), cells.records, encode(summary))


def _parts(summary: Summary) -> list[Table | str]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in summary.rows:
        groups.setdefault((row.workload, row.processes_label), []).append(row)
    measured = [table for rows in groups.values() for table in (_rates(rows), _costs(rows))]
    return [
        _head(summary),
        *measured,
        *_details(summary),
        *_sizes(summary),
        *_unusable(summary),
        _past(summary.history),
        _legend(summary),
    ]


def sample_words(sample: Sample) -> str:
    """One sample in a few words, for progress: its rate, or why it has none that counts."""
    if sample.status is not Status.VALID:
        return f"{sample.status}: {'; '.join(sample.reasons)}"
    return "-" if sample.rate is None else f"{number(sample.rate.value)} {sample.rate.unit}"


def _head(summary: Summary) -> str:
    rows = summary.rows
    planned, taken = sum(row.planned for row in rows), sum(row.taken for row in rows)
    counts = f"{sum(row.valid for row in rows)} valid, {sum(row.invalid for row in rows)} invalid"
    counts += f", {sum(row.failed for row in rows)} failed, {planned - taken} not taken"
    rounds = counted(summary.rounds, "round")
    head = f"Run {summary.run}: {counted(planned, 'sample')} of {summary.duration_s:g} s in {rounds}: {counts}"
    return "\n".join([*marks(summary.quick, summary.emulated), head])


def _rates(rows: list[Row]) -> Table:
    """Rates and ratios of one workload and number of processes."""
    references = {row.comparison.reference for row in rows if row.comparison is not None}
    title = f"{_work(rows[0])}: {rows[0].unit}"
    if len(references) == 1:
        title += f", ratio to {next(iter(references))}"
    headers = ["setup", "n", "median", "mean", "CV %", "min", "max", "ratio", "95 % interval"]
    columns: list[tuple[Value, ...]] = [_rate_cells(row) for row in rows]
    comparisons = [row.comparison for row in rows]
    if len(references) > 1:
        headers.append("ratio to")
        columns = [(*cells, one.reference if one else None) for cells, one in zip(columns, comparisons, strict=True)]
    if any(one is not None and one.low is not None for one in comparisons):
        headers.append("verdict")
        columns = [(*cells, _verdict(one)) for cells, one in zip(columns, comparisons, strict=True)]
    return Table(title, tuple(headers), tuple(columns), seam="ratio")


def _rate_cells(row: Row) -> tuple[Value, ...]:
    rate, one = row.rate, row.comparison
    numbers = (
        ("-",) * 5
        if rate is None
        else (number(rate.median), number(rate.mean), fixed(rate.cv_pct, 1), number(rate.min), number(rate.max))
    )
    n = str(row.valid) if row.valid == row.planned else f"{row.valid}/{row.planned}"
    return (row.setup, n, *numbers, fixed(one.ratio, 3) if one else None, _interval(one))


def _work(row: Row) -> str:
    label = f" ({row.processes_label})" if row.processes_label != str(row.processes) else ""
    return f"{row.workload}, {row.processes} {'process' if row.processes == 1 else 'processes'}{label}"


def _interval(one: Comparison | None) -> str:
    return "-" if one is None or one.low is None else f"{fixed(one.low, 3)}..{fixed(one.high, 3)}"


def _verdict(one: Comparison | None) -> str | None:
    if one is None:
        return None
    if one.is_noise_floor:
        return "noise floor"
    return one.verdict.value if one.verdict else None


def _costs(rows: list[Row]) -> Table:
    """Latency and CPU of one workload and number of processes; without the latency where it has none."""
    shown = ("p50", "p90", "p99", "max") if any(row.latency_us for row in rows) else ()
    units = {row.cpu_cost.unit for row in rows if row.cpu_cost}
    cost = " ".join(["CPU", *sorted(units)])
    headers = ("setup", *shown, cost, "machine %", "client %", "server %")
    cells = tuple(
        (
            row.setup,
            *(_latency(row, name) for name in shown),
            number(row.cpu_cost.value) if row.cpu_cost else None,
            *(fixed(busy, 1) for busy in vars(row.cpu_busy_pct).values()),
        )
        for row in rows
    )
    return Table(f"{_work(rows[0])}: {'latency in microseconds, ' if shown else ''}CPU", headers, cells, seam=cost)


def _latency(row: Row, name: str) -> str:
    value = getattr(row.latency_us, name, None)
    return f"{number(value.low, 3)}-{number(value.high, 3)}" if isinstance(value, Range) else number(value, 3)


def _details(summary: Summary) -> list[Table]:
    """What stands behind the verdicts, where there are any."""
    compared = [(row, row.comparison) for row in summary.rows if row.comparison and row.comparison.low is not None]
    if not compared:
        return []
    headers = ("setup", "workload", "proc.", "rounds", "Hodges-Lehmann", "p", "p (Holm)", "noise floor")
    rows = tuple(
        (
            row.setup,
            row.workload,
            row.processes_label,
            one.rounds,
            fixed(one.hodges_lehmann, 3),
            _p(one.p_value),
            _p(one.p_adjusted),
            None if one.noise_floor is None else f"{fixed(1 / one.noise_floor, 3)}..{fixed(one.noise_floor, 3)}",
        )
        for row, one in compared
    )
    return [Table("Ratios in detail", headers, rows, keys=3, seam="p")]


def _sizes(summary: Summary) -> list[Table]:
    """What fits into a packet, where setups differ in that."""
    if all(one.tunnel is None and one.link_mtu == NORMAL_MTU for one in summary.sizes):
        return []
    workloads = list(dict.fromkeys(row.workload for row in summary.rows))
    headers = ("setup", "encrypted by", "link MTU", "tunnel", "endpoint MTU", "MSS", *workloads, "softirq %")
    rows = tuple(
        (
            one.setup,
            None if one.tunnel is None else one.tunnel.label,
            one.link_mtu,
            one.overhead,
            one.endpoint_mtu,
            one.mss,
            *(fixed(one.bytes_per_packet.get(workload), 0) for workload in workloads),
            fixed(one.hottest_softirq_pct, 0),
        )
        for one in summary.sizes
    )
    title = "Sizes in bytes: MTUs, MSS, and the mean packet on the cable by workload; busiest CPU"
    return [Table(title, headers, rows, seam=headers[6])]


def _p(value: float | None) -> str:
    return "<0.0001" if value is not None and value < 0.0001 else fixed(value, 4)


def _unusable(summary: Summary) -> list[Table]:
    """What failed and why: samples, those that were taken again since, and whole visits."""
    past = summary.history
    rows = [(one.sample, one.status.value, "; ".join(one.reasons)) for one in summary.unusable]
    rows += [(one.sample, "taken again", "; ".join(one.reasons)) for one in past.retaken]
    tables = [Table("Samples that do not count", ("sample", "status", "reason"), tuple(rows))] if rows else []
    visits = tuple((one.setup, one.round, one.attempt, "; ".join(one.reasons)) for one in past.failed_visits)
    if visits:
        tables.append(Table("Visits that failed", ("setup", "round", "attempt", "reason"), visits))
    return tables


def _past(history: History) -> str:
    """What to know of a run that was resumed or is damaged; nothing of any other."""
    lines = [f"damaged: {words}" for words in history.damaged]
    if history.attempts > 1:
        cut = ", ".join(map(str, history.cut_rounds)) or "none"
        lines.append(f"Resumed: {counted(history.attempts, 'attempt')}. Rounds not taken in one go: {cut}.")
    lines += [f"Accepted drift, attempt {one.attempt}: {one.change}" for one in history.drift]
    return "\n".join(lines)


def _legend(summary: Summary) -> str:
    """How to read the tables, as far as they need it."""
    lines = ["n: valid samples, of those planned where some are missing. CV: coefficient of variation."]
    comparisons = [row.comparison for row in summary.rows if row.comparison is not None]
    if comparisons:
        lines.append(
            "ratio: this setup's rate over the reference's in the same round, geometric mean over the rounds. "
            + _interval_words(summary, comparisons)
        )
    if any(row.latency_us and row.processes == 1 for row in summary.rows):
        lines.append("Latency of one process: netperf's, over the whole test, median of the samples.")
    if any(row.latency_us and row.processes > 1 for row in summary.rows):
        lines.append("Latency of several processes: lowest to highest of any process; they cannot be merged.")
    lines.append("CPU: core-seconds per work; busy in % of all threads, median of the samples.")
    if summary.shared_kernel:
        lines.append("The nodes share one kernel: CPU is the machine's, no end has its own, and the cable is no NIC.")
    seen = {flag for row in summary.rows for flag in row.flags}
    return "\n".join([*lines, *(text for flag, text in FLAG_TEXTS.items() if flag in seen)])


def _interval_words(summary: Summary, comparisons: Iterable[Comparison]) -> str:
    compared = list(comparisons)
    if all(one.low is None for one in compared):
        rounds = counted(summary.rounds, "round")
        return f"No interval and no verdict below {MIN_ROUNDS} common rounds (planned: {rounds})."
    judged = sum(one.p_adjusted is not None for one in compared)
    floor = any(one.noise_floor is not None for one in compared)
    inside = ", or the ratio lies inside the noise floor" if floor else ""
    unknown = "" if floor else " No noise floor was measured (--noise-floor)."
    return (
        "Interval: Student's t on the log ratios. Not distinguishable: it contains 1, or p >= 0.05 when corrected "
        f"for {counted(judged, 'comparison')} (Holm){inside}.{unknown}"
    )


def _record(summary: Summary, row: Row) -> dict[str, Value]:
    """A row with everything, flat, unrounded; the columns are the same for every run."""
    rate, one, cost = row.rate, row.comparison, row.cpu_cost
    return {
        "run": summary.run,
        "quick": summary.quick,
        "emulated": summary.emulated,
        **{name: getattr(row, name) for name in ("cell", "setup", "workload", "processes", "processes_label")},
        **{name: getattr(row, name) for name in ("planned", "taken", "valid", "invalid", "failed")},
        "unit": row.unit.value,
        **{f"rate_{name}": getattr(rate, name, None) for name in ("median", "mean", "cv_pct", "min", "max")},
        **{f"latency_{name}_{end}us": value for name in LATENCIES for end, value in _ends(row, name).items()},
        "cpu_cost": cost.value if cost else None,
        "cpu_cost_unit": cost.unit if cost else None,
        **{f"cpu_busy_pct_{name}": busy for name, busy in vars(row.cpu_busy_pct).items()},
        **{name: getattr(one, name, None) for name in ("reference", "rounds", "ratio", "low", "high")},
        **{name: getattr(one, name, None) for name in ("hodges_lehmann", "p_value", "p_adjusted", "noise_floor")},
        "verdict": _verdict(one),
        "flags": " ".join(row.flags),
    }


def _ends(row: Row, name: str) -> dict[str, float | None]:
    """A latency as its value for one process, or its low and high end for several."""
    value = getattr(row.latency_us, name, None)
    if isinstance(value, Range):
        return {"": None, "low_": value.low, "high_": value.high}
    return {"": value, "low_": None, "high_": None}
