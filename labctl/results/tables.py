"""A summary for people: rates and ratios, latency and CPU, what was left out, and how to read it all."""

from __future__ import annotations

from collections.abc import Container

from labctl.catalog.dimensions.mtu import NORMAL_MTU
from labctl.catalog.lab import SYSTEM
from labctl.core.records import encode
from labctl.core.tables import Document, Table, Value, counted, fixed, listing, number
from labctl.plan.tables import conditions, marks
from labctl.results.conditions import PER_UNIT, Awake
from labctl.results.legend import OF_A_RUN, WITHHELD, legend, of_all, said
from labctl.results.ratios import Comparison
from labctl.results.summary import Mode, Row, Summary
from labctl.runs.history import History
from labctl.samples.quantities import LATENCIES, Range
from labctl.samples.sample import Flag, Sample, Status

FIELDS = 3  # that were not read, by their names
OF_CPU = frozenset({Flag.CPU_UNKNOWN, Flag.CPU_ACCOUNTING})
OF_CONDITIONS = (Flag.IDLE_EXITS, Flag.FOREIGN_LOAD, Flag.STEAL, Flag.MOVED)


def document(summary: Summary) -> Document:
    """The summary as tables; its records are the cells, its data all of summary.json."""
    cells = listing(_record(summary, row) for row in summary.rows)
    return Document(tuple(_parts(summary)), cells.records, encode(summary))


def _parts(summary: Summary) -> list[Table | str]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in summary.rows:
        groups.setdefault((row.workload, row.processes_label), []).append(row)
    told = frozenset(Flag) - of_all(summary)
    measured = [
        table for rows in groups.values() for table in (_rates(rows, told - OF_CPU), _costs(rows, told & OF_CPU))
    ]
    return [
        _head(summary),
        *measured,
        *_details(summary),
        *_conditions(summary),
        *_sizes(summary),
        *_unusable(summary),
        _past(summary.history),
        legend(summary),
    ]


def sample_words(sample: Sample) -> str:
    """One sample in a few words, for progress: its rate and what befell that, or why it has none that counts."""
    if sample.status is not Status.VALID:
        return f"{sample.status}: {'; '.join(sample.reasons)}"
    flags = ", ".join(said(flag) for flag in sample.flags if flag not in OF_A_RUN)
    rate = "-" if sample.rate is None else f"{number(sample.rate.value)} {sample.rate.unit}"
    return f"{rate} ({flags})" if flags else rate


def _head(summary: Summary) -> str:
    rows = summary.rows
    planned, taken = sum(row.planned for row in rows), sum(row.taken for row in rows)
    counts = f"{sum(row.valid for row in rows)} valid, {sum(row.invalid for row in rows)} invalid"
    counts += f", {sum(row.failed for row in rows)} failed, {planned - taken} not taken"
    rounds = counted(summary.rounds, "round")
    head = f"Run {summary.run}: {counted(planned, 'sample')} of {summary.duration_s:g} s in {rounds}: {counts}"
    held = "" if summary.idle == SYSTEM else _held(summary.awake)
    how = conditions(summary.idle, summary.pin, summary.steal_limit_pct, held)
    return "\n".join([*marks(summary.quick, summary.emulated), head, f"{how}."])


def _held(awake: Awake) -> str:
    """What was held to keep the CPUs awake."""
    if not awake.held:
        return "; ".join(["held in no sample", *awake.why]) if awake.samples else ""
    request = f"latency request {' and '.join(map(str, awake.latency_us))} us held"
    if awake.held == awake.samples:
        return request
    return "; ".join([f"{request} in {awake.held} of {awake.samples} samples", *awake.why])


