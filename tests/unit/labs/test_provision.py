"""Provisioning: which playbook is played over what, and labs that are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from labctl.bundle import install
from labctl.bundle.index import Bundle, BundleEdition, BundleFile
from labctl.catalog.editions import Use
from labctl.core.errors import LabctlError, UsageError
from labctl.core.files import read_yaml
from labctl.engine.events import TaskResult, TaskStart
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Outcome
from labctl.engine.session import AnsibleOptions
from labctl.labs import provision as provisioning
from tests.unit.scripted import Call, ScriptedSession, ended, failing

OPTIONS = AnsibleOptions(check=True)
GROUPS = {"control_plane": ("node1",), "worker": ("node2",)}


@pytest.fixture
def session() -> Iterator[ScriptedSession]:
    with ScriptedSession() as opened:
        yield opened


def lab(kind: str = "metal", groups: Mapping[str, tuple[str, ...]] = GROUPS) -> Inventory:
    return Inventory(Path("/labs/far"), "far", kind, "node1", "node2", {"node1": {}, "node2": {}}, groups)


def sources(session: ScriptedSession) -> list[Any]:
    """Lets provision.yml keep what its inventory sources but the lab hold."""
    found: list[Any] = []

    def play(call: Call) -> Outcome:
        found.extend(read_yaml(source) for source in call.inventories[1:])
        return ended("ok")

    session.plays["provision.yml"] = play
    return found


def image(name: str) -> BundleFile:
    reference = f"registry.k8s.io/{name}:1"
    return BundleFile(f"2021/images/{name}.tar", "2021", name, Use.IMAGE, "1", reference, "x", "0", 1)


@pytest.fixture
def wanted() -> Mapping[str, object]:
    files = tuple(map(image, ("etcd", "pause", "kube-apiserver")))
    editions = {"2021": BundleEdition("1.20.2", "4.19", None, (1, 2))}
    bundle = Bundle("labctl.bundle/1", "2026-03-04T05:06:07+00:00", "amd64", editions, files)
    return install.inventory(bundle, Path("/bundles/2021"), "2021")


def test_nodes_are_provisioned_over_their_inventory_alone(session: ScriptedSession) -> None:
    outcome = provisioning.provision(session, lab(), OPTIONS)
    (call,) = session.calls
    assert outcome.ok
    assert (call.name, call.inventories, call.options) == ("provision.yml", (Path("/labs/far"),), OPTIONS)


def test_nodes_reboot_only_where_that_is_allowed(session: ScriptedSession) -> None:
    found = sources(session)
    provisioning.provision(session, lab(), OPTIONS, allow_reboot=True)
    allowed = {"kernel_allow_reboot": True}
    assert found == [{"all": {"hosts": {"node1": allowed, "node2": allowed}}}]


def test_a_cluster_is_installed_out_of_its_bundle(session: ScriptedSession, wanted: Mapping[str, object]) -> None:
    found = sources(session)
    provisioning.provision(session, lab(), OPTIONS, cluster=wanted)
    (members,) = found
    variables = members["all"]["children"]["cluster"]["vars"]
    assert (variables["kubernetes_edition"], variables["kubernetes_bundle"]) == ("2021", "/bundles/2021")


def test_a_lab_that_does_not_say_which_node_is_what_gets_no_cluster(
    session: ScriptedSession, wanted: Mapping[str, object]
) -> None:
    with pytest.raises(UsageError, match="no host in the group worker"):
        provisioning.provision(session, lab(groups={"control_plane": ("node1",)}), OPTIONS, cluster=wanted)
    assert session.played == []


def test_a_cluster_one_already_has_is_not_ours_to_change(session: ScriptedSession) -> None:
    with pytest.raises(UsageError, match="there is nothing to provision"):
        provisioning.provision(session, lab("cluster"), OPTIONS)
    assert session.played == []


def test_an_idle_cluster_is_told_by_node() -> None:
    told = {"percent": {"kubelet": 1.5, "etcd": 0.75, "kube-proxy": 0.0}, "total": 2.25}
    event = TaskResult("kubernetes_idle", "A task", "node1", True, False, told)
    assert provisioning.idle_cluster(event) == {"node1": "2.25 % of one CPU (kubelet 1.5, etcd 0.75)"}
    quiet = TaskResult("kubernetes_idle", "A task", "node1", True, False, {"percent": {}, "total": 0})
    assert provisioning.idle_cluster(quiet) == {"node1": "0 % of one CPU (nothing that counts)"}


@pytest.mark.parametrize(
    "event",
    [
        TaskStart("A play", "A task"),
        TaskResult("command", "A task", "node1", True, False, {}),
        TaskResult("kubernetes_idle", "A task", "node1", False, False, {"msg": "no"}),
    ],
)
def test_other_events_say_nothing_of_an_idle_cluster(event: TaskStart | TaskResult) -> None:
    assert provisioning.idle_cluster(event) == {}


def test_what_is_no_bundle_is_refused_before_a_node_is_touched(tmp_path: Path) -> None:
    with pytest.raises(LabctlError, match="this is no bundle"):
        provisioning.cluster_from(tmp_path, None)


def test_a_reset_names_what_is_left(session: ScriptedSession) -> None:
    assert provisioning.reset(session, lab(), OPTIONS).ok
    session.plays["reset.yml"] = failing("node1", "/etc/kubernetes is still there")
    with pytest.raises(LabctlError, match="/etc/kubernetes is still there"):
        provisioning.reset(session, lab(), OPTIONS).require()
    assert session.played == ["reset.yml", "reset.yml"]


def test_what_a_node_takes_of_a_bundle_is_told_before_it_takes_minutes() -> None:
    files = [{"name": name, "use": use, "bytes": 3 << 20} for name, use in (("etcd", "image"), ("helm", "archive"))]

    def event(wanted: list[dict[str, object]], changed: bool = False) -> TaskResult:
        return TaskResult("bundle_files", "A task", "node1", True, changed, {"wanted": wanted})

    told = "node1 takes 2 files of the bundle, 6 MB; of them the images etcd are imported when all have arrived"
    assert provisioning.taken_of_bundle(event(files)) == told
    assert provisioning.taken_of_bundle(event(files[1:])) == "node1 takes 1 file of the bundle, 3 MB"
    for other in (event([]), event(files, changed=True), TaskStart("A play", "A task")):
        assert provisioning.taken_of_bundle(other) is None
