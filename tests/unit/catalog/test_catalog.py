"""The catalog: what ships loads, and every mistake in it names file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl import catalog
from labctl.catalog import Encryption, Endpoint
from labctl.core.errors import LabctlError, Problem
from labctl.plan.options import QUICK

VARIANT = """\
a:
  title: t
  role: r
  endpoint: node
  encryptions: {none: true, wireguard: later, ipsec: later}
  expected: {}
  vars: {}
"""
WORKLOAD = """\
w: {title: t, tool: netperf, metric: m, unit: requests/s, latency: true, packets_per_unit: [2, 2],
    settings: {test: TCP_RR, options: [], selectors: [THROUGHPUT]}}
"""


def load(tmp_path: Path, variants: str = VARIANT, workloads: str = WORKLOAD, editions: str = "{}") -> catalog.Catalog:
    (tmp_path / "variants.yml").write_text(variants)
    (tmp_path / "workloads.yml").write_text(workloads)
    (tmp_path / "editions.yml").write_text(editions)
    return catalog.load(tmp_path)


def problems(tmp_path: Path, variants: str = VARIANT, workloads: str = WORKLOAD) -> tuple[Problem, ...]:
    with pytest.raises(LabctlError) as raised:
        load(tmp_path, variants, workloads)
    return raised.value.problems


def test_the_shipped_catalog_has_the_variants_of_the_local_lab(repository: Path) -> None:
    shipped = catalog.load()
    without_cluster = ["baseline", "baseline-notrack", "baseline-clean", "veth-iptables", "veth-ebpf"]
    cilium = ["cilium-ebpf", "cilium-legacy", "cilium-legacy-kpr"]
    assert list(shipped.variants) == [*without_cluster, "k8s-ptp", *cilium, "cluster-host", "cluster-pod"]
    assert list(shipped.workloads) == ["tcp_stream", "tcp_rr", "tcp_crr"]
    for variant in shipped.variants.values():
        assert (repository / "roles" / variant.role).is_dir(), f"{variant.name} has no role"
        baseline = "cluster-host" if variant.labs else "k8s-ptp" if variant.name in cilium else "baseline"
        assert variant.reference == (None if variant.name == baseline else baseline)
        assert (variant.endpoint is Endpoint.POD) == variant.name.startswith(
            ("veth-", "k8s-", "cilium-", "cluster-pod")
        )


def test_a_variant_exists_on_the_labs_that_it_names_else_where_labctl_reaches_the_nodes() -> None:
    variants = catalog.load().variants
    assert variants["cluster-pod"].exists_on("cluster")
    assert not variants["cluster-pod"].exists_on("local")
    assert variants["k8s-ptp"].exists_on("metal")
    assert not variants["k8s-ptp"].exists_on("cluster")


def test_every_shipped_refusal_has_a_reason() -> None:
    for variant in catalog.load().variants.values():
        for edition in variant.editions or (None,):
            assert variant.refusal(Encryption.NONE, edition) is None
            for encryption in (Encryption.WIREGUARD, Encryption.IPSEC):
                reason = variant.refusal(encryption, edition)
                assert reason is None or len(reason) > 10


def test_a_quick_look_is_at_things_that_exist() -> None:
    shipped = catalog.load()
    assert set(QUICK.variants) <= set(shipped.variants)
    assert set(QUICK.workloads) <= set(shipped.workloads)


def test_the_catalog_is_read_once() -> None:
    assert catalog.load() is catalog.load()


def test_mistakes_of_all_files_come_together(tmp_path: Path) -> None:
    variants = VARIANT.replace("endpoint: node", "endpoint: host").replace("  role: r\n", "  rolle: r\n")
    workloads = WORKLOAD.replace("TCP_RR", "UDP_RR").replace("THROUGHPUT", "STDEV_LATENCY")
    *first, last = problems(tmp_path, variants, workloads)
    assert [(problem.what, problem.where) for problem in first] == [
        ("unknown key", "variants.yml:a.rolle"),
        ("missing key", "variants.yml:a.role"),
        ("the value is not node or pod", "variants.yml:a.endpoint"),
        ("the value is not TCP_STREAM or TCP_MAERTS or TCP_RR or TCP_CRR", "workloads.yml:w.settings.test"),
    ]
    assert last.what.startswith("the value is not THROUGHPUT or THROUGHPUT_UNITS or")
    assert (last.where, last.seen) == ("workloads.yml:w.settings.selectors[0]", "'STDEV_LATENCY'")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            ", ipsec: later",
            "",
            Problem("missing key", "variants.yml:a.encryptions.ipsec", hint="write true, or the reason against it"),
        ),
        (
            "ipsec: later",
            "ipsec: false",
            Problem("a pair that does not exist has no reason", "variants.yml:a.encryptions.ipsec", "False"),
        ),
        (
            "none: true",
            "none: later",
            Problem("every variant exists without encryption", "variants.yml:a.encryptions.none"),
        ),
        (
            "vars: {}",
            "vars: {}\n  reference: b",
            Problem("unknown variant", "variants.yml:a.reference", "'b'", "known: a"),
        ),
        (
            "vars: {}",
            "vars: {}\n  reference: a",
            Problem("a variant cannot be its own reference", "variants.yml:a.reference"),
        ),
        (
            "vars: {}",
            "vars: {}\n  name: a",
            Problem("unknown key", "variants.yml:a.name", hint="the entry's key is its name"),
        ),
        (
            "ipsec: later",
            "ipsecc: later",
            Problem("the value is not none or wireguard or ipsec", "variants.yml:a.encryptions.ipsecc", "'ipsecc'"),
        ),
    ],
)
def test_a_mistake_names_its_place(old: str, new: str, problem: Problem, tmp_path: Path) -> None:
    assert problem in problems(tmp_path, VARIANT.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "tool: netperf",
            "tool: netprf",
            Problem("unknown tool", "workloads.yml:w.tool", "'netprf'", "did you mean netperf? known: netperf"),
        ),
        (
            "unit: requests/s",
            "unit: Gbit/s",
            Problem("netperf does not measure TCP_RR in this unit", "workloads.yml:w.unit", "Gbit/s"),
        ),
        (
            "options: []",
            "option: []",
            Problem("unknown key", "workloads.yml:w.settings.option", hint="known: test, options, selectors"),
        ),
    ],
)
def test_a_workload_has_the_settings_of_its_tool(old: str, new: str, problem: Problem, tmp_path: Path) -> None:
    found = problems(tmp_path, workloads=WORKLOAD.replace(old, new))
    assert (problem.what, problem.where, problem.seen) in [(one.what, one.where, one.seen) for one in found]
    assert problem.hint is None or any(problem.hint in (one.hint or "") for one in found)


def test_an_empty_file_is_no_catalog(tmp_path: Path) -> None:
    assert problems(tmp_path, variants="") == (Problem("the value is not a mapping", "variants.yml", "None"),)
