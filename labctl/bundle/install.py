"""A cluster from a bundle: what Ansible is told to install. Pure but for reading the bundle's index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl.bundle.index import Bundle, BundleFile
from labctl.catalog.editions import Use
from labctl.core.errors import Problem, UsageError
from labctl.core.records import encode

GROUPS = ("control_plane", "worker")
RUNTIME = ("containerd", "runc", "crictl", "cni-plugins")
CONTROL_PLANE = ("kubectl", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "helm")
CHART = "-chart"  # how the names of Helm charts end; the control plane alone has them
# Where a file goes on a node; any other program goes to the first of these.
PROGRAMS = "/usr/local/bin"
DESTINATIONS = {
    "containerd": "/usr/local",
    "cni-plugins": "/opt/cni/bin",
    "runc": "/usr/local/sbin",
    "helm": "/var/lib/labctl/helm",
}
CHARTS = "/var/lib/labctl/charts"


def require_groups(groups: Mapping[str, Any], lab: str) -> None:
    """Raise UsageError where the inventory does not say which node is what in a cluster."""
    lacking = [group for group in GROUPS if not groups.get(group)]
    if lacking:
        hint = "make client a child of control_plane and server one of worker, as hosts.yml of the local lab does"
        raise UsageError(*(Problem(f"the lab has no host in the group {group}", lab, hint=hint) for group in lacking))


def inventory(bundle: Bundle, directory: Path, edition: str) -> dict[str, Any]:
    """The inventory that makes playbooks/cluster.yml install `edition` out of the bundle in `directory`.

    What a lab may set otherwise stands in `all`, where its own group variables win.
    """
    files = bundle.of(edition)  # with those of every variant that the bundle was made for
    images = {file.name: file.reference for file in files if file.use is Use.IMAGE}
    described = bundle.editions[edition]
    fixed = {
        "kubernetes_bundle": str(directory.absolute()),
        "kubernetes_edition": edition,
        "kubernetes_version": described.kubernetes,
        "kubernetes_architecture": bundle.architecture,
        "kubernetes_runtime_files": [_entry(file) for file in files if file.name in RUNTIME],
        "kubernetes_control_plane_files": [_entry(file) for file in files if _is_for_control_plane(file)],
        "kubernetes_files": [
            _entry(file) for file in files if file.name not in RUNTIME and not _is_for_control_plane(file)
        ],
        "kubernetes_etcd_image": images["etcd"],
        "kubernetes_pause_image": images["pause"],
        "kubernetes_image_repository": str(images["kube-apiserver"]).rpartition("/")[0],
    }
    adjustable = {
        "kubernetes_kernel_low": described.kernel_low,
        "kubernetes_kernel_below": described.kernel_below or "",
        "kubernetes_cgroups": list(described.cgroups),
    }
    members = {"children": dict.fromkeys(GROUPS), "vars": fixed}
    return {"all": {"vars": adjustable, "children": {"cluster": members}}}


def _is_for_control_plane(file: BundleFile) -> bool:
    return file.name in CONTROL_PLANE or file.name.endswith(CHART)


def _entry(file: BundleFile) -> dict[str, Any]:
    """A file of the index with its place on a node; every chart has a directory of its own."""
    target = f"{CHARTS}/{file.name}" if file.name.endswith(CHART) else DESTINATIONS.get(file.name, PROGRAMS)
    if file.use is Use.IMAGE:
        target = ""
    told = ("name", "use", "path", "sha256", "bytes", "version", "reference")
    return {**{name: encode(getattr(file, name)) for name in told}, "dest": target}
