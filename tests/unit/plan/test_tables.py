"""Plans for people, against golden files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from labctl.catalog import Catalog
from labctl.catalog.lab import LabFacts, Origin, Source
from labctl.core.tables import NARROW, WIDTH, render
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.plan import Plan, build
from labctl.plan.stored import from_json
from labctl.plan.tables import document

Golden = Callable[[str, str], None]


def plan_tables(content: Plan, style: str = "table", width: int = WIDTH) -> str:
    return render(document(content), style, width)


@pytest.fixture
def plan(small_catalog: Catalog) -> Plan:
    raw = RawOptions(variant="pods", processes="1,max", workload="tcp_rr", rounds="14", seed="1", noise_floor=True)
    lab = LabFacts("local", "local", "node1", "node2", 2)
    return build(parse_options(raw, small_catalog), small_catalog, lab, datetime(2026, 3, 4, tzinfo=UTC))


@pytest.mark.parametrize("style", ["table", "github"])
def test_a_plan_for_people(plan: Plan, style: str, golden: Golden) -> None:
    golden(f"plan.{style}.txt", plan_tables(plan, style))


def test_a_quick_plan_says_so_and_notes_what_was_settled(small_catalog: Catalog, golden: Golden) -> None:
    raw = RawOptions(variant="base", processes="1,max", quick=True, seed="1")
    lab = LabFacts("small", "vm", "a", "b", 1)
    quick = build(parse_options(raw, small_catalog), small_catalog, lab, datetime(2026, 3, 4, tzinfo=UTC))
    text = plan_tables(quick)
    assert text.startswith("quick look, not a result\n")
    golden("plan.quick.txt", text)


def test_a_plan_for_emulated_nodes_says_so_and_so_does_its_file(plan: Plan) -> None:
    emulated = replace(plan, lab=replace(plan.lab, emulated=True))
    assert plan_tables(emulated).startswith("emulated processors (QEMU without KVM): not a performance result\n")
    assert from_json(json.loads(plan_tables(emulated, "json")), "stdout").lab.emulated


@pytest.mark.parametrize("width", [NARROW, WIDTH])
def test_no_line_is_wider_than_the_width_and_headers_are_whole(plan: Plan, width: int) -> None:
    text = plan_tables(plan, width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert {"encryption", "compared", "with", "processes", "samples", "round"} <= set(text.split())


def test_a_plan_as_json_is_its_file(plan: Plan) -> None:
    assert from_json(json.loads(plan_tables(plan, "json")), "stdout") == plan


def test_a_plan_as_csv_is_its_cells(plan: Plan) -> None:
    rows = list(csv.DictReader(io.StringIO(plan_tables(plan, "csv"))))
    assert [row["setup"] for row in rows] == [cell.setup for cell in plan.cells]
    assert {row["samples"] for row in rows} == {"14"}


def test_a_plan_says_how_cpus_sleep_and_where_ends_run(plan: Plan) -> None:
    assert "\nIdle: awake; pinned: cores.\n" in plan_tables(plan)
    rows = list(csv.DictReader(io.StringIO(plan_tables(plan, "csv"))))
    assert {(row["idle"], row["pin"]) for row in rows} == {("awake", "cores")}


def test_a_plan_that_is_not_from_a_look_now_says_so(plan: Plan) -> None:
    origin = Origin(Source.LAST_LOOK, "2026-11-29T10:12:59+00:00", "it does not run now")
    earlier = replace(plan, lab=replace(plan.lab, origin=origin))
    assert "\nFrom the last look at the lab on 2026-11-29 10:12 UTC: it does not run now.\n" in plan_tables(earlier)
    assert json.loads(plan_tables(earlier, "json"))["lab"]["origin"] == {
        "source": "last look",
        "time": "2026-11-29T10:12:59+00:00",
        "why": "it does not run now",
    }


@pytest.mark.parametrize(("processes", "assumed"), [("1,max", True), ("max", False), ("1,2", False)])
def test_a_plan_from_an_inventory_says_what_is_open(small_catalog: Catalog, processes: str, assumed: bool) -> None:
    lab = LabFacts("far", "metal", "a", "b", None, origin=Origin(Source.INVENTORY, None, "b cannot be reached now"))
    options = parse_options(RawOptions(variant="base", processes=processes, seed="1"), small_catalog)
    text = plan_tables(build(options, small_catalog, lab, datetime(2026, 3, 4, tzinfo=UTC))).replace("\n", " ")
    assert "From the inventory alone: b cannot be reached now. Not known: CPU threads," in text
    assert ("takes max for another number" in text) is assumed
