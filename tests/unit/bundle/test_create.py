"""Making a bundle from a site on the loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.bundle import create as bundle_create
from labctl.bundle import index as bundle
from labctl.bundle.index import INDEX, Bundle
from labctl.catalog.editions import Edition
from labctl.core.errors import Problem
from tests.unit.bundle.loopback import FILES, IMAGES, image, problems, reference, sha256


def all_below(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


def test_a_bundle_holds_every_file_with_its_origin(made: tuple[Path, Bundle], site: tuple[Path, str]) -> None:
    directory, index = made
    assert {file.name for file in index.files} == {*FILES, *IMAGES}
    assert index.editions["2021"].kubernetes == "1.20.2"
    for file in index.files:
        assert (directory / file.path).read_bytes() == (site[0] / file.name).read_bytes()
        assert file.origin == f"{site[1]}/{file.name}"
    assert bundle.verify(directory) == index


def test_what_is_there_and_pinned_is_not_fetched_again(
    made: tuple[Path, Bundle], edition: Edition, site: tuple[Path, str]
) -> None:
    directory, first = made
    (directory / "2021/programs/runc").write_text("altered\n")
    fetched: list[str] = []
    assert bundle_create.create(directory, [edition], [], "amd64", fetched.append).files == first.files
    assert fetched == [f"{site[1]}/{name}" for name in ("runc", *IMAGES)]


def test_what_is_pinned_by_overrides_is_not_fetched_again(
    made: tuple[Path, Bundle], edition: Edition, site: tuple[Path, str]
) -> None:
    directory, first = made
    assert {file.name for file in first.files if file.pinned is False} == set(IMAGES)
    sums = {name: sha256(site[0] / name) for name in IMAGES}
    images = {name: replace(edition.images[name], sha256={"amd64": sums[name]}) for name in IMAGES}
    fetched: list[str] = []
    again = bundle_create.create(directory, [replace(edition, images=images)], [], "amd64", fetched.append)
    assert fetched == []
    assert all(file.pinned for file in again.files)


def test_what_changed_at_its_origin_is_refused_until_it_is_asked_for(
    made: tuple[Path, Bundle], edition: Edition, site: tuple[Path, str]
) -> None:
    directory, first = made
    before = (directory / "2021/images/etcd.tar").read_bytes()
    (site[0] / "etcd").write_bytes(image(reference("etcd"), "another"))
    (problem,) = problems(lambda: bundle_create.create(directory, [edition], [], "amd64"))
    assert (problem.what, problem.where) == ("etcd changed at its origin", f"{site[1]}/etcd")
    assert "--renew" in str(problem.hint)
    assert (directory / "2021/images/etcd.tar").read_bytes() == before
    assert bundle.verify(directory) == first
    renewed = bundle_create.create(directory, [edition], [], "amd64", renew=True)
    assert (directory / "2021/images/etcd.tar").read_bytes() == (site[0] / "etcd").read_bytes()
    assert bundle.verify(directory) == renewed


def test_a_bundle_that_broke_off_is_gone_on_with(edition: Edition, site: tuple[Path, str], tmp_path: Path) -> None:
    directory, content = tmp_path / "bundle", (site[0] / "runc").read_bytes()
    (site[0] / "runc").write_text("cut")
    problems(lambda: bundle_create.create(directory, [edition], [], "amd64"))
    assert not (directory / "index.json").exists()
    assert not (directory / "2021/programs/runc").exists()
    (directory / ".making" / "part").write_text("of one that was killed")
    (directory / ".making" / ".index.json.partial").write_text("of one that was killed")
    (problem,) = problems(lambda: bundle.verify(directory))
    assert problem.what == "this is no bundle: its index cannot be read"
    (site[0] / "runc").write_bytes(content)
    fetched: list[str] = []
    bundle_create.create(directory, [edition], [], "amd64", fetched.append)
    assert fetched == [f"{site[1]}/{name}" for name in ("runc", *IMAGES)]
    assert not (directory / ".making").exists()


def test_an_interrupt_leaves_nothing_half_made(edition: Edition, tmp_path: Path) -> None:
    def interrupt(url: str) -> None:
        if url.endswith("kubelet"):
            raise KeyboardInterrupt

    names = list(edition.files)
    assert names.index("kubeadm") < names.index("kubelet")
    with pytest.raises(KeyboardInterrupt):
        bundle_create.create(tmp_path / "bundle", [edition], [], "amd64", interrupt)
    left = {path for path in all_below(tmp_path / "bundle") if (tmp_path / "bundle" / path).is_file()}
    assert left == {".making/index.json", "2021/programs/kubeadm"}


def test_a_bundle_that_is_being_made_again_is_no_bundle(made: tuple[Path, Bundle]) -> None:
    directory, _ = made
    (directory / ".making").mkdir()
    (directory / ".making" / "index.json").write_bytes((directory / "index.json").read_bytes())
    (problem,) = problems(lambda: bundle.verify(directory))
    assert problem.what == "the bundle is not finished"


def test_two_are_not_made_in_one_directory(edition: Edition, site: tuple[Path, str], tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    told: list[Problem] = []

    def second(url: str) -> None:
        if not told:
            told.extend(problems(lambda: bundle_create.create(directory, [edition], [], "amd64")))

    bundle_create.create(directory, [edition], [], "amd64", second)
    assert [problem.what for problem in told] == ["another `labctl bundle create` is at work in this directory"]


@pytest.mark.parametrize("path", ["../../VICTIM", "/VICTIM", "2021/../../VICTIM"])
def test_an_old_index_that_leads_out_is_refused(
    made: tuple[Path, Bundle], edition: Edition, tmp_path: Path, path: str
) -> None:
    directory, _ = made
    (tmp_path.parent / "VICTIM").write_text("mine")
    index = json.loads((directory / "index.json").read_text())
    index["files"].append({**index["files"][0], "name": "old", "path": path})
    (directory / "index.json").write_text(json.dumps(index))
    (problem,) = problems(lambda: bundle_create.create(directory, [edition], [], "amd64"))
    assert problem.what == "a path that leads out of the bundle, or is none"
    assert (tmp_path.parent / "VICTIM").read_text() == "mine"


def test_what_only_an_earlier_index_names_goes_and_what_was_altered_stays(
    made: tuple[Path, Bundle], edition: Edition
) -> None:
    directory, _ = made
    index = json.loads((directory / "index.json").read_text())
    for name in ("old", "altered"):
        shutil.copy(directory / index["files"][0]["path"], directory / name)
        index["files"].append({**index["files"][0], "name": name, "path": name})
    (directory / "altered").write_text("notes of mine")
    (directory / "index.json").write_text(json.dumps(index))
    (problem,) = problems(lambda: bundle_create.create(directory, [edition], [], "amd64"))
    assert (problem.what, problem.where) == ("a file that the index does not name", str(directory / "altered"))
    assert (directory / "altered").read_text() == "notes of mine"
    assert not (directory / "old").exists()


def test_a_file_of_an_earlier_bundle_keeps_its_place_unless_another_needs_it(
    made: tuple[Path, Bundle], edition: Edition
) -> None:
    directory, _ = made
    index = json.loads((directory / "index.json").read_text())
    by_name = {file["name"]: file for file in index["files"]}
    for name, path in (("kubeadm", "old/kubeadm-v1"), ("kubelet", "2021/programs/kubectl"), ("kubectl", "old/kubectl")):
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / by_name[name]["path"]).rename(directory / f"{name}.tmp")
        by_name[name]["path"] = path
    for name in ("kubeadm", "kubelet", "kubectl"):
        (directory / f"{name}.tmp").rename(directory / by_name[name]["path"])
    (directory / "index.json").write_text(json.dumps(index))
    again = {file.name: file.path for file in bundle_create.create(directory, [edition], [], "amd64").files}
    assert (again["kubeadm"], again["kubelet"]) == ("old/kubeadm-v1", "2021/programs/kubelet")
    assert again["kubectl"] == "old/kubectl"


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.write_text("mine"), "a bundle cannot be made here"),
        (lambda path: path.symlink_to("/nowhere/at/all"), "a bundle cannot be made here"),
        (lambda path: path.symlink_to(path), "a bundle cannot be made here"),
        (lambda path: subprocess.run(["mkfifo", path], check=True), "a bundle cannot be made here"),
        (lambda path: (path.mkdir(), (path / "notes").touch()), "a file that the index does not name"),
        (lambda path: (path.mkdir(), (path / "2021").symlink_to("/etc")), "there is a symbolic link in the bundle"),
        (lambda path: (path.mkdir(), (path / ".making").symlink_to("/etc")), "there is a symbolic link in the bundle"),
        (lambda path: (path.mkdir(), (path / "2021").touch()), "a file that the index does not name"),
        (
            lambda path: (path.mkdir(), subprocess.run(["mkfifo", path / INDEX], check=True)),
            "this is no regular file",
        ),
        (
            lambda path: (path.mkdir(), (path / "index.json").write_text("{")),
            "a file is not valid JSON",
        ),
        (lambda path: (path.mkdir(), path.chmod(0o777)), "the directory of a bundle is not believed"),
        (
            lambda path: (path / "2021/programs/kubelet").mkdir(parents=True),
            "something stands where a file of the bundle",
        ),
    ],
)
def test_where_no_bundle_can_be_made_nothing_is_touched(
    edition: Edition, tmp_path: Path, make: Callable[[Path], object], what: str
) -> None:
    make(tmp_path / "bundle")
    told = problems(lambda: bundle_create.create(tmp_path / "bundle", [edition], [], "amd64"))
    assert len(told) == 1
    assert told[0].what.startswith(what)
    assert told[0].hint
    assert not any(path.is_file() and path.name == "part" for path in Path(tmp_path).rglob("*"))


@pytest.mark.parametrize("name", ["a b", "a:b", "ü", "{{ 1/0 }}", "-x", "a\nb"])
def test_a_directory_of_any_name_is_one(edition: Edition, tmp_path: Path, name: str) -> None:
    made = bundle_create.create(tmp_path / name, [edition], [], "amd64")
    assert bundle.verify(tmp_path / name) == made


def test_a_name_that_is_too_long_is_told(edition: Edition, tmp_path: Path) -> None:
    (problem,) = problems(lambda: bundle_create.create(tmp_path / ("x" * 300), [edition], [], "amd64"))
    assert "File name too long" in str(problem)


def test_a_page_in_place_of_an_image_is_refused(edition: Edition, site: tuple[Path, str], tmp_path: Path) -> None:
    (site[0] / "etcd").write_text("<!DOCTYPE html><html>Please sign in</html>")
    (site[0] / "pause").write_bytes(image(reference("etcd")))
    told = problems(lambda: bundle_create.create(tmp_path / "bundle", [edition], [], "amd64"))
    assert [problem.what for problem in told] == [
        "what was fetched for etcd is of no use",
        "what was fetched for pause is of no use",
    ]
    assert not (tmp_path / "bundle/2021/images/etcd.tar").exists()


def test_origins_that_are_none_are_named_before_anything_is_fetched(edition: Edition, tmp_path: Path) -> None:
    files = {**edition.files, "runc": replace(edition.files["runc"], origin="file:///etc/passwd")}
    images = {**edition.images, "etcd": replace(edition.images["etcd"], origin="-v/{x")}
    wrong = replace(edition, files=files, images=images)
    fetched: list[str] = []
    told = problems(lambda: bundle_create.create(tmp_path / "bundle", [wrong], [], "amd64", fetched.append))
    assert [(problem.what, problem.where) for problem in told] == [
        ("a file needs an http or https URL", "2021.files.runc.origin"),
        ("not the origin of an image", "2021.images.etcd.origin"),
    ]
    assert fetched == []
    assert not (tmp_path / "bundle").exists()


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