def _rates(rows: list[Row], told: Container[Flag]) -> Table:
    """Rates and ratios of one workload and number of processes; `told` are the flags that are said here."""
    references = {row.comparison.reference for row in rows if row.comparison is not None}
    title = f"{_work(rows[0])}: {rows[0].unit}"
    if len(references) == 1:
        title += f", ratio to {next(iter(references))}"
    headers = ["setup", "n", "median", "mean", "CV %", "min", "max", "ratio", "95 % interval"]
    shown = [part for row in rows for part in row.parts]
    columns: list[tuple[Value, ...]] = [_rate_cells(part, told) for part in shown]
    comparisons = [part.comparison for part in shown]
    if len(references) > 1:
        headers.append("ratio to")
        columns = [(*cells, one.reference if one else None) for cells, one in zip(columns, comparisons, strict=True)]
    if any(one is not None and (one.low is not None or one.verdict in WITHHELD) for one in comparisons):
        headers.append("verdict")
        columns = [(*cells, _verdict(one)) for cells, one in zip(columns, comparisons, strict=True)]
    return Table(title, tuple(headers), tuple(columns), seam="ratio")


def _rate_cells(part: Row | Mode, told: Container[Flag]) -> tuple[Value, ...]:
    rate, one = part.rate if isinstance(part, Row) else part, part.comparison
    numbers = (
        ("-",) * 5
        if rate is None
        else (number(rate.median), number(rate.mean), fixed(rate.cv_pct, 1), number(rate.min), number(rate.max))
    )
    return (_name(part, told), _count(part), *numbers, fixed(one.ratio, 3) if one else None, _interval(one))


def _name(part: Row | Mode, told: Container[Flag] = ()) -> str:
    """What a line is about: a setup with its flags and how many samples have each, or below it a mode of it."""
    if isinstance(part, Mode):
        return f"- {part.label}"
    counts = ((flag, f"{said(flag)} {count}/{part.valid}") for flag, count in part.flags.items() if flag in told)
    flags = (f"({words}{_fields(part, flag)})" for flag, words in counts)
    return "\n".join([part.setup, *flags])


def _fields(row: Row, flag: Flag) -> str:
    """The names of the fields behind a flag that is about fields."""
    if flag is not Flag.UNREAD or not row.unread:
        return ""
    more = [f"{len(row.unread) - FIELDS} more"] if len(row.unread) > FIELDS else []
    return f": {', '.join([*row.unread[:FIELDS], *more])}"


def _count(part: Row | Mode) -> str:
    if isinstance(part, Mode):
        return str(part.n)
    return str(part.valid) if part.valid == part.planned else f"{part.valid}/{part.planned}"


def _work(row: Row) -> str:
    label = f" ({row.processes_label})" if row.processes_label != str(row.processes) else ""
    return f"{row.workload}, {row.processes} {'process' if row.processes == 1 else 'processes'}{label}"


def _interval(one: Comparison | None) -> str:
    return "-" if one is None or one.low is None else f"{fixed(one.low, 3)}..{fixed(one.high, 3)}"


def _verdict(one: Comparison | None) -> str | None:
    if one is None:
        return None
    if one.is_noise_floor and one.verdict is None:
        return "noise floor"
    return one.verdict.value if one.verdict else None


def _costs(rows: list[Row], told: Container[Flag]) -> Table:
    """Latency and CPU of one workload and number of processes, with their flags; without latency where it has none."""
    parts = [part for row in rows for part in (row.modes or (row,))]
    shown = ("p50", "p90", "p99", "max") if any(part.latency_us for part in parts) else ()
    units = {part.cpu_cost.unit for part in parts if part.cpu_cost}
    cost = " ".join(["CPU", *sorted(units)])
    headers = ("setup", *shown, cost, "machine %", "client %", "server %")
    cells = tuple(
        (
            _name(part, told),
            *(_latency(part, name) for name in shown),
            number(part.cpu_cost.value) if part.cpu_cost else None,
            *(fixed(busy, 1) for busy in vars(part.cpu_busy_pct).values()),
        )
        for row in rows
        for part in row.parts
    )
    return Table(f"{_work(rows[0])}: {'latency in microseconds, ' if shown else ''}CPU", headers, cells, seam=cost)


def _latency(part: Row | Mode, name: str) -> str:
    value = getattr(part.latency_us, name, None)
    return f"{number(value.low, 3)}-{number(value.high, 3)}" if isinstance(value, Range) else number(value, 3)


