"""Pods with netperf: the image they run, what is made in a cluster, and what pods say when they do not run."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import netperf_pods_manifest as manifest
from ansible.module_utils import netperf_pods_oci as oci
from ansible.module_utils.fingerprint_probe import Commands, Files
from ansible.module_utils.labctl_node import cluster, kubectl
from ansible.module_utils.labctl_node.refused import Refused
from labctl_agent import places

from roles.existing_cluster.library import cluster_fingerprint as fingerprint
from roles.existing_cluster.library import cluster_nodes as nodes
from roles.fingerprint.library import fingerprint as node_fingerprint


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Return files of an image, one of them a link on this machine."""
    (tmp_path / "real").write_bytes(b"library")
    (tmp_path / "program").write_bytes(b"program")
    (tmp_path / "program").chmod(0o755)
    (tmp_path / "link").symlink_to("real")
    return {"/usr/bin/netperf": str(tmp_path / "program"), "/lib/x/libc.so.6": str(tmp_path / "link")}


def test_the_layer_holds_every_file_as_itself_below_its_directories(files: dict[str, str]) -> None:
    with tarfile.open(fileobj=io.BytesIO(oci.layer(files))) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
        content = tar.extractfile("lib/x/libc.so.6")
        assert content is not None
        assert content.read() == b"library"
    assert list(entries) == ["lib", "lib/x", "usr", "usr/bin", "tmp", "lib/x/libc.so.6", "usr/bin/netperf"]
    assert entries["lib/x/libc.so.6"].isreg()
    assert (entries["usr/bin/netperf"].mode, entries["lib/x/libc.so.6"].mode, entries["tmp"].mode) == (
        0o755,
        0o644,
        0o1777,
    )
    assert {(entry.uid, entry.mtime) for entry in entries.values()} == {(0, 0)}


def test_an_image_is_whole_and_the_same_files_give_the_same_one(files: dict[str, str], tmp_path: Path) -> None:
    blobs, described = oci.image(files, "aarch64", ["netserver"])
    assert oci.image(dict(reversed(files.items())), "aarch64", ["netserver"]) == (blobs, described)
    path = tmp_path / "image.tar"
    oci.write(str(path), "localhost/labctl/netperf:node", blobs, described)
    with tarfile.open(path) as tar:
        read = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    assert json.loads(read["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    entry = json.loads(read["index.json"])["manifests"][0]
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/labctl/netperf:node"

    def blob(descriptor: dict[str, Any]) -> bytes:
        content = read["blobs/" + descriptor["digest"].replace(":", "/")]
        assert descriptor["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
        assert descriptor["size"] == len(content)
        return content

    image = json.loads(blob(entry))
    config = json.loads(blob(image["config"]))
    assert (config["architecture"], config["os"]) == ("arm64", "linux")
    assert [config["rootfs"]["diff_ids"], blob(image["layers"][0])] == [
        [image["layers"][0]["digest"]],
        oci.layer(files),
    ]


def test_a_changed_file_makes_another_image(files: dict[str, str]) -> None:
    before = oci.image(files, "x86_64", ["netserver"])[1]["digest"]
    Path(files["/usr/bin/netperf"]).write_bytes(b"program, newer")
    assert oci.image(files, "x86_64", ["netserver"])[1]["digest"] != before


def test_a_pod_is_bound_to_its_node_and_marked_for_the_helper() -> None:
    image = manifest.Image("image", "Never")
    made = manifest.pod("server", "node2", "labctl-x", image, False, {"requests": {"cpu": "1"}})
    spec, container = made["spec"], made["spec"]["containers"][0]
    assert (spec["nodeName"], spec["hostNetwork"], container["imagePullPolicy"]) == ("node2", False, "Never")
    assert container["command"] == ["netserver", "-D", "-N", "-L", "$(POD_IP)", "-p", "12865"]
    assert container["resources"] == {"requests": {"cpu": "1"}}
    modest = manifest.pod("server", "node2", "labctl-x", image, False, {})
    assert "resources" not in modest["spec"]["containers"][0]
    assert manifest.MARK == places.POD_MARK
    assert manifest.MARK in [variable["name"] for variable in container["env"]]


def test_kubectl_prints_created_objects_one_after_the_other() -> None:
    text = '{\n "kind": "Pod", "n": 1\n}\n{"kind": "List", "items": [{"kind": "Pod", "n": 2}]}\n'
    assert [one["n"] for one in kubectl.documents(text)] == [1, 2]


def test_kubectl_that_is_not_there_is_named() -> None:
    with pytest.raises(Refused, match="The command /nowhere/kubectl is not installed"):
        kubectl.Kubectl("/nowhere/kubectl", "/kubeconfig").run("version")


def node(ready: str = "True", architecture: str = "amd64") -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready}]
    return {"status": {"conditions": conditions, "nodeInfo": {"architecture": architecture}}}


@pytest.mark.parametrize(
    ("found", "whats"),
    [
        ({"a": node(), "b": node()}, []),
        ({"a": node()}, ["the cluster has one node: there is no path between nodes to measure"]),
        ({"a": node(), "c": node()}, ["the cluster has no such node for the server"]),
        ({"a": node("Unknown"), "b": node()}, ["the node of the client is not Ready"]),
        ({"a": node(), "b": node(architecture="arm64")}, ["the two nodes are of different architectures"]),
    ],
)
def test_nodes_that_cannot_be_measured_are_told(found: dict[str, Any], whats: list[str]) -> None:
    problems = list(nodes.node_problems(found, {"client": "a", "server": "b"}))
    assert [problem["what"] for problem in problems] == whats
    assert all(problem["hint"] for problem in problems)


def test_the_daemons_and_settings_of_a_network_are_found_among_all() -> None:
    def daemon(name: str) -> dict[str, Any]:
        containers = [{"image": f"quay.io/{name}:v1"}]
        return {
            "metadata": {"namespace": "x", "name": name},
            "spec": {"template": {"spec": {"containers": containers}}},
        }

    found = fingerprint.daemons([daemon("cilium"), daemon("node-exporter"), daemon("calico-node")])
    assert found == {"x/cilium": ["quay.io/cilium:v1"], "x/calico-node": ["quay.io/calico-node:v1"]}
    other = {"metadata": {"namespace": "kube-system", "name": "coredns"}, "data": {"Corefile": ". {}"}}
    config = {"metadata": {"namespace": "kube-system", "name": "cilium-config"}, "data": {"tunnel": "disabled"}}
    ours = {"metadata": {"namespace": "labctl-6w55d", "name": "kube-root-ca.crt"}, "data": {"ca.crt": "x"}}
    assert cluster.settings(fingerprint.of_networks([config, other, ours])) == {
        "kube-system/cilium-config": {"tunnel": "disabled"}
    }
    assert fingerprint.of_networks([config, other, ours], ours=True) == [config, ours]
    assert fingerprint.daemons(None) is None


def test_a_fingerprint_by_the_api_has_the_sections_of_one_by_the_node(tmp_path: Path) -> None:
    document = node_fingerprint.take(Files(str(tmp_path)), Commands(), node_fingerprint.Place("none0"))
    assert set(document) == {*fingerprint.SECTIONS, "schema", "identity"}
