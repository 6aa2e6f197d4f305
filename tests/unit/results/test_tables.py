"""Reports for people and machines, against golden files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labctl.catalog import Catalog
from labctl.core.records import decode, encode
from labctl.core.tables import NARROW, WIDTH, render
from labctl.plan.plan import Plan
from labctl.results.summary import Summary, summarise
from labctl.results.tables import document, sample_words
from labctl.runs.history import Disturbed
from labctl.samples.quantities import Cpu
from labctl.samples.sample import Flag, Sample, Status
from tests.unit.synthetic import asleep, busy, loaded, placed, plan_of, samples_of, times

Golden = Callable[[str, str], None]


def summary_tables(content: Summary, style: str = "table", width: int = WIDTH) -> str:
    return render(document(content), style, width)


@pytest.fixture
def full(small_catalog: Catalog) -> Summary:
    """Everything: verdicts, a noise floor, several processes, bad samples, one cell without any."""
    plan = plan_of(small_catalog, variant="base,base-clean,pods", noise_floor=True, rounds="6", duration="30")
    samples = [sample for sample in samples_of(plan) if sample.cell != "pods.tcp_crr.max"]
    samples[3] = replace(
        samples[3], status=Status.INVALID, reasons=("8,123 bytes on the cable where 9,000 to 9,900 were due",)
    )
    samples[9] = replace(
        samples[9], status=Status.FAILED, rate=None, reasons=("netperf exited 1: no route " + "to " * 40,)
    )
    return summarise(plan, samples)


@pytest.fixture
def quick(small_catalog: Catalog) -> Summary:
    plan = plan_of(small_catalog, variant="pods", quick=True)
    return summarise(plan, samples_of(plan))


@pytest.fixture
def mixed(small_catalog: Catalog) -> Summary:
    """No clean run: modes by placement and by rates, flags, a sample in which CPUs slept, one that is void."""
    plan = plan_of(small_catalog, variant="base,base-clean,pods", workload="tcp_rr", processes="1", rounds="8")
    samples = samples_of(plan)
    for at, sample in enumerate(samples):
        if sample.setup == "base" and sample.round in (2, 5):
            samples[at] = flagged(
                loaded(sample, 6.2, 0.3, "stress-ng (71) 5.2 %", "cc1plus (88) 1.0 %"), Flag.FOREIGN_LOAD
            )
        if sample.setup == "base-clean" and sample.round in (3, 4, 7):
            samples[at] = times(sample, 2)
        if sample.setup == "pods" and sample.round in (1, 6):
            samples[at] = flagged(placed(times(sample, 5), "ends on the same CPUs"), Flag.MOVED)
        if sample.setup == "pods" and sample.round == 8:
            samples[at] = asleep(sample)
        if sample.setup == "pods" and sample.round == 4:
            reason = "6.3 % of the CPUs were taken by other virtual machines"
            samples[at] = replace(sample, status=Status.INVALID, reasons=(reason,))
    return summarise(plan, samples)


def flagged(sample: Sample, flag: Flag) -> Sample:
    return replace(sample, flags=(*sample.flags, flag))


@pytest.mark.parametrize("width", [NARROW, WIDTH])
def test_modes_and_flags_stand_in_their_row(mixed: Summary, golden: Golden, width: int) -> None:
    text = summary_tables(mixed, width=width)
    golden(f"report.modes.{width}.txt", text)
    assert max(len(line) for line in text.splitlines()) <= width


FLAGS = st.lists(st.sampled_from(list(Flag)), unique=True, max_size=4)
MODE = st.sampled_from(
    [
        "ends on the same CPUs",
        "ends on CPUs of their own",
        "client beside its softirqs, server apart from its softirqs",
        None,
    ]
)


@given(data=st.data(), width=st.sampled_from([NARROW, WIDTH]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_whatever_flags_and_modes_there_are_lines_keep_to_the_width(
    small_catalog: Catalog, data: st.DataObject, width: int
) -> None:
    plan = plan_of(small_catalog, variant="base,base-clean,pods", workload="tcp_rr", processes="1", rounds="7")
    samples = [
        loaded(
            placed(replace(one, flags=tuple(data.draw(FLAGS))), data.draw(MODE)),
            3.0,
            0.4,
            "a-process-of-a-name (71) 3.0 %",
        )
        for one in samples_of(plan)
    ]
    summary = summarise(plan, [asleep(one) if data.draw(st.booleans()) else one for one in samples])
    text = summary_tables(renamed(summary), width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    whole = summary_tables(summary, "github")
    for row in summary.rows:
        for flag, count in row.flags.items():
            said = flag.replace("_", " ")
            assert f"{said} {count}/{row.valid}" in whole or f"{said} (every sample)" in whole


def test_where_there_are_modes_no_mean_stands_anywhere(mixed: Summary) -> None:
    base, clean, pods = mixed.rows
    assert base.modes == ()
    for row, counts in ((clean, [5, 3]), (pods, [4, 2, 1])):
        assert [mode.n for mode in row.modes] == counts
        assert row.rate is not None
        assert (row.rate.median, row.rate.mean, row.rate.cv_pct) == (None, None, None)
        assert (row.latency_us, row.cpu_cost, set(vars(row.cpu_busy_pct).values())) == (None, None, {None})
        assert all(mode.median and mode.latency_us and mode.cpu_cost for mode in row.modes)
    rows = {row["cell"]: row for row in csv.DictReader(io.StringIO(summary_tables(mixed, "csv")))}
    split = rows["pods.tcp_rr.1"]
    empty = ("rate_median", "rate_mean", "rate_cv_pct", "latency_p50_us", "cpu_cost", "cpu_busy_pct_machine", "ratio")
    assert {split[name] for name in empty} == {""}
    assert (split["verdict"], split["flags"], split["foreign_pct"]) == ("idle differs", "indicative:7 moved:2", "0.4")
    assert split["modes"].startswith("awake (0 us), ends on CPUs of their own: 4 of median ")
    data = json.loads(summary_tables(mixed, "json"))
    assert [mode["label"] for mode in data["rows"][1]["modes"]] == ["low rates", "high rates"]


@pytest.mark.parametrize("style", ["table", "github"])
def test_a_report_for_people(full: Summary, style: str, golden: Golden) -> None:
    golden(f"report.{style}.txt", summary_tables(full, style))


def test_a_report_as_csv(full: Summary, golden: Golden) -> None:
    golden("report.csv", summary_tables(full, "csv"))


def test_a_quick_look_says_so_first(quick: Summary, golden: Golden) -> None:
    text = summary_tables(quick)
    assert text.startswith("quick look, not a result\n")
    golden("report.quick.txt", text)


def test_a_report_from_emulated_nodes_says_so_first(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", quick=True)
    emulated = replace(plan, lab=replace(plan.lab, emulated=True))
    summary = summarise(emulated, samples_of(emulated))
    both = "quick look, not a result\nemulated processors (QEMU without KVM): not a performance result\n"
    assert summary_tables(summary).startswith(both)
    rows = list(csv.DictReader(io.StringIO(summary_tables(summary, "csv"))))
    assert {row["emulated"] for row in rows} == {"true"}


@pytest.mark.parametrize("width", [NARROW, WIDTH])
def test_no_line_is_wider_than_the_width_and_every_header_is_whole(full: Summary, quick: Summary, width: int) -> None:
    for summary in (full, renamed(full), quick):
        text = summary_tables(summary, width=width)
        assert max(len(line) for line in text.splitlines()) <= width
        headers = " ".join(re.findall(r"(?:^|\n\n)((?:.+\n)+?)-+  -", text)).split()
        whole = " ".join(re.findall(r"^\|(.+)\|\n\|-", summary_tables(summary, "github"), re.MULTILINE)).split()
        assert set(headers) == set(whole) - {"|"}


def renamed(summary: Summary) -> Summary:
    """The same with a setup of a long name."""
    text = json.dumps(encode(summary)).replace('"base-clean', '"cilium-legacy-kpr.current')
    return decode(Summary, json.loads(text), "summary.json")


def test_json_is_the_whole_summary(full: Summary) -> None:
    assert json.loads(summary_tables(full, "json")) == encode(full)


def test_csv_has_the_same_columns_for_every_run(full: Summary, quick: Summary) -> None:
    tables = [list(csv.reader(io.StringIO(summary_tables(summary, "csv")))) for summary in (full, quick)]
    assert tables[0][0] == tables[1][0]
    assert {len(line) for table in tables for line in table} == {len(tables[0][0])}


def test_what_is_missing_is_never_0(full: Summary) -> None:
    (line,) = [line for line in summary_tables(full).splitlines() if line.startswith("pods") and "0/6" in line]
    assert line.split() == ["pods", "0/6", "-", "-", "-", "-", "-", "-", "-", "-"]
    rows = {row["cell"]: row for row in csv.DictReader(io.StringIO(summary_tables(full, "csv")))}
    empty = rows["pods.tcp_crr.max"]
    assert {empty[name] for name in ("rate_median", "ratio", "latency_p50_us", "cpu_cost", "cpu_busy_pct_client")} == {
        ""
    }


def test_one_round_gives_no_verdict(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", workload="tcp_rr", processes="1", rounds="1")
    text = summary_tables(summarise(plan, samples_of(plan)))
    assert "No interval and no verdict below 6 common rounds (planned: 1 round)." in " ".join(text.split())
    assert "95 % interval" in text
    assert "  verdict" not in text


def test_setups_with_different_references_say_which(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", mtu="1500,9000", workload="tcp_rr", processes="1", rounds="1")
    samples = [replace(sample, setup="pods") for sample in _as_pods(plan)]
    text = summary_tables(summarise(plan, samples))
    assert "ratio to" in text
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("pods")][:2] == ["base", "pods"]


def _as_pods(plan: Plan) -> list[Sample]:
    """Samples of a plan with setups that the synthetic factors do not know."""
    known = {"base": "base", "pods": "pods", "pods.mtu9000": "pods"}
    renamed = replace(
        plan,
        setups=tuple(replace(setup, id=known[setup.id]) for setup in plan.setups if setup.id in ("base", "pods")),
        cells=tuple(cell for cell in plan.cells if cell.setup in ("base", "pods")),
        visits=tuple(visit for visit in plan.visits if visit.setup in ("base", "pods")),
    )
    samples = samples_of(renamed)
    jumbo = [
        replace(
            sample, cell=sample.cell.replace("pods.", "pods.mtu9000."), id=sample.id.replace("pods.", "pods.mtu9000.")
        )
        for sample in samples
        if sample.setup == "pods"
    ]
    return [*samples, *jumbo]


def test_nodes_with_kernels_of_their_own_have_cpu_per_end(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="1")
    (sample,) = samples_of(plan)
    apart = replace(sample, shared_kernel=False, cpu=Cpu(client=busy(12.3), server=busy(45.6)))
    text = summary_tables(summarise(plan, [apart]))
    assert any(line.split()[-3:] == ["-", "12.3", "45.6"] for line in text.splitlines())
    assert "share one kernel" not in text


def test_a_sample_in_a_few_words(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="1")
    (sample,) = samples_of(plan, noise=0)
    assert sample.rate is not None
    assert sample_words(replace(sample, rate=replace(sample.rate, value=27411.6))) == "27412 requests/s"
    hurt = replace(sample, rate=replace(sample.rate, value=27411.6), flags=(Flag.INDICATIVE, Flag.FOREIGN_LOAD))
    assert sample_words(hurt) == "27412 requests/s (foreign load)"
    failed = replace(sample, status=Status.FAILED, rate=None, reasons=("no route", "late"))
    assert sample_words(failed) == "failed: no route; late"


def test_visits_under_other_conditions_and_those_cut_short_are_told(quick: Summary) -> None:
    words = "node2: link.mtu changed during this visit: 1500 became 1400"
    past = replace(quick.history, disturbed=(Disturbed("pods", 2, 1, (words,), 3),), unsealed=("base, round 1",))
    lines = summary_tables(replace(quick, history=past), "github")
    assert "Visits under other conditions" in lines
    assert re.search(rf"\| pods +\| +2 \| +1 \| +3 \| {re.escape(words)}", lines)
    assert "Cut short, so that nobody saw whether something changed in them: base, round 1." in lines
    assert "Visits under other conditions" not in summary_tables(quick)
