"""A real Kubernetes cluster on the nodes of a local lab, out of a bundle. Runs in the order it is written in.

Kubernetes 1.20 is compiled from Debian 11's own source package (kubernetes_2021/), once per machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from labctl.bundle import index as bundles
from labctl.bundle import install as clusters
from labctl.engine.inventory import open_lab
from labctl.engine.session import Session
from labctl.labs import embedded as labs
from tests.acceptance.conftest import REPOSITORY, ansible, labctl, molecule, start_labctl
from tests.commands import ANY_STEAL
from tests.conftest import served
from tests.integration.conftest import LAB_INDEX, LAB_NAME, ProvisionedLab, copy_inventory, load, wait_until
from tests.integration.test_datapaths import CONNECTING

pytestmark = [pytest.mark.lab, pytest.mark.acceptance]

NAME, INDEX = f"{LAB_NAME}-k8s", LAB_INDEX + 2
EDITION = "2021"
READY_S = 120.0
WEBHOOK_PORT = 9443
# What a kubelet writes where it can: settings of the machine that all of its containers share.
SETTINGS = ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "net/netfilter/nf_conntrack_max")
SHORT = ("--workload", "tcp_rr", "--processes", "1", "--rounds", "2", "--duration", "3", "--warmup", "1", *ANY_STEAL)
ONE_SAMPLE = ("--no-reference", "--workload", "tcp_rr", "--processes", "1", "--rounds", "1", *ANY_STEAL)


def host_settings() -> dict[str, str]:
    """Settings of this machine, where it has them."""
    paths = [Path("/proc/sys") / name for name in SETTINGS]
    return {str(path): path.read_text() for path in paths if path.exists()}


@dataclass(frozen=True)
class ClusterLab(ProvisionedLab):
    """A lab that can carry Kubernetes, and the bundle that its cluster is made of."""

    bundle: Path = Path()

    @property
    def path(self) -> str:
        return str(self.inventory.path)

    def kubectl(self, *words: str) -> str:
        """Return what kubectl says on the control plane."""
        return self.on_node("node1", "kubectl --kubeconfig /etc/kubernetes/admin.conf", *words)

    def scenario(self, name: str, tmp_path: Path) -> None:
        """Run the scenario of a role on this lab."""
        wanted = clusters.inventory(bundles.read(self.bundle), self.bundle, EDITION)
        (tmp_path / "cluster.json").write_text(json.dumps(wanted))
        molecule(
            name,
            LABCTL_MOLECULE_CLUSTER_LAB=self.path,
            LABCTL_MOLECULE_CLUSTER=str(tmp_path / "cluster.json"),
        )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterLab]:
    """Create the lab, and the bundle from what Debian has; no cluster is on it yet."""
    top = tmp_path_factory.mktemp("cluster")
    directory = copy_inventory(top / NAME, NAME, INDEX)
    group_vars = directory / "group_vars" / "all.yml"
    group_vars.write_text(group_vars.read_text().replace("local_lab_kubernetes: false", "local_lab_kubernetes: true"))
    before = host_settings()
    with Session() as session:
        if NAME in labs.names():  # of tests that were killed
            labs.destroy(session, NAME)
        try:
            record = labs.create(session, str(directory))
            ansible(
                "-i", "localhost,", str(REPOSITORY / "tests/acceptance/kubernetes_2021/site.yml"),
                "-e", f"site_link={top / 'site'}",
            )  # fmt: skip
            with served(top / "site") as url:
                told = (top / "site" / "overrides.yml").read_text().replace("{site}", url)
                (top / "overrides.yml").write_text(told)
                words = ("--edition", EDITION, "--overrides", str(top / "overrides.yml"))
                made = labctl("bundle", "create", *words, str(top / "bundle"))
            assert made.returncode == 0, made.stdout + made.stderr
            yield ClusterLab(open_lab(session, str(directory)), record, session, bundle=top / "bundle")
        finally:
            labs.destroy(session, str(directory))
    assert host_settings() == before, "the machine's settings are its own"


@pytest.fixture(scope="module")
def provisioned(lab: ClusterLab) -> ClusterLab:
    """Make the cluster."""
    done = labctl("provision", "-i", lab.path, "--bundle", str(lab.bundle))
    assert done.returncode == 0, done.stdout + done.stderr
    return lab


def test_a_bundle_that_is_not_whole_is_refused_before_anything_changes(lab: ClusterLab, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(lab.bundle, tmp_path / "bundle", copy_function=os.link))
    (broken / "2021" / "images" / "etcd.tar").unlink()
    (broken / "2021" / "programs" / "kubelet").unlink()
    (broken / "2021" / "programs" / "kubelet").write_text("not what it was\n")
    done = labctl("provision", "-i", lab.path, "--bundle", str(broken))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2021/images/etcd.tar" in done.stderr
    assert "2021/programs/kubelet" in done.stderr
    assert lab.on_nodes("ls /var/lib/labctl 2>/dev/null || true") == []


@pytest.mark.parametrize("role", ["container_runtime", "kubernetes"])
def test_the_scenario_of_a_role_that_makes_clusters(lab: ClusterLab, tmp_path: Path, role: str) -> None:
    lab.scenario(role, tmp_path)


def test_a_provision_that_broke_off_is_made_good_by_the_next(lab: ClusterLab) -> None:
    words = ("provision", "-i", lab.path, "--bundle", str(lab.bundle))
    first = start_labctl(*words)
    # No API server comes of it: the kubelet that would start it is stopped, too.
    act = "test -e /etc/kubernetes/admin.conf && pkill --exact kubeadm && systemctl stop kubelet && echo broken"
    wait_until(lambda: "broken" in lab.on_node("node1", act), 300, first)
    _, err = first.communicate(timeout=READY_S)
    assert first.returncode == 1
    assert "where: node1, task 'The control plane runs'" in err
    assert "What its services complained of last:" in err
    done = labctl(*words)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["1.9.6", "1.10.20", "1.19.4"])
def test_the_api_server_takes_the_manifests_of_cilium(provisioned: ClusterLab, version: str) -> None:
    documents = load(REPOSITORY / "tests" / "fixtures" / "cilium" / f"{version}.manifests.json")["documents"]
    # Namespaces are not there in a dry run, nor what goes into them. Several setups have a document by the same name.
    made = [one for one in documents if one["metadata"].get("namespace", "kube-system") == "kube-system"]
    command = "kubectl --kubeconfig /etc/kubernetes/admin.conf apply --dry-run=server --validate=false --filename=-"
    done = subprocess.run(
        provisioned.command("node1", command),
        input=yaml.safe_dump_all(made),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "daemonset.apps/cilium created (server dry run)" in done.stdout
    assert len(done.stdout.splitlines()) == len(made)


def test_a_second_provision_changes_nothing(provisioned: ClusterLab) -> None:
    again = labctl("provision", "-i", provisioned.path, "--bundle", str(provisioned.bundle))
    assert f"lab {NAME} is provisioned: 0 changed" in again.stdout, again.stdout + again.stderr
    listed = json.loads(provisioned.kubectl("get nodes --output=json"))["items"]
    assert [one["metadata"]["name"] for one in listed] == ["node1", "node2"]


@pytest.mark.parametrize("role", ["netperf_pods", "k8s_ptp", "cluster_path", "existing_cluster"])
def test_the_scenario_of_a_role_that_uses_clusters(provisioned: ClusterLab, tmp_path: Path, role: str) -> None:
    provisioned.scenario(role, tmp_path)


def test_pods_are_measured_beside_their_nodes(
    provisioned: ClusterLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = labctl("matrix", "-i", provisioned.path, "--variant", "baseline,k8s-ptp", "--edition", EDITION, *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    rows = {row["setup"]: row for row in load(run / "summary.json")["rows"]}
    assert set(rows) == {"baseline", "k8s-ptp.2021"}
    assert all((row["valid"], row["planned"]) == (2, 2) for row in rows.values())
    for proof in run.glob("setups/*/*/proof.json"):
        assert load(proof)["holds"] is True, proof


@dataclass(frozen=True)
class Networked:
    """The cluster with a network, as somebody else's would be, and a kubeconfig for it on this machine."""

    lab: ClusterLab
    kubeconfig: Path

    def namespaces(self) -> list[str]:
        """Those that are not about to end."""
        return self.lab.kubectl("get namespaces --field-selector status.phase=Active --output=name").split()

    def options(self) -> tuple[str, ...]:
        return ("--kubeconfig", str(self.kubeconfig), "--client", "node1", "--server", "node2")


