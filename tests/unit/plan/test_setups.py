"""Setups: what comes of a choice, in which order, compared with what, and why some do not exist."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labctl.catalog import Catalog, Encryption, load
from labctl.catalog.lab import LabFacts, TunnelFacts
from labctl.catalog.tunnel import Tunnel
from labctl.core.errors import Problem
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.setups import Selection, select

LAB = LabFacts("local", "local", "node1", "node2", 2)


def selected(catalog: Catalog, lab: LabFacts = LAB, **raw: object) -> Selection:
    return select(parse_options(RawOptions.of(**raw), catalog, lab.kind), catalog, lab)


def ids(selection: Selection) -> list[str]:
    return [setup.id for setup in selection.setups]


def test_setups_are_the_product_of_what_is_asked_for(small_catalog: Catalog) -> None:
    asked = selected(small_catalog, variant="base,pods", encryption="none,wireguard", mtu="1500,9000")
    assert ids(asked) == [
        "base",
        "base.mtu9000",
        "base+wireguard",
        "base+wireguard.mtu9000",
        "pods",
        "pods.mtu9000",
        "pods+wireguard",
        "pods+wireguard.mtu9000",
    ]


def test_every_reference_differs_in_one_thing(small_catalog: Catalog) -> None:
    asked = selected(small_catalog, variant="pods,cluster", edition="2021,current", encryption="none", mtu="1500,9000")
    setups = {setup.id: setup for setup in asked.setups}
    for setup in asked.setups:
        if setup.reference is None:
            continue
        other = setups[setup.reference]
        differing = [name for name in ("variant", "encryption", "mtu") if getattr(setup, name) != getattr(other, name)]
        assert len(differing) == 1
        # The edition goes with the variant: it changes where the other path has none, and nowhere else.
        assert setup.edition == other.edition or (differing, other.edition) == (["variant"], None)


def test_the_edition_that_nobody_asked_for_is_the_labs_and_a_note_says_so() -> None:
    asked = selected(load(), replace(LAB, edition="current"), variant="k8s-ptp,cilium-legacy")
    assert ids(asked) == ["baseline", "k8s-ptp.current", "cilium-legacy.current"]
    assert asked.notes == ("edition current: none was asked for, and the lab's is this one",)
    named = selected(load(), replace(LAB, edition="current"), variant="k8s-ptp", edition="current")
    assert (ids(named), named.notes) == (["baseline", "k8s-ptp.current"], ())
    without = selected(load(), replace(LAB, edition="current"), variant="baseline")
    assert (ids(without), without.notes) == (["baseline"], ())


def test_a_variant_on_kubernetes_wants_an_edition_that_it_comes_in(small_catalog: Catalog) -> None:
    (problem,) = selected(small_catalog, variant="cluster").refusals
    assert problem == Problem(
        "cluster comes in editions, and none of them is asked for",
        "--edition",
        "the lab has no edition of its own",
        "give one or more of: 2021, current",
    )
    (other,) = selected(small_catalog, replace(LAB, edition="2030"), variant="cluster").refusals
    assert (other.seen, other.hint) == ("the lab's own is 2030", problem.hint)


def test_another_edition_than_the_labs_is_refused_as_ever() -> None:
    (problem,) = selected(load(), replace(LAB, edition="current"), variant="k8s-ptp", edition="2021").refusals
    assert (problem.what, problem.seen) == ("the cluster of lab local is of another edition", "2021, not current")


def test_a_reference_on_another_path_keeps_the_edition_that_it_comes_in() -> None:
    asked = selected(load(), variant="cilium-legacy", edition="2021")
    assert [(setup.id, setup.reference) for setup in asked.setups] == [
        ("baseline", None),
        ("k8s-ptp.2021", "baseline"),
        ("cilium-legacy.2021", "k8s-ptp.2021"),
    ]


def test_a_reference_comes_before_what_is_compared_with_it_and_once(small_catalog: Catalog) -> None:
    asked = selected(small_catalog, variant="pods,cluster,base", edition="current")
    assert ids(asked) == ["base", "pods", "cluster.current"]


def test_a_reference_that_is_not_planned_is_none(small_catalog: Catalog) -> None:
    asked = selected(small_catalog, variant="pods", mtu="9000", encryption="wireguard", no_reference=True)
    assert [(setup.id, setup.reference) for setup in asked.setups] == [("pods+wireguard.mtu9000", None)]


def test_every_root_that_is_used_has_a_copy(small_catalog: Catalog) -> None:
    asked = selected(small_catalog, variant="base,base-clean,pods", noise_floor=True)
    assert [(setup.id, setup.copy) for setup in asked.setups if setup.copy > 1] == [("base#2", 2)]


def test_a_setup_says_what_its_proof_has_to_see() -> None:
    asked = selected(
        load(), replace(LAB, tunnels=TunnelFacts(Tunnel.KERNEL)), variant="veth-ebpf", encryption="wireguard"
    )
    plain, encrypted = (setup for setup in asked.setups if setup.variant == "veth-ebpf")
    assert plain.expected["programs"] == {"cable": "cable_ingress", "pod": "pod_ingress"}
    assert encrypted.expected["programs"] == {"tunnel": "tunnel_ingress", "pod": "pod_ingress"}
    assert (encrypted.tunnel, encrypted.endpoint_mtu, encrypted.redirect_peer) == (Tunnel.KERNEL, 1440, False)


def test_a_pair_left_out_is_noted_once_whatever_else_varies(small_catalog: Catalog) -> None:
    asked = selected(small_catalog, encryption="none,ipsec", mtu="1500,9000")
    assert asked.notes == (
        "base is left out with encryption ipsec: needs a kernel with ESP",
        "base-clean is left out with encryption ipsec: not built yet",
    )
    assert asked.refusals == ()


def test_a_pair_asked_for_by_name_is_refused_once_with_its_edition() -> None:
    asked = selected(load(), variant="cilium-ebpf", edition="2021,current", encryption="ipsec", mtu="1500,9000")
    assert [problem.what for problem in asked.refusals] == [
        "cilium-ebpf of edition 2021 does not exist with encryption ipsec"
    ]


def test_where_nothing_is_left_the_reasons_are_said(small_catalog: Catalog) -> None:
    asked = selected(small_catalog, encryption="ipsec", endpoint="node")
    (problem,) = asked.refusals
    assert (problem.what, problem.where) == ("no variant exists with this encryption", "--encryption")
    assert problem.hint == "; ".join(asked.notes)


@pytest.mark.parametrize(
    ("facts", "option"),
    [
        ({"tunnels": TunnelFacts(lacking={Encryption.WIREGUARD: "no CONFIG_TUN"})}, "--encryption"),
        ({"largest_mtu": 1500}, "--mtu"),
        ({"edition": "2021"}, "--edition"),
    ],
)
def test_what_the_lab_cannot_do_is_said_once_for_all_variants(facts: dict[str, object], option: str) -> None:
    asked = selected(
        load(),
        replace(LAB, **facts),  # type: ignore[arg-type]
        variant="baseline,veth-iptables,cilium-legacy",
        edition="current",
        encryption="wireguard",
        mtu="9000",
    )
    assert [problem.where for problem in asked.refusals] == [option]


def test_a_setup_has_the_values_of_all_dimensions(small_catalog: Catalog) -> None:
    (setup,) = selected(small_catalog, variant="base").setups
    assert {name: setup.values[name] for name in ("encryption", "edition", "mtu", "tunnel", "endpoint_mtu")} == {
        "encryption": "none",
        "edition": None,
        "mtu": 1500,
        "tunnel": None,
        "endpoint_mtu": None,
    }
