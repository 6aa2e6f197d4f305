"""Editions: what ships is whole, overrides lie over it, and every mistake names file and key."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from labctl.catalog import CATALOG_DIR
from labctl.catalog.editions import Edition, Use, load_editions
from labctl.core.errors import LabctlError, Problem

SHIPPED = CATALOG_DIR / "editions"
VARIANTS = {"cni_cilium": ["cilium-ebpf"]}
NEEDED = {"kubeadm", "kubelet", "kubectl", "crictl", "containerd", "runc", "cni-plugins"}
IMAGES = {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "pause"}


def overridden(tmp_path: Path, text: str) -> dict[str, Edition]:
    overrides = tmp_path / "mine.yml"
    overrides.write_text(text)
    return load_editions(SHIPPED, VARIANTS, overrides)


def problems(tmp_path: Path, text: str) -> tuple[Problem, ...]:
    with pytest.raises(LabctlError) as raised:
        overridden(tmp_path, text)
    return raised.value.problems


def test_the_shipped_editions_hold_all_that_a_cluster_takes() -> None:
    editions = load_editions(SHIPPED, VARIANTS)
    assert list(editions) == ["2021", "current"]
    for edition in editions.values():
        assert {name for name, file in edition.files.items() if not file.variants} == NEEDED
        assert {name for name, image in edition.images.items() if not image.variants} == IMAGES
        for name, file in edition.files.items():
            if not name.endswith("-chart"):
                assert file.sha256, f"{edition.name} {name} has no checksum"
                assert "amd64" in file.sha256, f"{edition.name} {name} has no checksum"
            assert re.match(r"https://[a-z0-9.]+/\S+$", edition.url(name, "amd64"))
        for name in ("kubeadm", "kubelet", "kubectl"):
            assert edition.files[name].version == edition.kubernetes
        for name in IMAGES - {"etcd", "pause"}:
            assert edition.images[name].reference == f"registry.k8s.io/{name}:v{edition.kubernetes}"
            assert edition.image_origin(name) == edition.images[name].reference


def test_origins_are_the_projects_own() -> None:
    edition = load_editions(SHIPPED, VARIANTS)["2021"]
    assert edition.url("kubelet", "amd64") == "https://dl.k8s.io/release/v1.20.2/bin/linux/amd64/kubelet"
    assert edition.url("cni-plugins", "arm64").endswith("/v0.9.1/cni-plugins-linux-arm64-v0.9.1.tgz")
    assert edition.image_origin("pause") == "registry.k8s.io/pause:3.2"
    assert edition.files["containerd"].use is Use.ARCHIVE


def test_overrides_replace_what_they_name_and_nothing_else(tmp_path: Path) -> None:
    text = f"""\
"2021":
  locations: {{kubernetes: "http://127.0.0.1:8000/k8s"}}
  files: {{kubelet: {{sha256: {{amd64: {"a" * 64}}}}}}}
"""
    mine, shipped = overridden(tmp_path, text)["2021"], load_editions(SHIPPED, VARIANTS)["2021"]
    assert mine.url("kubeadm", "amd64") == "http://127.0.0.1:8000/k8s/v1.20.2/bin/linux/amd64/kubeadm"
    assert mine.files["kubelet"].sha256 == {**(shipped.files["kubelet"].sha256 or {}), "amd64": "a" * 64}
    assert mine.files["kubelet"].version == "1.20.2"
    assert mine.files["kubeadm"] == shipped.files["kubeadm"]
    assert mine.images == shipped.images


def test_an_unknown_edition_cannot_be_overridden(tmp_path: Path) -> None:
    assert problems(tmp_path, "'2022': {title: x}\n") == (
        Problem("unknown edition", "mine.yml:2022", hint="known: 2021, current"),
    )


def test_mistakes_in_overrides_name_their_place(tmp_path: Path) -> None:
    text = """\
"2021":
  kernel: {low: "5"}
  files:
    kubelet: {origin: "{kubernets}/kubelet", sha256: {amd64: abc}}
