"""Pods with netperf: the image they run, what is made in a cluster, and what pods say when they do not run."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from ansible.module_utils import netperf_pods_limits as limits
from ansible.module_utils import netperf_pods_manifest as manifest
from ansible.module_utils import netperf_pods_oci as oci
from ansible.module_utils.fingerprint_probe import Commands, Files
from ansible.module_utils.labctl_node import cluster, kubectl
from ansible.module_utils.labctl_node.api import Answered
from ansible.module_utils.labctl_node.refused import Refused
from labctl_agent import places

from roles.existing_cluster.library import cluster_fingerprint as fingerprint
from roles.existing_cluster.library import cluster_nodes as nodes
from roles.existing_cluster.library import cluster_proof as proof
from roles.fingerprint.library import fingerprint as node_fingerprint
from roles.netperf_pods.library import netperf_pods
from tests.unit.roles.test_cluster_api import DENIED, FAILED, Scripted, status


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


IMAGE = manifest.Image("image", "IfNotPresent")
WANTED: dict[str, Any] = {"ends": {"client": "node1", "server": "node2"}, "host_network": False, "cpu": ""}
NOTHING: dict[str, Any] = {end: {"netserver": {}, "agent": {}} for end in ("client", "server")}


class Deleting(kubectl.Kubectl):
    """kubectl that notes what it is told to delete."""

    def __init__(self) -> None:
        super().__init__("kubectl", "/config")
        self.told: list[str] = []

    def run(self, *arguments: str, stdin: str = "") -> str:  # noqa: ARG002  (as Kubectl has it)
        self.told.append(" ".join(arguments))
        return ""


def may(one: dict[str, Any], **allowed: bool) -> tuple[int, str] | None:
    """What pod security admission answers where these are not allowed."""
    spec = one.get("spec") or {}
    context = spec["containers"][0]["securityContext"] if spec else {}
    asks = {
        "label": "pod-security.kubernetes.io/enforce" in one["metadata"].get("labels", {}),
        "host": bool(spec.get("hostNetwork")),
        "admin": "add" in context.get("capabilities", {}),
        "root": bool(spec) and not context.get("runAsNonRoot"),
    }
    wrong = [what for what, asked in asks.items() if asked and not allowed.get(what, True)]
    return (403, status("Forbidden", f"not allowed: {', '.join(wrong)}")) if wrong else None


@pytest.mark.parametrize("denial", DENIED)
def test_a_namespace_does_without_its_label_and_pods_without_agents_where_these_are_denied(
    denial: tuple[int, str],
) -> None:
    api = Scripted(lambda one: denial if may(one, label=False, host=False) else None)
    assert netperf_pods.create_namespace(cast("Any", api), "me") == "labctl-x"
    cli = Deleting()
    refusal = netperf_pods.create_agents(cli, cast("Any", api), "labctl-x", WANTED, IMAGE, NOTHING)
    assert refusal == json.loads(denial[1])["message"]
    netperf_pods.create_ends(cli, cast("Any", api), "labctl-x", WANTED, IMAGE, NOTHING)
    assert [name.rpartition(" ")[2] for name in api.made] == ["labctl-x", "netperf-client", "netperf-server"]


@pytest.mark.parametrize("failure", FAILED)
def test_what_is_no_denial_ends_it(failure: tuple[int, str]) -> None:
    api = cast("Any", Scripted(lambda _: failure))
    with pytest.raises(Answered):
        netperf_pods.create_namespace(api, "me")
    with pytest.raises(Answered):
        netperf_pods.create_agents(Deleting(), api, "labctl-x", WANTED, IMAGE, NOTHING)
    with pytest.raises(Answered):
        netperf_pods.create_ends(Deleting(), api, "labctl-x", WANTED, IMAGE, NOTHING)


def test_pods_have_as_many_rights_as_they_are_let_and_all_have_the_same() -> None:
    tried: list[tuple[str, object]] = []

    def refuses(one: dict[str, Any]) -> tuple[int, str] | None:
        tried.append((one["metadata"]["name"], one["spec"]["containers"][0]["securityContext"]))
        # The one node may and the other may not: neither does.
        allowed = one["metadata"]["name"] == "netperf-client"
        return may(one, admin=allowed, root=tried[-1][1] != {})

    api, cli = Scripted(refuses), Deleting()
    netperf_pods.create_ends(cli, cast("Any", api), "labctl-x", WANTED, IMAGE, NOTHING)
    admin, plain, restricted = manifest.PRIVILEGES.values()
    client, server = "netperf-client", "netperf-server"
    assert tried == [(client, admin), (server, admin), (client, plain), (client, restricted), (server, restricted)]
    assert cli.told == ["delete pods netperf-client --namespace labctl-x --wait=true"]


def test_pods_that_are_let_in_nowhere_say_it_in_the_clusters_words_with_what_to_do() -> None:
    api = cast("Any", Scripted(lambda one: may(one, host=False)))
    wanted = {**WANTED, "host_network": True}
    with pytest.raises(Answered) as caught:
        netperf_pods.create_ends(Deleting(), api, "labctl-x", wanted, IMAGE, NOTHING)
    (problem,) = caught.value.problems
    assert "not allowed: host" in problem["seen"]
    assert "docs/cluster.md" in problem["hint"]


def test_pods_opt_out_of_what_meshes_inject_and_tell_what_was_injected_all_the_same() -> None:
    made = manifest.pod("server", "node2", "labctl-x", IMAGE, False, {})
    metadata = made["metadata"]
    assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
    assert metadata["labels"]["istio.io/dataplane-mode"] == "none"
    for name in ("linkerd.io/inject", "kuma.io/sidecar-injection", "consul.hashicorp.com/connect-inject"):
        assert metadata["annotations"][name] in ("disabled", "false")
    assert manifest.beside(made) == []
    # As Istio 1.2x and a native sidecar have it: proxies before or after the container, and one that only prepares.
    made["spec"]["containers"].insert(0, {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.29"})
    made["spec"]["initContainers"] = [{"name": "istio-init", "image": "docker.io/istio/proxyv2:1.29"}]
    made["metadata"]["annotations"]["ambient.istio.io/redirection"] = "enabled"
    assert manifest.beside(made) == [
        "istio-init (docker.io/istio/proxyv2:1.29)",
        "istio-proxy (docker.io/istio/proxyv2:1.29)",
        "ambient.istio.io/redirection=enabled",
    ]
    made["status"] = {
        "podIP": "10.0.0.1",
        "containerStatuses": [{"name": "istio-proxy", "imageID": "no"}, {"name": "netserver", "imageID": "yes"}],
    }
    made["metadata"]["uid"] = "u"
    told = netperf_pods.facts(made)
    assert (told["image_id"], len(told["beside"]), told["cpu_limit"]) == ("yes", 3, None)


def test_a_secret_to_pull_with_is_copied_as_it_is() -> None:
    found = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}, "metadata": {"name": "x"}}
    copy = manifest.pull_secret(found, "labctl-x")
    assert (copy["type"], copy["data"], copy["metadata"]["namespace"]) == (found["type"], found["data"], "labctl-x")
    spec = manifest.pod("server", "node2", "labctl-x", IMAGE._replace(secret=True), False, {})["spec"]
    assert spec["imagePullSecrets"] == [{"name": copy["metadata"]["name"]}]
    assert "imagePullSecrets" not in manifest.agent("server", "node2", "labctl-x", IMAGE)["spec"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        ("1e3", 1000),
        ("128Mi", 128 * 1024**2),
        ("1G", 10**9),
        ("100n", "1e-7"),
    ],
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str, value: object) -> None:
    assert limits.quantity(text) == Decimal(str(value))


@pytest.mark.parametrize("text", ["", "x", "1Q", "1 2", "Mi", "1ii"])
def test_what_is_no_quantity_is_no_number(text: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        limits.quantity(text)


def limited(**values: object) -> dict[str, Any]:
    return {"spec": {"limits": [{"type": "Container", **values}]}}


def quota(used: dict[str, str] | None = None, **hard: str) -> dict[str, Any]:
    return {"spec": {"hard": {name.replace("_", "."): value for name, value in hard.items()}}, "status": {"used": used}}


@pytest.mark.parametrize(
    ("ranges", "quotas", "wanted"),
    [
        ([], [], {}),
        ([limited(max={"storage": "1Gi"})], [quota(pods="4")], {}),
        # a limit of its own: as large as the node, so that nothing throttles
        ([limited(default={"cpu": "500m"}, defaultRequest={"cpu": "100m"})], [], {"cpu": ("10m", "8000m")}),
        ([limited(max={"cpu": "2"}, min={"cpu": "200m"})], [], {"cpu": ("200m", "2000m")}),
        ([limited(max={"cpu": "2"}, maxLimitRequestRatio={"cpu": "4"})], [], {"cpu": ("500m", "2000m")}),
        ([limited(default={"memory": "64Mi"})], [], {"memory": (32 * 1024**2, 1024**3)}),
        # what a quota leaves is shared by the pods
        ([], [quota(limits_cpu="4", used={"limits.cpu": "2"})], {"cpu": ("10m", "500m")}),
        (
            [],
            [quota(requests_cpu="1", limits_memory="256Mi")],
            {"cpu": ("10m", "8000m"), "memory": (32 * 1024**2, 2**26)},
        ),
        ([limited(min={"cpu": "1"})], [quota(cpu="2")], {"cpu": ("500m", "8000m")}),
    ],
)
def test_pods_ask_for_what_ranges_and_quotas_demand(ranges: Any, quotas: Any, wanted: dict[str, Any]) -> None:
    found = limits.resources(ranges, quotas, cpus=8, cpu="", pods=4)
    assert {name: (found["requests"][name], found["limits"][name]) for name in found.get("limits", {})} == {
        name: tuple(map(str, pair)) for name, pair in wanted.items()
    }
    assert limits.resources([], [], None, "1", 2) == {"requests": {"cpu": "1"}}


def node(ready: str = "True", architecture: str = "amd64", *addresses: str, images: Any = ()) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready}]
    told = [{"type": "InternalIP", "address": one} for one in addresses or ("10.0.0.1",)]
    return {
        "metadata": {"name": "a"},
        "spec": {},
        "status": {
            "conditions": conditions,
            "nodeInfo": {"architecture": architecture},
            "addresses": [*told, {"type": "Hostname", "address": "a"}],
            "images": [{"names": [name]} for name in images],
        },
    }


@pytest.mark.parametrize(
    ("found", "whats"),
    [
        ({"a": node(), "b": node()}, []),
        ({"a": node()}, ["the cluster has one node: there is no path between nodes to measure"]),
        ({"a": node(), "c": node()}, ["the cluster has no such node for the server"]),
        ({"a": node("Unknown"), "b": node()}, ["the node of the client is not Ready"]),
        ({"a": node(), "b": node(architecture="arm64")}, ["the two nodes are of different architectures"]),
        ({"a": node("True", "amd64", "fd00::1", "10.0.0.1"), "b": node()}, []),
        (
            {"a": node("True", "amd64", "fd00::1"), "b": node()},
            ["the two nodes have no address family in common"],
        ),
        (
            {"a": {**node(), "status": {**node()["status"], "addresses": None}}, "b": node()},
            ["the node has neither an InternalIP nor an ExternalIP"],
        ),
    ],
)
def test_nodes_that_cannot_be_measured_are_told(found: dict[str, Any], whats: list[str]) -> None:
    problems = list(nodes.node_problems(found, {"client": "a", "server": "b"}))
    assert [problem["what"] for problem in problems] == whats
    assert all(problem["hint"] for problem in problems)


def test_a_node_that_is_not_ready_is_told_with_what_its_kubelet_says() -> None:
    found = {"a": node("False"), "b": node()}
    found["a"]["status"]["conditions"][0]["message"] = "cni plugin not initialized"
    (problem,) = nodes.node_problems(found, {"client": "a", "server": "b"})
    assert (problem["where"], problem["seen"]) == ("node a", "False, cni plugin not initialized")
    assert "kubectl describe node a" in problem["hint"]
    assert "-i LAB" in problem["hint"]


@pytest.mark.parametrize(
    ("image", "known", "missing"),
    [
        ("localhost/labctl/netperf:node", ["registry.k8s.io/pause:3.2"], 1),
        ("localhost/labctl/netperf:node", ["localhost/labctl/netperf:node"], 0),
        ("localhost/mine", ["localhost/mine:latest"], 0),
        ("localhost/mine@sha256:ab", ["localhost/mine@sha256:ab"], 0),
        ("localhost/mine:1", [], 0),  # its kubelet tells of none
        ("localhost/mine:1", [f"registry.example/{number}:1" for number in range(50)], 0),  # or not of all
        ("registry.example/mine:1", ["registry.k8s.io/pause:3.2"], 0),  # it is pulled
    ],
)
def test_an_image_that_nobody_serves_is_missed_before_anything_is_made(
    image: str, known: list[str], missing: int
) -> None:
    found = {"a": node(images=["localhost/mine:1", "localhost/mine:latest", image]), "b": node(images=known)}
    problems = list(nodes.image_problems(found, {"client": "a", "server": "b"}, image))
    assert [problem["where"] for problem in problems] == ["images of node b"] * missing
    assert all("--image" in problem["hint"] and "docs/cluster.md" in problem["hint"] for problem in problems)


def test_a_node_has_the_address_of_its_pods_family_and_tells_all_of_its_own() -> None:
    both = fingerprint.addresses(node("True", "amd64", "10.0.0.1", "fd00::1"))
    assert both == ["10.0.0.1", "fd00::1"]
    assert [fingerprint.of_family(both, near) for near in ("", "10.9.9.9", "fd01::9")] == [*both[:1], *both]
    assert fingerprint.of_family(["10.0.0.1"], "fd01::9") == "10.0.0.1"
    assert fingerprint.of_family([], "") is None
    ends = [{"node": name, "address": address} for name, address in (("a", "FD00::1"), ("b", "fd00::2"))]
    assert [proof.network_of(end, both) for end in ends] == ["the node's own", "the pods'"]


@pytest.mark.parametrize(("server", "client", "family"), [("10.0.0.2", "10.0.0.1", "-4"), ("fd00::2", "fd00::1", "-6")])
def test_the_probe_is_of_the_pods_family(
    monkeypatch: pytest.MonkeyPatch, server: str, client: str, family: str
) -> None:
    asked: list[str] = []

    def run(argv: list[str], **_: object) -> str:
        asked.extend(argv)
        return "TRANSPORT_MSS=1428\n"

    monkeypatch.setattr(proof, "run", run)
    ends = {"server": {"address": server}, "client": {"address": client}}
    assert proof.probe({"probe": [], "control_port": 1, "transactions": 2, "size": 3, **ends})["mss"] == 1428
    assert asked[:6] == ["netperf", family, "-H", server, "-L", client]


def test_the_state_of_a_node_is_what_whoever_runs_the_cluster_does_to_it() -> None:
    seen = node()
    assert fingerprint.state(seen) == {"cordoned": False, "taints": [], "conditions": {}}
    seen["spec"] = {"unschedulable": True, "taints": [{"key": "k", "effect": "NoExecute"}]}
    seen["status"]["conditions"] = [
        {"type": "Ready", "status": "True"},
        {"type": "DiskPressure", "status": "True", "message": "no room"},
        {"type": "MemoryPressure", "status": "False"},
    ]
    assert fingerprint.state(seen) == {
        "cordoned": True,
        "taints": ["k:NoExecute"],
        "conditions": {"DiskPressure": "no room"},
    }


@pytest.mark.parametrize(
    ("rule", "sees"),
    [
        ({"resources": ["pods"], "operations": ["CREATE"]}, True),
        ({"resources": ["*"], "operations": ["*"]}, True),
        ({"resources": ["pods"], "operations": ["DELETE"]}, False),
        ({"resources": ["deployments"], "operations": ["CREATE"]}, False),
        ({}, False),
    ],
)
def test_a_webhook_counts_where_it_sees_pods_come(rule: dict[str, Any], sees: bool) -> None:
    assert fingerprint.sees_pods({"rules": [rule]}) is sees


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
    assert {name: set(keys) for name, keys in fingerprint.KEYS.items()} == {
        name: set(document[name]) for name in fingerprint.KEYS
    }
