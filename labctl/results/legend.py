"""How to read the tables of a summary: as many lines as its rows need."""

from __future__ import annotations

from collections.abc import Iterable

from labctl.core.tables import counted
from labctl.results.ratios import Comparison, Verdict
from labctl.results.stats import MIN_ROUNDS
from labctl.results.summary import Summary
from labctl.samples.sample import Flag

FLAG_TEXTS = {
    Flag.INDICATIVE: "measured over less than 30 s",
    Flag.STEAL: "other virtual machines had the CPUs for more than 1 % of the time",
    Flag.CPU_UNKNOWN: "the CPU readings do not cover the window, so there is no CPU use",
    Flag.CPU_ACCOUNTING: "/proc/stat accounts for another amount of time than passed, so there is no CPU use",
    Flag.COUNTERS_UNREAD: "a counter that would void a sample could not be read",
    Flag.IDLE_EXITS: "CPUs slept though they were to be kept awake: use haltpoll, idle=poll or a cpuidle driver",
    Flag.FOREIGN_LOAD: "something else took more than 2 % of a CPU thread: stop it, and measure again",
    Flag.MOVED: "netperf or netserver left the CPUs that it was given",
    Flag.RETRANSMITS: "segments were lost and sent again: look for a full queue, a rate limit or a bad link",
    Flag.MIXED_PORTS: "fresh and reused client ports in one window, which cost differently: measure longer",
    Flag.SIDECAR: "others put containers, a proxy perhaps, beside netperf or netserver into the pod (pod.beside)",
    Flag.CPU_LIMITED: "the cluster limits the pods' CPU (pod.cpu_limit): the numbers are those of the limit",
    Flag.LOAD_UNKNOWN: "whether anything else ran could not be read",
    Flag.IDLE_UNKNOWN: "whether the CPUs slept could not be read",
    Flag.UNREAD: "these fields hold what they cannot mean, and are not known; the rate needs none of them",
}
# What says how a run was measured rather than what befell a row: said once where every sample has it.
OF_A_RUN = (
    *(Flag.INDICATIVE, Flag.CPU_UNKNOWN, Flag.CPU_ACCOUNTING, Flag.COUNTERS_UNREAD, Flag.LOAD_UNKNOWN),
    *(Flag.IDLE_UNKNOWN, Flag.SIDECAR, Flag.CPU_LIMITED),
)
WITHHELD = {
    Verdict.MODES: "modes differ: the samples, or too many of them, are of different modes, which are not compared "
    "with each other.",
    Verdict.IDLE: "idle differs: CPUs were kept awake in one and could sleep, or more deeply, in the other; these are "
    "not compared.",
}


def legend(summary: Summary) -> str:
    """How to read the tables, as far as they need it."""
    lines = ["n: valid samples, of those planned where some are missing. CV: coefficient of variation."]
    if any(row.modes for row in summary.rows):
        lines.append(
            "Modes: samples that ran differently, or whose rates fall into separate groups, have their numbers below "
            "their setup; no mean stands for them, and only samples of one mode are compared."
        )
    parts = [part for row in summary.rows for part in row.parts]
    comparisons = [part.comparison for part in parts if part.comparison is not None]
    withheld = {one.verdict for one in comparisons}
    lines += [text for verdict, text in WITHHELD.items() if verdict in withheld]
    comparisons = [one for one in comparisons if one.ratio is not None]
    if comparisons:
        lines.append(
            "ratio: this setup's rate over the reference's in the same round, geometric mean over the rounds. "
            + _interval_words(summary, comparisons)
        )
    timed = {row.processes > 1 for row in summary.rows for part in row.parts if part.latency_us}
    if timed:
        lines.append(
            "Latency: netperf's, over the whole test and not its window alone; percentiles and maximum are whole "
            "microseconds."
        )
    if False in timed:
        lines.append("Latency of one process: median of the samples, of the maximum the largest.")
    if True in timed:
        lines.append("Latency of several processes: lowest to highest of any process; they cannot be merged.")
    lines.append("CPU: core-seconds per work; busy in % of all threads, median of the samples.")
    if summary.shared_kernel:
        lines.append("The nodes share one kernel: CPU is the machine's, no end has its own, and the cable is no NIC.")
    once, seen = of_all(summary), {flag for row in summary.rows for flag in row.flags}
    for flag, text in FLAG_TEXTS.items():
        if flag in seen:
            lines.append(f"{said(flag)}{' (every sample)' if flag in once else ''}: {text}.")
    return "\n".join(lines)


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


def of_all(summary: Summary) -> frozenset[Flag]:
    """Flags of the run as such that every valid sample has."""
    valid = sum(row.valid for row in summary.rows)
    return frozenset(flag for flag in OF_A_RUN if valid and valid == sum(r.flags.get(flag, 0) for r in summary.rows))


def said(flag: Flag) -> str:
    """A flag as tables say it."""
    return flag.value.replace("_", " ")
