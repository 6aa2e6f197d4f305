"""Plans: setups and their references, order, numbers, and the file."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from labctl.catalog import Catalog, Encryption, load
from labctl.catalog.lab import LabFacts, Origin, Source, TunnelFacts
from labctl.catalog.tunnel import Tunnel
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.plan import Plan, Visit, build, interval, order, time_left, to_json
from labctl.plan.stored import RESTORE, from_json
from labctl.plan.visit import all_samples

NOW = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)
LAB = LabFacts("local", "local", "node1", "node2", 2)


def plan_of(catalog: Catalog, lab: LabFacts = LAB, **raw: object) -> Plan:
    return build(parse_options(RawOptions.of(**raw), catalog), catalog, lab, NOW)


def test_cells_are_every_setup_with_every_workload_and_number_of_processes(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr,tcp_crr", rounds="2", repeat="3")
    assert [(cell.id, cell.processes) for cell in plan.cells] == [
        ("base.tcp_rr.1", 1),
        ("base.tcp_rr.max", 2),
        ("base.tcp_crr.1", 1),
        ("base.tcp_crr.max", 2),
    ]
    assert plan.samples == 4 * 2 * 3
    assert [workload.name for workload in plan.workloads] == ["tcp_rr", "tcp_crr"]


def test_a_plan_is_named_after_its_time_and_lab(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog)
    assert (plan.id, plan.created) == ("20260304-050607-local", "2026-03-04T05:06:07Z")
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    options = parse_options(RawOptions(), small_catalog)
    assert build(options, small_catalog, LAB, elsewhere) == plan


def test_a_pod_brings_its_reference_along(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods")
    assert [(setup.id, setup.reference) for setup in plan.setups] == [("base", None), ("pods", "base")]


def test_without_references_a_pod_stands_alone(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", no_reference=True)
    assert [(setup.id, setup.reference) for setup in plan.setups] == [("pods", None)]


def test_a_plain_node_variant_brings_nothing_but_uses_what_is_there(small_catalog: Catalog) -> None:
    alone = plan_of(small_catalog, variant="base-clean")
    assert [(setup.id, setup.reference) for setup in alone.setups] == [("base-clean", None)]
    both = plan_of(small_catalog, variant="base-clean,base")
    assert [(setup.id, setup.reference) for setup in both.setups] == [("base-clean", "base"), ("base", None)]


def test_an_encrypted_jumbo_pod_brings_one_reference_per_difference(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", encryption="wireguard", mtu="9000")
    assert [(setup.id, setup.reference) for setup in plan.setups] == [
        ("base", None),
        ("pods", "base"),
        ("pods.mtu9000", "pods"),
        ("pods+wireguard.mtu9000", "pods.mtu9000"),
    ]


def test_a_variant_comes_in_every_edition_asked_for_with_one_reference_without(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="cluster", edition="2021,current", mtu="9000")
    assert [(setup.id, setup.edition, setup.reference) for setup in plan.setups] == [
        ("base", None, None),
        ("cluster.2021", "2021", "base"),
        ("cluster.mtu9000.2021", "2021", "cluster.2021"),
        ("cluster.current", "current", "base"),
        ("cluster.mtu9000.current", "current", "cluster.current"),
    ]


def test_a_setup_carries_what_deploying_it_needs(small_catalog: Catalog) -> None:
    setup = plan_of(small_catalog, variant="base").setup("base")
    assert (setup.role, setup.endpoint, setup.mtu, setup.edition, setup.copy) == (
        "datapath_base",
        "node",
        1500,
        None,
        1,
    )
    assert (setup.vars, setup.expected) == ({"base_rules": ["a", "b"]}, {"conntrack": True})


def test_the_noise_floor_plans_the_reference_twice(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", noise_floor=True)
    assert [(setup.id, setup.reference, setup.copy) for setup in plan.setups] == [
        ("base", None, 1),
        ("pods", "base", 1),
        ("base#2", "base", 2),
    ]


def test_the_noise_floor_of_a_lone_setup_is_its_own(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", no_reference=True, noise_floor=True)
    assert [(setup.id, setup.reference) for setup in plan.setups] == [("pods", None), ("pods#2", "pods")]


def test_a_pair_that_cannot_exist_is_refused_with_the_reason(small_catalog: Catalog) -> None:
    with pytest.raises(UsageError) as raised:
        plan_of(small_catalog, variant="base,base-clean,pods", encryption="wireguard,ipsec")
    ipsec, wireguard = "these have it: pods", "these have it: base, pods"
    assert raised.value.problems == (
        Problem("base does not exist with encryption ipsec", "--encryption", "needs a kernel with ESP", ipsec),
        Problem("base-clean does not exist with encryption wireguard", "--encryption", "not built yet", wireguard),
        Problem("base-clean does not exist with encryption ipsec", "--encryption", "not built yet", ipsec),
    )


def test_what_was_not_asked_for_by_name_is_left_out_and_said(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, encryption="ipsec")
    assert [setup.id for setup in plan.setups] == ["base", "pods", "pods+ipsec"]
    assert plan.notes == (
        "base is left out with encryption ipsec: needs a kernel with ESP",
        "base-clean is left out with encryption ipsec: not built yet",
    )
    with pytest.raises(UsageError) as raised:
        plan_of(small_catalog, encryption="ipsec", endpoint="node")
    (problem,) = raised.value.problems
    assert problem.what == "no variant exists with this encryption"


def test_the_wireguard_of_the_nodes_is_part_of_a_setup(small_catalog: Catalog) -> None:
    lab = replace(LAB, tunnels=TunnelFacts(wireguard=Tunnel.WIREGUARD_GO))
    plan = plan_of(small_catalog, lab, variant="base", encryption="wireguard", mtu="9000")
    assert [(setup.id, setup.tunnel, setup.endpoint_mtu) for setup in plan.setups] == [
        ("base", None, None),
        ("base.mtu9000", None, None),
        ("base+wireguard-go.mtu9000", Tunnel.WIREGUARD_GO, 8940),
    ]
    assert from_json(json.loads(json.dumps(to_json(plan))), "plan.json") == plan


def test_what_becomes_of_decrypted_packets_is_part_of_a_setup() -> None:
    lab = replace(LAB, tunnels=TunnelFacts(redirect_peer=True))
    plan = plan_of(load(), lab, variant="veth-ebpf,veth-iptables", encryption="ipsec")
    marked = {setup.id: setup for setup in plan.setups if setup.redirect_peer}
    assert list(marked) == ["veth-ebpf+ipsec-peer"]
    assert marked["veth-ebpf+ipsec-peer"].expected["programs"] == {"cable": "cable_ingress"}
    assert marked["veth-ebpf+ipsec-peer"].reference == "veth-ebpf"
    assert from_json(json.loads(json.dumps(to_json(plan))), "plan.json") == plan
    for answer in (False, None):
        lab = replace(LAB, tunnels=TunnelFacts(redirect_peer=answer))
        setup = plan_of(load(), lab, variant="veth-ebpf", encryption="ipsec").setups[-1]
        assert (setup.id, setup.redirect_peer) == ("veth-ebpf+ipsec", False)
        assert setup.expected["programs"] == {"cable": "decrypted_ingress"}


def test_a_cni_that_needs_decrypted_packets_past_the_stack_is_refused_where_they_are_dropped() -> None:
    lab = replace(LAB, tunnels=TunnelFacts(redirect_peer=False))
    with pytest.raises(UsageError) as raised:
        plan_of(load(), lab, variant="cilium-ebpf", encryption="ipsec", edition="current")
    assert "c4327229" in str(raised.value.problems[0].seen)
    for answer in (True, None):
        lab = replace(LAB, tunnels=TunnelFacts(redirect_peer=answer))
        plan = plan_of(load(), lab, variant="cilium-ebpf", encryption="ipsec", edition="current")
        assert plan.setups[-1].id == "cilium-ebpf+ipsec.current"


def test_what_the_nodes_cannot_encrypt_with_is_refused_with_what_they_lack(small_catalog: Catalog) -> None:
    lab = replace(LAB, tunnels=TunnelFacts(lacking={Encryption.IPSEC: "kernel 6.1 lacks CONFIG_INET_ESP"}))
    with pytest.raises(UsageError) as raised:
        plan_of(small_catalog, lab, variant="pods", encryption="ipsec,none")
    (problem,) = raised.value.problems
    assert (problem.what, problem.seen) == (
        "the lab's nodes cannot do encryption ipsec",
        "kernel 6.1 lacks CONFIG_INET_ESP",
    )


def test_a_pair_that_cannot_exist_is_said_to_be_one_on_any_kernel() -> None:
    lab = replace(LAB, edition="2021", tunnels=TunnelFacts(lacking={Encryption.IPSEC: "it lacks CONFIG_INET_ESP"}))
    with pytest.raises(UsageError) as raised:
        plan_of(load(), lab, variant="cilium-ebpf", encryption="ipsec", edition="2021")
    seen = [problem.seen for problem in raised.value.problems]
    assert seen == [
        "it lacks CONFIG_INET_ESP",
        "IPsec in Cilium 1.9 excludes kube-proxy replacement and eBPF host-routing",
    ]


def test_an_mtu_too_small_for_a_tunnel_is_refused(small_catalog: Catalog) -> None:
    assert plan_of(small_catalog, variant="pods", encryption="wireguard", mtu="636").setups[-1].endpoint_mtu == 576
    with pytest.raises(UsageError) as raised:
        plan_of(small_catalog, variant="pods", encryption="none,wireguard,ipsec", mtu="576,635")
    assert [problem.what for problem in raised.value.problems] == [
        "an MTU of 576 is too small for wireguard",
        "an MTU of 635 is too small for wireguard",
        "an MTU of 576 is too small for ipsec",
    ]


def test_an_mtu_beyond_the_cable_is_refused(small_catalog: Catalog) -> None:
    lab = replace(LAB, largest_mtu=3498)
    assert plan_of(small_catalog, lab, variant="base", mtu="1500,3498").cells
    with pytest.raises(UsageError) as raised:
        plan_of(small_catalog, lab, variant="base", mtu="3498,9000")
    (problem,) = raised.value.problems
    assert (problem.where, problem.seen) == ("--mtu", "at most 3498 bytes")
    assert problem.what == "an MTU of 9000 is beyond what the cable of local carries"


def test_too_many_processes_are_refused(small_catalog: Catalog) -> None:
    assert plan_of(small_catalog, processes="8").cells[0].processes == 8
    with pytest.raises(UsageError) as raised:
        plan_of(small_catalog, processes="8,9,1000")
    assert raised.value.problems == tuple(
        Problem(
            "more than 4 processes per CPU thread",
            "--processes",
            seen,
            "the smaller node of local has 2 CPU threads: at most 8",
        )
        for seen in ("9", "1000")
    )


def test_refusals_and_numbers_are_said_together(small_catalog: Catalog) -> None:
    with pytest.raises(UsageError) as raised:
        plan_of(small_catalog, variant="base", encryption="ipsec", processes="9")
    assert [problem.where for problem in raised.value.problems] == ["--encryption", "--processes"]


def test_labels_that_mean_the_same_are_planned_once_and_said(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, lab=LabFacts("small", "vm", "a", "b", 1), variant="base", workload="tcp_rr")
    assert [cell.id for cell in plan.cells] == ["base.tcp_rr.1"]
    assert plan.notes == ("processes max and 1 are the same on this lab: planned once",)


def test_the_order_is_seeded_and_the_next_round_reversed() -> None:
    setups = [f"s{number}" for number in range(6)]
    visits = order(setups, 5, seed=1)
    rounds = [[visit.setup for visit in visits if visit.round == number] for number in range(1, 6)]
    assert all(sorted(one) == setups for one in rounds)
    assert rounds[1] == rounds[0][::-1]
    assert rounds[3] == rounds[2][::-1]
    assert rounds[0] != rounds[2]
    assert order(setups, 5, seed=1) == visits
    assert order(setups, 5, seed=2) != visits


def test_every_setup_has_the_same_mean_position_over_two_rounds() -> None:
    visits = order("abcde", 2, seed=3)
    positions: dict[str, int] = {}
    for index, visit in enumerate(visits):
        positions[visit.setup] = positions.get(visit.setup, 0) + index
    assert set(positions.values()) == {9}
    assert visits[0] == Visit(1, visits[-1].setup)


def test_the_seed_is_the_time_unless_given(small_catalog: Catalog) -> None:
    assert plan_of(small_catalog).seed == int(NOW.timestamp())
    assert plan_of(small_catalog, seed="5").seed == 5


@pytest.mark.parametrize(("duration", "seconds"), [(1, 0.1), (2, 0.2), (9, 0.9), (10, 1.0), (300, 1.0), (0.5, 0.1)])
def test_short_windows_have_short_intervals(duration: float, seconds: float) -> None:
    assert interval(duration) == seconds


def test_the_estimate_counts_windows_and_deployments(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="2")
    assert plan.estimated_s == time_left(plan, 2, plan.visits) == 2 * (10 + 2 + 0.1) + 2 * 5.0
    assert time_left(plan, 1, plan.visits[1:], {"base": 60.0}) == 10 + 2 + 0.1 + 60.0


def test_a_plan_survives_its_file(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, noise_floor=True, encryption="none", pin="cores", idle="awake:2")
    assert from_json(json.loads(json.dumps(to_json(plan))), "plan.json") == plan


def test_a_plan_from_before_there_was_a_policy_was_measured_with_the_machines_own_sleep(
    small_catalog: Catalog,
) -> None:
    data = to_json(plan_of(small_catalog))
    del data["idle"], data["lab"]["awake_refused"]
    assert from_json(data, "plan.json").idle == "system"
    assert {sample.idle for sample in all_samples(from_json(data, "plan.json"))} == {"system"}


@pytest.mark.parametrize("asked", ["awake", "awake:50"])
def test_where_nothing_can_be_kept_awake_the_plan_says_so_once(small_catalog: Catalog, asked: str) -> None:
    lab = replace(LAB, awake_refused="node2 has no /dev/cpu_dma_latency")
    plan = plan_of(small_catalog, lab, variant="base", idle=asked)
    assert (plan.idle, plan.notes) == ("system", (f"idle: system instead of {asked}: {lab.awake_refused}",))
    wanted = plan_of(small_catalog, lab, variant="base", idle="system")
    assert (wanted.idle, wanted.notes) == ("system", ())
    assert plan_of(small_catalog, variant="base", idle=asked).idle == asked


@pytest.mark.parametrize(("kind", "pin"), [("local", "cores"), ("vm", "none"), ("metal", "none"), ("cluster", "none")])
def test_ends_on_one_kernel_get_cpus_of_their_own_unless_told_otherwise(
    small_catalog: Catalog, kind: str, pin: str
) -> None:
    lab = replace(LAB, kind=kind)
    assert plan_of(small_catalog, lab, variant="base").pin == pin
    assert {plan_of(small_catalog, lab, variant="base", pin=asked).pin for asked in ("none", "cores")} == {
        *("none", "cores")
    }


def test_a_plan_of_another_schema_is_refused(small_catalog: Catalog) -> None:
    data = to_json(plan_of(small_catalog)) | {"schema": "labctl.plan/2"}
    with pytest.raises(LabctlError) as raised:
        from_json(data, "runs/x/plan.json")
    assert raised.value.problems == (
        Problem(
            "the schema is not labctl.plan/1",
            "runs/x/plan.json:schema",
            '"labctl.plan/2"',
            "use the labctl that wrote it (attempts/1.json says which), or measure again with this one",
        ),
    )


def test_a_damaged_plan_names_its_place(small_catalog: Catalog) -> None:
    data = to_json(plan_of(small_catalog))
    data["visits"][1]["round"] = "1"
    with pytest.raises(LabctlError) as raised:
        from_json(data, "plan.json")
    where = "plan.json:visits[1].round"
    assert raised.value.problems == (Problem("the value is not a whole number", where, "'1'", RESTORE),)


def test_without_known_threads_max_has_no_number_and_is_planned_for(small_catalog: Catalog) -> None:
    lab = replace(LAB, threads=None, origin=Origin(Source.INVENTORY, None, "away"))
    plan = plan_of(small_catalog, lab, variant="base", workload="tcp_rr", processes="1,max,100000")
    assert [(cell.id, cell.processes) for cell in plan.cells] == [
        ("base.tcp_rr.1", 1),
        ("base.tcp_rr.max", None),
        ("base.tcp_rr.100000", 100000),
    ]
    assert plan.estimated_s == plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1,4,5").estimated_s
    assert from_json(json.loads(json.dumps(to_json(plan))), "plan.json") == plan
    with pytest.raises(LabctlError, match="how many processes max is"):
        all_samples(plan)
