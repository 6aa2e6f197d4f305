"""Reports for people and machines, against golden files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from labctl.catalog import Catalog
from labctl.core.records import decode, encode
from labctl.core.tables import NARROW, WIDTH, render
from labctl.plan.plan import Plan
from labctl.results.summary import Summary, summarise
from labctl.results.tables import FLAG_TEXTS, document, sample_words
from labctl.samples.quantities import Cpu
from labctl.samples.sample import Flag, Sample, Status
from tests.unit.synthetic import busy, plan_of, samples_of

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


def test_every_flag_is_explained_where_it_occurs(small_catalog: Catalog) -> None:
    assert set(FLAG_TEXTS) == set(Flag)
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="1")
    (sample,) = samples_of(plan)
    for flag, text in FLAG_TEXTS.items():
        shown = summary_tables(summarise(plan, [replace(sample, flags=(flag,))]), "github")
        assert text in shown.splitlines()


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
    failed = replace(sample, status=Status.FAILED, rate=None, reasons=("no route", "late"))
    assert sample_words(failed) == "failed: no route; late"
