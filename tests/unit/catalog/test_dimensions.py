"""Dimensions: what each reads, refuses and settles, and all that follows from one that is only registered."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labctl.catalog import CLUSTER, Catalog, Encryption, dimensions, load
from labctl.catalog.dimensions import Choice, Dimension, Value
from labctl.catalog.dimensions.edition import EDITION
from labctl.catalog.dimensions.encryption import ENCRYPTION
from labctl.catalog.dimensions.mtu import MTU
from labctl.catalog.lab import LabFacts, TunnelFacts
from labctl.catalog.tunnel import Tunnel
from labctl.core.errors import Problem, UsageError
from labctl.core.tables import render
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.plan import Plan, Visit, build, to_json
from labctl.plan.stored import from_json
from labctl.plan.tables import document
from labctl.plan.visit import setup_inventory

LAB = LabFacts("local", "local", "node1", "node2", 2)
QOS = Dimension(
    name="qos",
    help="Queueing on the cable, separated by commas: none, fq [default: none].",
    plain="none",
    words=("none", "fq"),
    mark=".{}",
    header="queueing",
)


def choice(variant: str, lab: LabFacts = LAB, **values: Value) -> Choice:
    plain: dict[str, Value] = {one.name: one.plain for one in dimensions.ALL}
    return Choice(load().variants[variant], plain | values, lab)


def plan_of(catalog: Catalog, **raw: object) -> Plan:
    return build(parse_options(RawOptions.of(**raw), catalog), catalog, LAB, datetime(2026, 3, 4, tzinfo=UTC))


@pytest.mark.parametrize(
    ("dimension", "word", "value"),
    [(ENCRYPTION, "ipsec", Encryption.IPSEC), (EDITION, "2021", "2021"), (MTU, "9000", 9000), (QOS, "fq", "fq")],
)
def test_a_word_is_read_as_a_value(dimension: Dimension, word: str, value: Value, small_catalog: Catalog) -> None:
    assert dimension.read(word, small_catalog) == value
    with pytest.raises(UsageError) as raised:
        dimension.read("nonsense", small_catalog)
    assert [problem.where for problem in raised.value.problems] == [f"--{dimension.name}"]


def test_plain_values_name_nothing() -> None:
    values = {key: value for one in dimensions.ALL for key, value in one.settle(choice("veth-iptables")).items()}
    assert [one.label(values) for one in dimensions.ALL] == ["", "", ""]


@pytest.mark.parametrize(
    ("wireguard", "label"),
    [(None, "+wireguard"), (Tunnel.KERNEL, "+wireguard"), (Tunnel.WIREGUARD_GO, "+wireguard-go")],
)
def test_an_encryption_is_named_after_the_tunnel_that_the_nodes_have(wireguard: Tunnel | None, label: str) -> None:
    lab = replace(LAB, tunnels=TunnelFacts(wireguard))
    assert ENCRYPTION.label(ENCRYPTION.settle(choice("baseline", lab, encryption="wireguard"))) == label


def test_decrypted_packets_that_survive_the_peer_are_part_of_the_name() -> None:
    lab = replace(LAB, tunnels=TunnelFacts(redirect_peer=True))
    settled = ENCRYPTION.settle(choice("veth-ebpf", lab, encryption="ipsec"))
    assert ENCRYPTION.label(settled) == "+ipsec-peer"
    assert ENCRYPTION.variables(settled) == {
        "setup_encryption": "ipsec",
        "setup_tunnel": "esp",
        "setup_redirect_peer": True,
    }


def test_a_cni_takes_the_kernels_wireguard_alone() -> None:
    lab = replace(LAB, tunnels=TunnelFacts(Tunnel.WIREGUARD_GO))
    cilium = choice("cilium-legacy", lab, encryption="wireguard", edition="current")
    assert "no wireguard-go" in str(ENCRYPTION.refusal(cilium))
    assert ENCRYPTION.refusal(choice("baseline", lab, encryption="wireguard")) is None


@pytest.mark.parametrize(
    ("variant", "encryption", "inside"),
    [
        ("baseline", "none", None),
        ("baseline", "wireguard", 8940),
        ("baseline", "ipsec", 8946),
        ("cilium-ebpf", "ipsec", 8923),  # Cilium's own arithmetic
    ],
)
def test_a_tunnel_takes_of_the_mtu(variant: str, encryption: str, inside: int | None) -> None:
    settled = MTU.settle(choice(variant, encryption=encryption, edition="current", mtu=9000))
    assert settled == {"mtu": 9000, "endpoint_mtu": inside}
    assert MTU.variables(settled)["setup_endpoint_mtu"] == (inside or 9000)


def test_an_mtu_is_refused_where_it_is_not_ours_to_set() -> None:
    assert MTU.refused_on("metal", "9000") is None
    refused = MTU.refused_on(CLUSTER, "9000")
    assert refused is not None
    assert refused.where == "--mtu"


def test_a_cluster_is_of_one_edition() -> None:
    lab = replace(LAB, edition="2021")
    assert list(EDITION.problems(choice("k8s-ptp", lab, edition="2021"))) == []
    assert list(EDITION.problems(choice("baseline", lab))) == []
    assert [problem.seen for problem in EDITION.problems(choice("k8s-ptp", lab, edition="current"))] == [
        "current, not 2021"
    ]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more dimension, of which nothing but its record is known anywhere."""
    monkeypatch.setattr(dimensions, "ALL", (*dimensions.ALL, QOS))


