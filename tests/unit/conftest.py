"""What unit tests share: a small catalog of the shape of the real one, and golden files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labctl import catalog
from tests.unit.synthetic import write_catalog

VARIANTS = {
    "datapath_base": """\
order: 1
variants:
  base:
    title: node to node
    endpoint: node
    encryptions: {none: true, wireguard: true, ipsec: "needs a kernel with ESP"}
    expected: {conntrack: true}
    vars: {base_rules: [a, b]}
  base-clean:
    title: node to node, no hook
    endpoint: node
    encryptions: {none: true, wireguard: "not built yet", ipsec: "not built yet"}
    reference: base
    expected: {conntrack: false}
    vars: {}
""",
    "datapath_pods": """\
order: 2
variants:
  pods:
    title: pods through the stack
    endpoint: pod
    encryptions: {none: true, wireguard: true, ipsec: true}
    reference: base
    expected: {conntrack: true}
    vars: {}
""",
    "datapath_cluster": """\
order: 3
variants:
  cluster:
    title: pods of a cluster
    endpoint: pod
    encryptions: {none: true, wireguard: "not built yet", ipsec: "not built yet"}
    reference: base
    expected: {}
    vars: {}
    editions: ["2021", current]
""",
}


EDITION = """
  kubernetes: 1.20.2
  kernel: {low: "4.19", below: null}
  cgroups: [1]
  locations: {site: "http://site"}
  files: {tool: {version: "1.0", use: program, origin: "{site}/{version}/{architecture}/tool", sha256: {}}}
  images: {pause: {reference: "r.k8s.io/pause:3", origin: "{site}/pause:3", digest: null}}
"""
EDITIONS = f"""\
"2021":
  title: old{EDITION}
current:
  title: new{EDITION}
"""


WORKLOADS = """\
tcp_stream:
  {title: bulk, tool: netperf, metric: throughput, unit: Gbit/s, latency: false, packets_per_unit: null,
   settings: {test: TCP_STREAM, options: [-m, "65536"], selectors: [THROUGHPUT]}}
tcp_rr:
  {title: requests, tool: netperf, metric: request rate, unit: requests/s, latency: true, packets_per_unit: [2, 2],
   settings: {test: TCP_RR, options: [-r, "1,1"], selectors: [THROUGHPUT, P50_LATENCY]}}
tcp_crr:
  {title: connects, tool: netperf, metric: connects, unit: connections/s, latency: true, packets_per_unit: [8, 11],
   settings: {test: TCP_CRR, options: [-r, "1,1"], selectors: [THROUGHPUT, P50_LATENCY]}}
"""


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What labctl and Ansible keep for a user lies among the other files of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def small_catalog(tmp_path_factory: pytest.TempPathFactory) -> catalog.Catalog:
    """Three variants and three workloads."""
    directory = tmp_path_factory.mktemp("catalog")
    write_catalog(directory, VARIANTS, WORKLOADS, EDITIONS)
    return catalog.load(directory)


@pytest.fixture
def golden(repository: Path) -> Callable[[str, str], None]:
    """Compare a text with a file in tests/golden; LABCTL_UPDATE_GOLDEN=1 writes the file instead."""

    def compare(name: str, text: str) -> None:
        path = repository / "tests" / "golden" / name
        if os.environ.get("LABCTL_UPDATE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n")
        assert path.read_text() == text + "\n", f"look at the difference, then: LABCTL_UPDATE_GOLDEN=1 pytest ({name})"

    return compare
