"""A cluster out of a bundle: what Ansible is told to install, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.bundle import install as cluster
from labctl.bundle.index import Bundle
from labctl.core.errors import UsageError
from tests.unit.bundle.loopback import FILES, IMAGES


def test_ansible_is_told_what_goes_where(copied: tuple[Path, Bundle]) -> None:
    directory, index = copied
    content = cluster.inventory(index, directory, "2021")
    group = content["all"]["children"]["cluster"]
    assert set(group["children"]) == {"control_plane", "worker"}
    fixed = group["vars"]
    places = {
        file["name"]: file["dest"]
        for kind in ("kubernetes_runtime_files", "kubernetes_files", "kubernetes_control_plane_files")
        for file in fixed[kind]
    }
    assert set(places) == {*FILES, *IMAGES}, "every file goes to some node"
    assert (places["kubelet"], places["containerd"], places["pause"]) == ("/usr/local/bin", "/usr/local", "")
    assert fixed["kubernetes_etcd_image"] == "registry.k8s.io/etcd:3.4.13-0"
    assert fixed["kubernetes_image_repository"] == "registry.k8s.io"
    # What a lab may set otherwise must not stand where its own variables lose.
    assert content["all"]["vars"] == {
        "kubernetes_kernel_low": "4.19",
        "kubernetes_kernel_below": "",
        "kubernetes_cgroups": [1, 2],
    }


def test_a_lab_without_the_groups_of_a_cluster_is_told_so() -> None:
    with pytest.raises(UsageError) as raised:
        cluster.require_groups({"control_plane": ("node1",), "worker": ()}, "lab")
    assert [problem.what for problem in raised.value.problems] == ["the lab has no host in the group worker"]
