"""Bundles: made from a site on the loopback, verified, and every way of being wrong named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from labctl import catalog
from labctl.bundle import create as bundle_create
from labctl.bundle import index as bundle
from labctl.bundle import install as cluster
from labctl.bundle.index import Bundle
from labctl.catalog.editions import Edition
from labctl.core.errors import LabctlError, Problem, UsageError
from tests.conftest import served

FILES = ("kubeadm", "kubelet", "kubectl", "runc", "containerd", "cni-plugins")
IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "pause")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory with a file per name, and the URL at which it is served."""
    root = tmp_path / "site"
    root.mkdir()
    for name in (*FILES, *IMAGES):
        (root / name).write_text(f"{name}\n")
    with served(root) as url:
        yield root, url


@pytest.fixture
def edition(site: tuple[Path, str], tmp_path: Path) -> Edition:
    """The edition 2021 of the catalog, its files at the site."""
    root, url = site
    entries = {
        name: {
            "origin": f"{{site}}/{name}",
            "sha256": {"amd64": hashlib.sha256((root / name).read_bytes()).hexdigest()},
        }
        for name in FILES
    }
    images = {name: {"origin": f"{{site}}/{name}"} for name in IMAGES}
    overrides = tmp_path / "overrides.yml"
    overrides.write_text(
        yaml.safe_dump({"2021": {"locations": {"site": url}, "files": {**entries, "crictl": None}, "images": images}})
    )
    return catalog.editions(overrides)["2021"]


@pytest.fixture
def made(edition: Edition, tmp_path: Path) -> tuple[Path, Bundle]:
    directory = tmp_path / "bundle"
    return directory, bundle_create.create(directory, [edition], [], "amd64")


def problems(call: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(LabctlError) as raised:
        call()
    return raised.value.problems


def test_a_bundle_holds_every_file_with_its_origin(made: tuple[Path, Bundle], site: tuple[Path, str]) -> None:
    directory, index = made
    assert {file.name for file in index.files} == {*FILES, *IMAGES}
    assert index.editions["2021"].kubernetes == "1.20.2"
    for file in index.files:
        assert (directory / file.path).read_text() == f"{file.name}\n"
        assert file.origin == f"{site[1]}/{file.name}"
    assert bundle.verify(directory) == index


def test_what_is_there_and_right_is_not_fetched_again(
    made: tuple[Path, Bundle], edition: Edition, site: tuple[Path, str]
) -> None:
    directory, _ = made
    (directory / "2021/programs/runc").write_text("altered\n")
    fetched: list[str] = []
    bundle_create.create(directory, [edition], [], "amd64", fetched.append)
    assert fetched == [f"{site[1]}/runc"]


def test_a_file_with_another_checksum_than_the_published_one_is_refused(
    edition: Edition, site: tuple[Path, str], tmp_path: Path
) -> None:
    (site[0] / "kubelet").write_text("something else\n")
    (site[0] / "etcd").unlink()
    wrong, gone = problems(lambda: bundle_create.create(tmp_path / "bundle", [edition], [], "amd64"))
    assert (wrong.what, wrong.where) == ("the checksum of kubelet is wrong", f"{site[1]}/kubelet")
    assert (gone.what, gone.where) == ("a file cannot be fetched", f"{site[1]}/etcd")
    assert "404" in str(gone.seen)
    assert not (tmp_path / "bundle" / "index.json").exists()
    assert not list((tmp_path / "bundle").rglob("*.partial"))


def test_an_architecture_without_checksums_is_refused(edition: Edition, tmp_path: Path) -> None:
    found = problems(lambda: bundle_create.create(tmp_path / "bundle", [edition], [], "riscv64"))
    assert {problem.where for problem in found} == set(FILES)


def test_every_missing_altered_and_unknown_file_is_named(made: tuple[Path, Bundle]) -> None:
    directory, _ = made
    (directory / "2021/images/pause.tar").unlink()
    (directory / "2021/programs/kubelet").write_text("KUBELET\n")
    (directory / "2021/programs/kubeadm").write_text("longer than before\n")
    (directory / "2021/programs/stranger").write_text("x")
    found = {problem.what for problem in problems(lambda: bundle.verify(directory))}
    assert found == {
        "a file of the bundle is missing: 2021/images/pause.tar",
        "a file of the bundle was altered: 2021/programs/kubelet",
        "a file of the bundle was altered: 2021/programs/kubeadm",
        "a file that the index does not name",
    }


def test_an_image_that_the_index_does_not_name_is_missed(made: tuple[Path, Bundle]) -> None:
    directory, _ = made
    index = json.loads((directory / "index.json").read_text())
    index["files"] = [file for file in index["files"] if file["name"] != "etcd"]
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "2021/images/etcd.tar").unlink()
    (problem,) = problems(lambda: bundle.verify(directory))
    assert problem.what == "the bundle has no image etcd for edition 2021"


def test_a_path_out_of_the_bundle_is_refused(made: tuple[Path, Bundle]) -> None:
    directory, _ = made
    index = json.loads((directory / "index.json").read_text())
    index["files"][0]["path"] = "../outside"
    (directory / "index.json").write_text(json.dumps(index))
    assert Problem("a path that leads out of the bundle", str(directory / "index.json"), "../outside") in problems(
        lambda: bundle.verify(directory)
    )


def test_a_directory_without_an_index_is_no_bundle(tmp_path: Path) -> None:
    (problem,) = problems(lambda: bundle.verify(tmp_path))
    assert problem.what == "this is no bundle: its index cannot be read"


def test_the_only_edition_is_meant_where_none_is_named(made: tuple[Path, Bundle]) -> None:
    directory, index = made
    assert bundle.choose(index, None, directory) == "2021"
    (problem,) = problems(lambda: bundle.choose(index, "current", directory))
    assert (problem.what, problem.seen) == ("the bundle does not hold this edition", "current")


def test_ansible_is_told_what_goes_where(made: tuple[Path, Bundle]) -> None:
    directory, index = made
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
