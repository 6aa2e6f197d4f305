"""What a CNI leaves on a node is taken away, and nothing else: on this kernel, in namespaces of the test's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TOOLS = {"bpftool": "bpftool", "ip": "iproute2", "nft": "nftables"}
# The role's own module, in namespaces that end with this program.
MODULE = """
import importlib, json, subprocess, sys
import ansible.module_utils
repository, *words = sys.argv[1:]
for role in ("node", "datapath", "kubernetes"):
    ansible.module_utils.__path__.append(f"{repository}/roles/{role}/module_utils")
sys.path.insert(0, f"{repository}/roles/kubernetes/library")
gone = importlib.import_module("kubernetes_gone")
"""
RULES = """
seen = [sorted(gone.traces.rules())]
for change in words:
    subprocess.run(["ip", *change.split()], check=True)
seen.append(sorted(gone.traces.rules()))
try:
    gone.remove_rules({"rules": seen[0]})
except gone.Refused as refused:
    seen.append([refused.problems[0]["what"]])
else:
    seen.append(sorted(gone.traces.rules()))
print(json.dumps(seen))
"""
MOUNTS = """
import os
before = {"mounts": gone.traces.read()["mounts"]}
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
for path in words:
    os.makedirs(path)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
before["mounts"].append("/run tmpfs")
gone.unmount(before, gone.PODS)
print(json.dumps([path for path in words if os.path.ismount(path)]))
"""
PINS = """
import os
top, *links = words
subprocess.run(["mount", "-t", "bpf", "bpf", top], check=True)
before, own = gone.traces.read(), os.listdir(top)
os.makedirs(f"{top}/tc/globals")
for link in links:
    os.symlink("tc", f"{top}/{link}")
gone.remove_pins_and_files(before)
print(json.dumps(sorted(set(os.listdir(top)) - set(own))))
"""
FILES = """
import os
traces = importlib.import_module("ansible.module_utils.kubernetes_traces")
traces.NETWORK_BEFORE, own = words
os.makedirs(own)
open(f"{own}/old", "w").close()
before = {**gone.traces.read([own]), traces.DIRECTORIES: [own]}
with open(traces.NETWORK_BEFORE, "w") as record:
    json.dump(before, record)
open(f"{own}/new", "w").close()
left = traces.differences(before, gone.traces.read())
seen = [problem["seen"] for problem in left if problem["where"] == "CNI files"]
gone.remove_pins_and_files(before)
print(json.dumps([seen, os.listdir(own)]))
"""
PLUGIN = """
import os, shutil
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/opt"], check=True)
os.makedirs("/opt/cni/bin")
shutil.copy("/bin/sleep", "/opt/cni/bin/old")
before = gone.traces.read()
shutil.copy("/bin/sleep", "/opt/cni/bin/new")
plugins = [subprocess.Popen([f"/opt/cni/bin/{name}", "30"]) for name in ("old", "new")]
gone.remove_pins_and_files(before)
ended = [plugin.poll() for plugin in plugins]
plugins[0].kill()
print(json.dumps([os.listdir("/opt/cni/bin"), *ended]))
"""
SOCKETS = """
import os
top = gone.cgroups.hierarchy(open("/proc/mounts").read())
group = f"{top}/labctl-test-{os.getpid()}"
before = gone.traces.read()
subprocess.run([sys.executable, words[0], group, "connect"], check=True)
try:
    seen = [sorted(set(gone.traces.read()["socket programs"]) - set(before["socket programs"]))]
    seen.append(gone.remove_socket_programs(before))
    seen.append(gone.traces.read()["socket programs"] == before["socket programs"])
finally:
    os.rmdir(group)
print(json.dumps([group, *seen]))
"""
# What Cilium does for its proxy and for IPsec: its own rules come before the one for the table `local`, which moves.
CILIUM = (
    "-4 rule add priority 100 from all lookup local",
    "-4 rule delete priority 0",
    "-4 rule add priority 9 from all fwmark 0x200/0xf00 lookup 2004 protocol kernel",
    "-4 rule add priority 111 from 10.217.0.0/24 to 10.217.1.0/24 iif lo lookup 2005",
    "-6 rule add priority 100 from all lookup local",
    "-6 rule delete priority 0",
)


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """What the module calls is there: a node has it, a bare machine does not."""
    lacking = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if lacking:
        for words in (["update"], ["install", "--yes", "--no-install-recommends", *lacking]):
            subprocess.run(["apt-get", "--quiet=2", *words], check=True, stdout=subprocess.DEVNULL)


def in_namespaces(script: str, *words: str) -> list[Any]:
    """What a script prints that has the module and a network and mounts of its own."""
    argv = ["unshare", "--net", "--mount", sys.executable, "-c", MODULE + script, str(REPOSITORY), *words]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    printed: list[Any] = json.loads(done.stdout)
    return printed


def test_the_rule_that_was_moved_is_put_back_and_new_ones_go() -> None:
    before, changed, after = in_namespaces(RULES, *CILIUM)
    assert len(changed) == len(before) + 2
    assert not [rule for rule in changed if json.loads(rule.partition(" ")[2])["priority"] == 0]
    assert after == before


def test_a_rule_with_selectors_that_are_not_known_is_left_and_named() -> None:
    *_, problems = in_namespaces(RULES, "-4 rule add priority 50 from all uidrange 1000-1001 lookup main")
    assert problems == ["A routing rule has selectors that labctl cannot put back or remove."]


def test_mounts_of_the_clusters_own_containers_stay() -> None:
    own = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/started-again/rootfs"
    assert in_namespaces(MOUNTS, own, "/run/cilium/cgroupv2") == [own]


def test_links_to_directories_of_pins_go_as_well() -> None:
    """As iproute2 makes them beside its `tc`."""
    assert in_namespaces(PINS, "/sys/fs/bpf", "ip", "xdp") == []


def test_files_go_from_the_directories_that_a_network_says_are_its_own(tmp_path: Path) -> None:
    own = f"{tmp_path}/own"
    assert in_namespaces(FILES, f"{tmp_path}/network.json", own) == [[f"{own}/new"], ["old"]]


def test_a_plugin_that_was_brought_ends_before_it_can_write_anything() -> None:
    left, old, new = in_namespaces(PLUGIN)
    assert left == ["old"]
    assert old is None
    assert new == -9


def test_programs_that_sockets_pass_are_seen_and_detached() -> None:
    """As those of Cilium before it pinned links for them."""
    group, seen, done, as_before = in_namespaces(SOCKETS, str(REPOSITORY / "tests/integration/socket_program.py"))
    (program,) = seen
    assert program.startswith(f"{group} ")
    assert "connect" in program
    assert program.endswith(" stranger")
    assert done == [f"program {program}"]
    assert as_before
