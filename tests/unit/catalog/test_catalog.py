"""The catalog: what ships loads, and every mistake in it names file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl import catalog
from labctl.catalog import Encryption, Endpoint
from labctl.core.errors import RESTORE, LabctlError, Problem
from labctl.plan.options import QUICK
from tests.unit.synthetic import write_catalog

VARIANT = """\
order: 1
variants:
  a:
    title: t
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
    write_catalog(tmp_path, {"r": variants}, workloads, editions)
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
    variants = VARIANT.replace("endpoint: node", "endpoint: host").replace("title: t", "titel: t")
    workloads = WORKLOAD.replace("TCP_RR", "UDP_RR").replace("THROUGHPUT", "STDEV_LATENCY")
    *first, last = problems(tmp_path, variants, workloads)
    assert [(problem.what, problem.where) for problem in first] == [
        ("unknown key", "variants/r.yml:a.titel"),
        ("missing key", "variants/r.yml:a.title"),
        ("the value is not node or pod", "variants/r.yml:a.endpoint"),
        ("the value is not TCP_STREAM or TCP_MAERTS or TCP_RR or TCP_CRR", "workloads/netperf.yml:w.settings.test"),
    ]
    assert last.what.startswith("the value is not THROUGHPUT or THROUGHPUT_UNITS or")
    assert (last.where, last.seen) == ("workloads/netperf.yml:w.settings.selectors[0]", "'STDEV_LATENCY'")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            ", ipsec: later",
            "",
            Problem("missing key", "variants/r.yml:a.encryptions.ipsec", hint="write true, or the reason against it"),
        ),
        (
            "ipsec: later",
            "ipsec: false",
            Problem("a pair that does not exist has no reason", "variants/r.yml:a.encryptions.ipsec", "False"),
        ),
        (
            "none: true",
            "none: later",
            Problem("every variant exists without encryption", "variants/r.yml:a.encryptions.none"),
        ),
        (
            "vars: {}",
            "vars: {}\n    reference: b",
            Problem("unknown variant", "variants/r.yml:a.reference", "'b'", "known: a"),
        ),
        (
            "vars: {}",
            "vars: {}\n    reference: a",
            Problem("a variant cannot be its own reference", "variants/r.yml:a.reference"),
        ),
        (
            "vars: {}",
            "vars: {}\n    name: a",
            Problem("unknown key", "variants/r.yml:a.name", hint="the file says it: its name is a"),
        ),
        (
            "vars: {}",
            "vars: {}\n    role: s",
            Problem("unknown key", "variants/r.yml:a.role", hint="the file says it: its role is r"),
        ),
        (
            "vars: {}",
            "vars: {}\n    kernel: {options: [], at_least: 'new'}",
            Problem(
                "this is no version of a kernel",
                "variants/r.yml:a.kernel.at_least",
                hint="write it as major.minor, in quotes",
            ),
        ),
        (
            "ipsec: later",
            "ipsecc: later",
            Problem(
                "the value is not none or wireguard or ipsec",
                "variants/r.yml:a.encryptions.ipsecc",
                "'ipsecc'",
                RESTORE,
            ),
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
            Problem("unknown tool", "workloads/netperf.yml:w.tool", "'netprf'", "did you mean netperf? known: netperf"),
        ),
        (
            "unit: requests/s",
            "unit: Gbit/s",
            Problem("netperf does not measure TCP_RR in this unit", "workloads/netperf.yml:w.unit", "Gbit/s"),
        ),
        (
            "options: []",
            "option: []",
            Problem("unknown key", "workloads/netperf.yml:w.settings.option", hint="known: test, options, selectors"),
        ),
    ],
)
def test_a_workload_has_the_settings_of_its_tool(old: str, new: str, problem: Problem, tmp_path: Path) -> None:
    found = problems(tmp_path, workloads=WORKLOAD.replace(old, new))
    assert (problem.what, problem.where, problem.seen) in [(one.what, one.where, one.seen) for one in found]
    assert problem.hint is None or any(problem.hint in (one.hint or "") for one in found)


def test_an_empty_file_is_no_catalog(tmp_path: Path) -> None:
    assert problems(tmp_path, variants="") == (
        Problem("the value is not a mapping", "variants/r.yml", "None", RESTORE),
    )


def test_variants_come_in_the_order_that_their_files_name(tmp_path: Path) -> None:
    first = VARIANT.replace("order: 1", "order: 2")
    (tmp_path / "variants").mkdir()
    (tmp_path / "variants" / "z.yml").write_text(VARIANT.replace("  a:", "  c:"))
    (tmp_path / "variants" / "b.yml").write_text(first.replace("  a:", "  b:"))
    loaded = load(tmp_path, first).variants
    assert [(name, variant.role) for name, variant in loaded.items()] == [("c", "z"), ("b", "b"), ("a", "r")]
    (tmp_path / "variants" / "s.yml").write_text(VARIANT)
    catalog.load.cache_clear()
    assert Problem(
        "a variant by this name exists", "variants/r.yml:a", "s", "give it another name"
    ) in problems(tmp_path, first)  # fmt: skip


def test_what_variants_need_of_a_kernel_is_in_the_fingerprint(repository: Path) -> None:
    read = (repository / "roles" / "fingerprint" / "module_utils" / "fingerprint_machine.py").read_text()
    kernels = [variant.kernel for variant in catalog.load().variants.values() if variant.kernel]
    assert {
        option for kernel in kernels for group in kernel.options for option in group if f'"{option}"' not in read
    } == set()
    assert max(kernel.version for kernel in kernels) == (5, 10)