@pytest.mark.usefixtures("registered")
def test_a_dimension_that_is_only_registered_is_planned(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", encryption="ipsec", qos="fq", mtu="9000")
    assert [(setup.id, setup.reference) for setup in plan.setups] == [
        ("base", None),
        ("pods", "base"),
        ("pods.fq", "pods"),
        ("pods.mtu9000.fq", "pods.fq"),
        ("pods+ipsec.mtu9000.fq", "pods.mtu9000.fq"),
    ]
    assert from_json(to_json(plan), "plan.json") == plan


@pytest.mark.usefixtures("registered")
def test_a_dimension_that_is_only_registered_reaches_the_nodes_and_the_table(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="cluster", edition="2021", qos="none,fq")
    variables = {
        setup.id: setup_inventory(plan, Visit(1, setup.id), ["node1"], Path("/x"))["all"]["hosts"]["node1"]["setup_qos"]
        for setup in plan.setups
    }
    assert variables == {"base": "none", "cluster.2021": "none", "cluster.fq.2021": "fq"}
    shown = render(document(plan))
    assert re.search(r"encryption +MTU +queueing +ends", shown)
    assert re.search(r"cluster\.fq\.2021 +cluster +none +1500 +fq ", shown)


@pytest.mark.usefixtures("registered")
def test_a_dimension_that_is_only_registered_is_checked_as_an_option(small_catalog: Catalog) -> None:
    with pytest.raises(UsageError) as raised:
        plan_of(small_catalog, qos="fk,fq,fq")
    assert raised.value.problems == (
        Problem("unknown qos", "--qos", "'fk'", "known: none, fq"),
        Problem("an entry is written twice", "--qos", "'fq'", "name it once"),
    )


def test_a_dimension_that_is_only_registered_is_an_option_of_the_command_line(repository: Path) -> None:
    script = (
        "import runpy, sys; from labctl.catalog import dimensions; from labctl.catalog.dimensions import Dimension; "
        f"dimensions.ALL = (*dimensions.ALL, {QOS!r}); sys.argv = ['labctl', *sys.argv[1:]]; "
        "runpy.run_module('labctl', run_name='__main__')"
    )

    def labctl(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", script, *words]
        return subprocess.run(argv, capture_output=True, text=True, cwd=repository, check=False)

    assert "--qos" in labctl("plan", "--help").stdout
    refused = labctl("plan", "--qos", "fk")
    assert (refused.returncode, "unknown qos" in refused.stderr) == (2, True)
    resumed = labctl("matrix", "--resume", "latest", "--qos", "fq")
    assert (resumed.returncode, "--qos" in resumed.stderr) == (2, True)


def test_a_plan_older_than_a_dimension_means_its_plain_value(
    small_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = to_json(plan_of(small_catalog, variant="base"))
    for setup in old["setups"]:
        del setup["others"]
    monkeypatch.setattr(dimensions, "ALL", (*dimensions.ALL, QOS))
    (setup,) = from_json(old, "plan.json").setups
    assert QOS.variables(setup.values) == {"setup_qos": "none"}


@pytest.mark.parametrize("dimension", dimensions.ALL, ids=lambda one: one.name)
def test_the_documentation_follows_from_the_record(dimension: Dimension, repository: Path) -> None:
    variables = ", ".join(f"`{name}`" for name in dimension.variables(dimension.settle(choice("baseline"))))
    plain = "-" if dimension.plain is None else f"`{dimension.plain}`"
    role = "the variant's" if dimension.role is None else f"`{dimension.role}`"
    row = f"| `{dimension.option}` | {plain} | `{dimension.mark}` | {variables} | {role} |"
    assert row in (repository / "docs" / "variants.md").read_text(encoding="utf-8")
    assert dimension.role is None or (repository / "roles" / dimension.role).is_dir()


def test_a_cluster_whose_bundle_lacks_what_a_variant_needs_is_told_with_the_way_out() -> None:
    needed = load().editions["current"].needed_by("cilium-ebpf")
    without = replace(LAB, edition="current", carried=("kubelet", *needed[2:]))
    (problem,) = EDITION.problems(choice("cilium-ebpf", without, edition="current"))
    assert problem.what == "the cluster of lab local does not have what cilium-ebpf needs"
    assert problem.seen == f"not in the bundle of edition current that made it: {', '.join(needed[:2])}"
    assert "labctl bundle create --edition current --variant cilium-ebpf DIR" in str(problem.hint)
    for lab in (replace(without, carried=needed), replace(without, carried=None), LAB):
        assert not list(EDITION.problems(choice("cilium-ebpf", lab, edition="current")))
    assert not list(EDITION.problems(choice("k8s-ptp", without, edition="current")))