"""
    assert problems(tmp_path, text) == (
        Problem(
            "a location that the edition does not have",
            "editions/*.yml:2021.files.kubelet.origin",
            "{kubernets}",
            "add it under editions/*.yml:2021.locations",
        ),
        Problem("not a SHA-256", "editions/*.yml:2021.files.kubelet.sha256.amd64", "abc", "write 64 hex digits"),
        Problem("not a kernel version", "editions/*.yml:2021.kernel.low", "5", "write major.minor, as in '5.10'"),
    )


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("files: {kubelet: {origin: 'http://a/{'}}", "a brace without its other", "files.kubelet.origin"),
        ("files: {kubelet: {origin: 'http://a/}'}}", "a brace without its other", "files.kubelet.origin"),
        *(
            (f"files: {{kubelet: {{origin: 'http://a/{word}'}}}}", what, "files.kubelet.origin")
            for what in ("a location that the edition does not have",)
            for word in ("{version.__class__}", "{}", "{0}", "{version!r:>999999999}", "{a b}")
        ),
        ("images: {etcd: {origin: '{images}/e:{version}'}}", "a location that", "images.etcd.origin"),
        ("images: {etcd: {reference: 'Registry/ETCD:1'}}", "not the name of an image", "images.etcd.reference"),
        ("images: {etcd: {reference: '--all'}}", "not the name of an image", "images.etcd.reference"),
        ("images: {etcd: {digest: sha256:abc}}", "not a digest", "images.etcd.digest"),
        ("images: {etcd: {sha256: {amd64: abc}}}", "not a SHA-256", "images.etcd.sha256.amd64"),
        (
            "images: {kubelet: {reference: a/b:1, origin: a/b:1, digest: null}}",
            "a file has the same name",
            "images.kubelet",
        ),
        ("files: {kubelet: {use: image}}", "an image stands among the files", "files.kubelet.use"),
        (
            "files: {../../x: {version: '1', use: program, origin: 'http://a/x', sha256: null}}",
            "this cannot be the name of a file",
            "files",
        ),
        ("cgroups: [3]", "not versions of control groups", "cgroups"),
    ],
)
def test_what_cannot_stand_in_overrides_is_named_with_a_way_out(
    tmp_path: Path, text: str, what: str, where: str
) -> None:
    (problem,) = problems(tmp_path, f"'2021': {{{text}}}\n")
    assert problem.what.startswith(what)
    assert problem.where == f"editions/*.yml:2021.{where}"
    assert problem.hint


def test_an_origin_is_filled_in_and_nothing_else_is_done_to_it(tmp_path: Path) -> None:
    text = "'2021': {locations: {images: '{github}'}, images: {etcd: {origin: '{images}/e:1'}}}\n"
    assert overridden(tmp_path, text)["2021"].image_origin("etcd") == "{github}/e:1"


def test_of_what_ships_all_but_one_image_is_pinned() -> None:
    unpinned = {
        (edition.name, name)
        for edition in load_editions(SHIPPED, VARIANTS).values()
        for name, image in edition.images.items()
        if image.digest is None
    }
    assert unpinned == {("2021", "cilium-operator")}


def test_an_edition_says_what_a_variant_needs() -> None:
    edition = load_editions(SHIPPED, VARIANTS)["current"]
    assert edition.needed_by("cilium-ebpf") == ("helm", "cilium-chart", "cilium", "cilium-operator")
    assert edition.needed_by("k8s-ptp") == ()


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "current: {kernels: '5.10'}\n")
    assert (problem.what, problem.where) == ("unknown key", "editions/*.yml:current.kernels")


def test_a_file_of_a_role_adds_what_its_variants_alone_need(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "kubernetes.yml", tmp_path)
    (tmp_path / "cni_other.yml").write_text(
        "current:\n  images:\n    other: {reference: other:v1, origin: other:v1, digest: null}\n"
    )
    edition = load_editions(tmp_path, {"cni_other": ["other-ebpf", "other-iptables"]})["current"]
    assert edition.images["other"].variants == ("other-ebpf", "other-iptables")
    assert edition.images["etcd"].variants == ()


def test_a_file_of_a_role_takes_nothing_from_others_and_is_of_a_role_with_variants(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "kubernetes.yml", tmp_path)
    (tmp_path / "cni_other.yml").write_text("current: {images: {etcd: {reference: mine}}}\nnext: {files: {}}\n")
    (tmp_path / "cni_othr.yml").write_text("{}")
    with pytest.raises(LabctlError) as raised:
        load_editions(tmp_path, {"cni_other": ["other-ebpf"]})
    assert [(problem.what, problem.where) for problem in raised.value.problems] == [
        ("another file has an entry of this name", "editions/cni_other.yml:current.images.etcd"),
        ("unknown edition", "editions/cni_other.yml:next"),
        ("no role of this name has variants", "editions/cni_othr.yml"),
    ]


def test_overrides_that_others_may_write_are_not_believed(tmp_path: Path) -> None:
    """They say what is fetched, and what it has to be; it runs on the nodes."""
    overrides = tmp_path / "mine.yml"
    overrides.write_text("current: {kubernetes: '9'}")
    overrides.chmod(0o666)
    with pytest.raises(LabctlError, match="the file of overrides is not believed"):
        load_editions(SHIPPED, VARIANTS, overrides)
