"""Visits: samples in order, ports that do not meet, and the inventory for Ansible."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import yaml

from labctl import tools
from labctl.catalog import Catalog
from labctl.catalog.lab import LabFacts
from labctl.core.records import encode
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.plan import Plan, Visit, build
from labctl.plan.visit import FIRST_PORT, PORTS, all_samples, samples_for, setup_inventory

LAB = LabFacts("local", "local", "node1", "node2", 2)


def plan_of(catalog: Catalog, **raw: str) -> Plan:
    options = parse_options(RawOptions.of(**raw), catalog)
    return build(options, catalog, LAB, datetime(2026, 3, 4, tzinfo=UTC))


def test_a_visit_takes_its_cells_and_the_next_round_reversed(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr,tcp_crr", processes="1", rounds="2", repeat="2")
    assert [sample.id for sample in samples_for(plan, Visit(1, "base"))] == [
        "base.tcp_rr.1/1-1",
        "base.tcp_crr.1/1-1",
        "base.tcp_rr.1/1-2",
        "base.tcp_crr.1/1-2",
    ]
    assert [sample.id for sample in samples_for(plan, Visit(2, "base"))] == [
        "base.tcp_crr.1/2-1",
        "base.tcp_rr.1/2-1",
        "base.tcp_crr.1/2-2",
        "base.tcp_rr.1/2-2",
    ]


def test_a_sample_says_all_that_measuring_it_needs(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr", processes="max", duration="2", warmup="1")
    (sample,) = samples_for(plan, Visit(1, "base"))
    assert tools.flat(encode(sample)) == {
        "id": "base.tcp_rr.max/1-1",
        "cell": "base.tcp_rr.max",
        "setup": "base",
        "workload": "tcp_rr",
        "processes": 2,
        "processes_label": "max",
        "round": 1,
        "n": 1,
        "deployment": 1,
        "duration_s": 2.0,
        "warmup_s": 1.0,
        "interval_s": 0.2,
        "test": "TCP_RR",
        "options": ["-r", "1,1"],
        "selectors": ["THROUGHPUT", "P50_LATENCY"],
        "idle": "awake",
        "steal_limit_pct": 5,
        "pin": "cores",
        "tunnel": None,
        "mtu": 1500,
        "forwarded": None,
        "tracked": None,
        "data_port": 20000,
        "time_limit_s": 33.0,
    }


def test_every_planned_sample_is_taken_once(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, repeat="2")
    ids = [sample.id for sample in all_samples(plan)]
    assert len(ids) == len(set(ids)) == plan.samples


def test_samples_that_follow_each_other_share_no_port(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, processes="1,max,7", rounds="200")
    taken: dict[int, int] = {}
    for index, sample in enumerate(all_samples(plan)):
        for port in range(sample.data_port, sample.data_port + sample.processes):
            assert FIRST_PORT <= port < FIRST_PORT + PORTS
            assert index - taken.get(port, -PORTS) > 1000
            taken[port] = index


def test_the_inventory_holds_everything_at_host_level(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1")
    inventory = setup_inventory(plan, Visit(1, "base"), ["node1", "node2"], Path("/runs/x/samples"))
    (sample,) = samples_for(plan, Visit(1, "base"))
    assert list(inventory) == ["all"]
    assert (
        inventory["all"]["hosts"]["node1"]
        == inventory["all"]["hosts"]["node2"]
        == {
            "base_rules": ["a", "b"],
            "setup_id": "base",
            "setup_variant": "base",
            "setup_role": "datapath_base",
            "setup_edition": None,
            "setup_encryption": "none",
            "setup_tunnel": None,
            "setup_redirect_peer": False,
            "setup_mtu": 1500,
            "setup_endpoint_mtu": 1500,
            "setup_endpoint": "node",
            "setup_expected": {"conntrack": True},
            "measure_output_dir": "/runs/x/samples",
            "measure_samples": [tools.flat(encode(sample))],
        }
    )


def test_the_inventory_is_plain_yaml_without_aliases(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog)
    inventory = setup_inventory(plan, Visit(1, "pods"), ["node1", "node2"], Path("/runs/x/samples"))
    text = yaml.safe_dump(inventory, sort_keys=False)
    assert "&id" not in text
    assert yaml.safe_load(text) == inventory


def test_what_is_done_is_not_taken_again(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr,tcp_crr", processes="1")
    inventory = setup_inventory(plan, Visit(1, "base"), ["node1"], Path("/x"), done={"base.tcp_rr.1/1-1"})
    samples = inventory["all"]["hosts"]["node1"]["measure_samples"]
    assert [sample["id"] for sample in samples] == ["base.tcp_crr.1/1-1"]