def _details(summary: Summary) -> list[Table]:
    """What stands behind the verdicts, where there are any."""
    compared = [
        (row, _name(part), part.comparison)
        for row in summary.rows
        for part in row.parts
        if part.comparison and part.comparison.low is not None
    ]
    if not compared:
        return []
    headers = ("setup", "workload", "proc.", "rounds", "Hodges-Lehmann", "p", "p (Holm)", "noise floor")
    rows = tuple(
        (
            name if name == row.setup else f"{row.setup} {name}",
            row.workload,
            row.processes_label,
            one.rounds,
            fixed(one.hodges_lehmann, 3),
            _p(one.p_value),
            _p(one.p_adjusted),
            None if one.noise_floor is None else f"{fixed(1 / one.noise_floor, 3)}..{fixed(one.noise_floor, 3)}",
        )
        for row, name, one in compared
    )
    return [Table("Ratios in detail", headers, rows, keys=3, seam="p")]


def _conditions(summary: Summary) -> list[Table]:
    """How samples were taken, of the rows of which something is to be said; the others are in the JSON."""
    told = [row for row in summary.rows if row.modes or any(flag in row.flags for flag in OF_CONDITIONS)]
    if not told:
        return []
    headers = ("setup", "workload", "proc.", "sleeps", "foreign %", "steal %", "others", "placement")
    rows = tuple(
        (
            row.setup,
            row.workload,
            row.processes_label,
            number(row.conditions.deep_entries_per_unit, 2),
            fixed(row.conditions.foreign_pct, 1),
            fixed(row.conditions.steal_pct, 1),
            ", ".join(row.conditions.others) if Flag.FOREIGN_LOAD in row.flags else None,
            "; ".join(row.conditions.placement),
        )
        for row in told
    )
    title = "Conditions: idle states entered per unit of the rate, CPU taken by others at most, and where both ends ran"
    return [Table(title, headers, rows, keys=3, seam="others")]


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
    changed = tuple((one.setup, one.round, one.attempt, one.void, "; ".join(one.changes)) for one in past.disturbed)
    if changed:
        tables.append(Table("Visits under other conditions", ("setup", "round", "attempt", "void", "change"), changed))
    return tables


def _past(history: History) -> str:
    """What to know of a run that was resumed or is damaged; nothing of any other."""
    lines = [f"damaged: {words}" for words in history.damaged]
    if history.attempts > 1:
        cut = ", ".join(map(str, history.cut_rounds)) or "none"
        lines.append(f"Resumed: {counted(history.attempts, 'attempt')}. Rounds not taken in one go: {cut}.")
    if history.unsealed:
        lines.append(f"Cut short, so that nobody saw whether something changed in them: {'; '.join(history.unsealed)}.")
    lines += [f"Accepted drift, attempt {one.attempt}: {one.change}" for one in history.drift]
    return "\n".join(lines)


def _record(summary: Summary, row: Row) -> dict[str, Value]:
    """A row with everything, flat, unrounded; the columns are the same for every run."""
    rate, one, cost, how = row.rate, row.comparison, row.cpu_cost, row.conditions
    return {
        "run": summary.run,
        "quick": summary.quick,
        "emulated": summary.emulated,
        "idle": summary.idle,
        "pin": summary.pin.value,
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
        "modes": "; ".join(f"{mode.label}: {mode.n} of median {mode.median:.10g}" for mode in row.modes),
        "idle_held": "; ".join(how.idle),
        "placement": "; ".join(how.placement),
        **{name: getattr(how, name) for name in (*PER_UNIT, "together", "foreign_pct", "steal_pct")},
        "others": "; ".join(how.others),
        "flags": " ".join(f"{flag}:{count}" for flag, count in row.flags.items()),
        "unread": " ".join(row.unread),
    }


def _ends(row: Row, name: str) -> dict[str, float | None]:
    """A latency as its value for one process, or its low and high end for several."""
    value = getattr(row.latency_us, name, None)
    if isinstance(value, Range):
        return {"": None, "low_": value.low, "high_": value.high}
    return {"": value, "low_": None, "high_": None}
