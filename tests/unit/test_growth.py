"""The house grows by new files: a made-up CNI and a made-up workload are added, and none that is there is edited."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CONTENT = ("labctl", "roles", "playbooks", "inventories")

# What a CNI consists of. Its role is small here, and has all that tests ask of a role.
CNI = {
    "labctl/catalog/variants/cni_madeup.yml": """\
---
order: 45
variants:
  madeup:
    title: pods on a CNI that does not exist
    endpoint: pod
    vars: {cni_madeup_mode: fast}
    editions: [current]
    encryptions: {none: true, wireguard: it encrypts nothing, ipsec: it encrypts nothing}
    reference: k8s-ptp
    kernel: {at_least: "5.10", options: [[BPF_SYSCALL]]}
    expected:
      conntrack_hooked: false
      tracked: false
      netfilter_tables: []
      kube_services: 0
      socket_programs: []
      forwarded_by_stack: false
      programs: cni
      cni: {mode: fast}
""",
    "labctl/catalog/editions/cni_madeup.yml": """\
---
current:
  locations: {madeup_images: quay.example/madeup}
  images:
    madeup: {reference: "quay.example/madeup/agent:v1", origin: "{madeup_images}/agent:v1", digest: null}
""",
    "roles/cni_madeup/defaults/main.yml": "---\n# How it forwards.\ncni_madeup_mode: slow\n",
    "roles/cni_madeup/meta/main.yml": "---\ndependencies: [{role: cluster_path}]\n",
    "roles/cni_madeup/meta/argument_specs.yml": """\
---
argument_specs:
  deploy: &entry
    short_description: Made up
    options: {cni_madeup_mode: {type: str, default: slow, description: How it forwards.}}
  undeploy: *entry
  look: *entry
""",
    **{f"roles/cni_madeup/tasks/{name}.yml": "---\n[]\n" for name in ("deploy", "undeploy", "look")},
}
# A workload of a program that labctl has: an entry, which may stand in a file of its own.
WORKLOAD = {
    "labctl/catalog/workloads/backwards.yml": """\
---
tcp_backwards:
  title: bulk data from server to client
  tool: netperf
  metric: throughput
  unit: Gbit/s
  latency: false
  packets_per_unit: null
  settings: {test: TCP_MAERTS, options: [], selectors: [THROUGHPUT, THROUGHPUT_UNITS, ELAPSED_TIME]}
""",
}


@pytest.fixture
def tree(repository: Path, tmp_path: Path) -> Path:
    """A copy of what labctl consists of."""
    for name in CONTENT:
        ignored = shutil.ignore_patterns("__pycache__", "_content")
        shutil.copytree(repository / name, tmp_path / "tree" / name, ignore=ignored)
    return tmp_path / "tree"


def sums(tree: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def add(tree: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        assert not (tree / name).exists(), f"{name} is there already: nothing is to be edited"
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)


def labctl(tree: Path, *arguments: str) -> str:
    """Run the labctl of a tree, for a lab that is known from its inventory alone."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "LABCTL_STATE_DIR": str(tree.parent / "state")}
    environment["XDG_STATE_HOME"] = str(tree.parent / "home")
    command = [sys.executable, "-m", "labctl", *arguments]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plan(tree: Path, *arguments: str) -> dict[str, Any]:
    planned: dict[str, Any] = json.loads(labctl(tree, "plan", "--format", "json", *arguments))
    return planned


def test_a_cni_and_a_workload_touch_no_file_that_is_there(tree: Path) -> None:
    before = sums(tree)
    add(tree, CNI | WORKLOAD)
    planned = plan(
        *(tree, "--variant", "madeup,cilium-ebpf", "--edition", "current", "--workload", "tcp_backwards,tcp_rr"),
        *("--processes", "1", "--rounds", "6"),
    )
    assert [setup["id"] for setup in planned["setups"]] == [
        *("baseline", "k8s-ptp.current", "madeup.current", "cilium-ebpf.current")
    ]
    setup = planned["setups"][2]
    assert (setup["role"], setup["reference"], setup["edition"]) == ("cni_madeup", "k8s-ptp.current", "current")
    assert setup["expected"]["cni"] == {"mode": "fast"}
    assert {cell["workload"] for cell in planned["cells"]} == {"tcp_backwards", "tcp_rr"}
    after = sums(tree)
    assert {name: after[name] for name in before} == before
    touched = set(after) - set(before)
    assert touched == {*CNI, *WORKLOAD}


def test_what_a_made_up_cni_needs_is_in_a_bundle_and_in_check(tree: Path) -> None:
    add(tree, CNI)
    code = (
        "from labctl import catalog\n"
        "from labctl.bundle.create import wishes\n"
        "from labctl.nodes.rules import rules\n"
        "import json\n"
        "edition = catalog.editions()['current']\n"
        "mine, plain = ({wish.name for wish in wishes(edition, 'amd64', names)} for names in (['madeup'], []))\n"
        "print(json.dumps([sorted(mine - plain), [rule.subject for rule in rules()]]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    more, subjects = json.loads(done.stdout)
    assert more == ["madeup"]
    assert "kernel for madeup" in subjects