@pytest.fixture(scope="module")
def networked(provisioned: ClusterLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networked]:
    """Give the cluster the network of k8s-ptp and a kubeconfig that leads to it over the management addresses."""
    top = tmp_path_factory.mktemp("kubeconfig")
    document = yaml.safe_load(provisioned.on_node("node1", "cat /etc/kubernetes/admin.conf"))
    document["clusters"][0]["cluster"]["server"] = f"https://{provisioned.record.nodes[0].address}:6443"
    kubeconfig = top / "config"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(yaml.safe_dump(document))
    network = REPOSITORY / "molecule" / "k8s_ptp"
    ansible("-i", provisioned.path, str(network / "converge.yml"))
    provisioned.kubectl("wait --for=condition=Ready nodes --all --timeout=60s")
    with pytest.MonkeyPatch.context() as patch:
        (top / "bin").mkdir()
        (top / "bin" / "kubectl").symlink_to(provisioned.bundle / "2021" / "programs" / "kubectl")
        (provisioned.bundle / "2021" / "programs" / "kubectl").chmod(0o755)
        patch.setenv("PATH", f"{top / 'bin'}:{os.environ['PATH']}")
        try:
            yield Networked(provisioned, kubeconfig)
        finally:
            ansible("-i", provisioned.path, str(network / "cleanup.yml"))


