"""Making a bundle from a site on the loopback."""

from __future__ import annotations

from pathlib import Path

from labctl.bundle import create as bundle_create
from labctl.bundle import index as bundle
from labctl.bundle.index import Bundle
from labctl.catalog.editions import Edition
from tests.unit.bundle.loopback import FILES, IMAGES, problems


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