def test_a_cluster_one_has_is_measured_through_its_kubeconfig(
    networked: Networked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = networked.namespaces()
    done = labctl("matrix", *networked.options(), *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    rows = {row["setup"]: row for row in load(run / "summary.json")["rows"]}
    assert set(rows) == {"cluster-host", "cluster-pod"}
    assert all((row["valid"], row["planned"]) == (2, 2) for row in rows.values())
    assert networked.namespaces() == before


def test_a_cluster_is_checked_and_an_image_that_its_nodes_lack_is_refused_before_anything_is_made(
    networked: Networked,
) -> None:
    before = networked.namespaces()
    good = labctl("check", *networked.options(), "--format", "csv")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "\nok,both,kernel,the same at both ends," in good.stdout
    bad = labctl("plan", *networked.options(), "--image", "localhost/none:1")
    assert bad.returncode == 1
    assert "the node does not have the image localhost/none:1" in bad.stderr
    assert "--image" in bad.stderr
    assert networked.namespaces() == before


@pytest.fixture
def owned(networked: Networked) -> Iterator[Networked]:
    """Give the cluster an owner: a webhook that refuses and injects, a cordoned node, a taint."""
    lab = networked.lab
    script = (REPOSITORY / "tests" / "acceptance" / "kubernetes_2021" / "webhook.py").read_text()
    unit = f"systemd-run --unit=webhook --quiet python3 /root/webhook.py {WEBHOOK_PORT}"
    lab.on_node("node1", f"cat > /root/webhook.py <<'END'\n{script}END\n{unit}")
    authority = lab.on_node("node1", "base64 --wrap=0 /etc/kubernetes/pki/ca.crt")
    address = lab.record.nodes[0].cable_address
    hook = {
        "name": "owner.example.com",
        "clientConfig": {"url": f"https://{address}:{WEBHOOK_PORT}/", "caBundle": authority.strip()},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "labctl"}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    told = json.dumps({**kind, "metadata": {"name": "owner"}, "webhooks": [hook]})
    lab.kubectl(f"apply --filename=- <<< '{told}'")
    lab.kubectl("cordon node2")
    lab.kubectl("taint node node2 owner=us:NoExecute")
    try:
        yield networked
    finally:
        lab.kubectl("delete mutatingwebhookconfiguration owner")
        lab.kubectl("taint node node2 owner-")
        lab.kubectl("uncordon node2")
        lab.on_node("node1", "systemctl stop webhook")


def test_a_cluster_that_refuses_injects_cordons_and_taints_is_measured_and_says_what_was_in_the_way(
    owned: Networked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = (*ONE_SAMPLE, "--duration", "3")
    done = labctl("matrix", *owned.options(), "--variant", "cluster-pod", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "runs").glob("*/samples/*/*/sample.json")
    sample = load(path)
    assert (sample["status"], "sidecar" in sample["flags"]) == ("valid", True)
    assert [name.partition(" ")[0] for name in load(path.with_name("client.json"))["pod"]["beside"]] == ["istio-proxy"]
    assert load(path.with_name("measurement.json"))["cable"] == "unknown", "nobody watched the nodes"


def test_a_pod_that_is_evicted_costs_its_sample_and_says_so(
    networked: Networked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = networked.namespaces()
    words = (*ONE_SAMPLE, "--duration", "20")
    process = start_labctl("matrix", *networked.options(), "--variant", "cluster-pod", *words)
    try:
        wait_until(lambda: networked.lab.measuring(), READY_S, process)
        (namespace,) = set(networked.namespaces()) - set(before)
        those = "--selector=labctl/end=server,app.kubernetes.io/name=netperf --output=json"
        listed = networked.lab.kubectl(f"get pods --namespace={namespace.partition('/')[2]} {those}")
        (pod,) = [one["metadata"] for one in json.loads(listed)["items"]]
        eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": pod["name"]}}
        path = f"/api/v1/namespaces/{pod['namespace']}/pods/{pod['name']}/eviction"
        networked.lab.kubectl(f"create --raw {path} -f - <<< '{json.dumps(eviction)}'")
        out, err = process.communicate(timeout=READY_S)
    finally:
        process.kill()
    assert process.returncode == 1, out + err
    (run,) = (tmp_path / "runs").iterdir()
    (sample,) = run.glob("samples/*/*/sample.json")
    assert load(sample)["status"] == "failed", out + err
    assert "its pod was evicted or deleted" in json.dumps(load(sample)["reasons"])


def test_a_right_that_a_kubeconfig_lacks_is_named(networked: Networked, tmp_path: Path) -> None:
    document = yaml.safe_load(networked.kubeconfig.read_text())
    networked.lab.kubectl("create serviceaccount nobody --namespace default")
    secret = networked.lab.kubectl("get serviceaccount nobody --namespace default --output=jsonpath={.secrets[0].name}")
    token = networked.lab.kubectl(
        f"get secret {secret} --namespace default --output=go-template='{{{{.data.token | base64decode}}}}'"
    )
    document["users"][0]["user"] = {"token": token}
    weak = tmp_path / "weak"
    weak.touch(mode=0o600)
    weak.write_text(yaml.safe_dump(document))
    done = labctl("matrix", "--kubeconfig", str(weak), "--client", "node1", "--server", "node2", *SHORT)
    networked.lab.kubectl("delete serviceaccount nobody --namespace default")
    assert done.returncode == 1, done.stdout + done.stderr
    for right in ("create namespaces", "create pods", "create pods/exec", "get nodes"):
        assert right in done.stderr


def test_reset_leaves_nothing_of_a_cluster_that_no_longer_answers(provisioned: ClusterLab) -> None:
    """With a network and pods on it, and a program that sockets pass, which a CNI left."""
    provisioned.on_node("node1", "rm /etc/kubernetes/manifests/kube-apiserver.yaml")
    wait_until(lambda: not provisioned.on_node("node1", "pgrep kube-apiserver"), READY_S)
    attach, group_gone = CONNECTING
    provisioned.on_node("node2", attach)
    assert "stranger" in provisioned.on_node("node2", "bpftool cgroup tree")
    done = labctl("reset", "-i", provisioned.path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing of a cluster is left" in done.stdout
    traces = "find /etc/cni /etc/kubernetes /var/lib/kubelet -mindepth 1 2>/dev/null"
    assert provisioned.on_nodes(f"pgrep -a 'kube|containerd|etcd'; nft list ruleset; {traces}; true") == []
    assert "stranger" not in provisioned.on_node("node2", "bpftool cgroup tree")
    provisioned.on_node("node2", group_gone)
