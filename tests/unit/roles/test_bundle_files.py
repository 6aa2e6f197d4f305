"""What a bundle brought to a node is taken off it again: its files, the directories made for them, and nothing else."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROLES = Path(__file__).resolve().parent.parent.parent.parent / "roles"


@pytest.fixture(scope="module")
def bundle_files() -> ModuleType:
    sys.path.insert(0, str(ROLES / "bundle" / "library"))
    try:
        return importlib.import_module("bundle_files")
    finally:
        sys.path.pop(0)


def staged(top: Path, name: str, use: str, dest: Path, content: str) -> dict[str, Any]:
    """A file that arrived on the node, as the roles name it."""
    path = top / "staged" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    if use == "archive":
        with tarfile.open(path, "w") as archive:
            for member in ("chart/Chart.yaml", "chart/templates/spire/server.yaml"):
                (top / "member").write_text(content)
                archive.add(top / "member", member)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": name, "use": use, "dest": str(dest), "sha256": digest, "version": "1", "reference": None}


def all_below(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


def test_directories_go_that_were_made_and_those_stay_that_were_there(bundle_files: ModuleType, tmp_path: Path) -> None:
    node, records = tmp_path / "node", tmp_path / "records"
    (node / "bin").mkdir(parents=True)
    records.mkdir()
    params = {"staged": str(tmp_path / "staged"), "records": str(records)}
    for content in ("first", "second"):  # a second bundle over the first
        files = [
            staged(tmp_path, "kubelet", "program", node / "bin", content),
            staged(tmp_path, "chart", "archive", node / "charts" / "cilium", content),
        ]
        assert bundle_files.present({**params, "files": files}) == ["kubelet", "chart"]
        assert bundle_files.wanted({**params, "files": files}) == []
    (node / "charts" / "stranger").touch()
    bundle_files.absent(params, check_mode=False)
    assert all_below(node) == {"bin", "charts", "charts/stranger"}


def packed(top: Path, name: str, dest: Path, *members: str, kind: bytes = tarfile.REGTYPE) -> dict[str, Any]:
    """An archive that arrived on the node."""
    file = staged(top, name, "program", dest, "")
    with tarfile.open(top / "staged" / name, "w") as archive:
        for member in members:
            info = tarfile.TarInfo(member)
            info.type = kind if member == members[-1] else tarfile.REGTYPE
            info.linkname = "/etc"
            archive.addfile(info)
    digest = hashlib.sha256((top / "staged" / name).read_bytes()).hexdigest()
    return {**file, "use": "archive", "sha256": digest}


def place(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    node = tmp_path / "node"
    node.mkdir()
    (tmp_path / "records").mkdir()
    return node, {"staged": str(tmp_path / "staged"), "records": str(tmp_path / "records")}


def test_nothing_of_an_earlier_version_stays(bundle_files: ModuleType, tmp_path: Path) -> None:
    node, params = place(tmp_path)
    for members in (("c/Chart.yaml", "c/templates/old.yaml"), ("c/Chart.yaml", "c/templates/new.yaml")):
        bundle_files.present({**params, "files": [packed(tmp_path, "chart", node / "charts", *members)]})
    assert all_below(node) == {"charts", "charts/c", "charts/c/Chart.yaml", "charts/c/templates"} | {
        "charts/c/templates/new.yaml"
    }
    bundle_files.absent(params, check_mode=False)
    assert all_below(node) == set()


@pytest.mark.parametrize(
    ("member", "kind"),
    [
        ("../out", tarfile.REGTYPE),
        ("/etc/passwd", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("hard", tarfile.LNKTYPE),
        ("fifo", tarfile.FIFOTYPE),
        ("sparse", tarfile.GNUTYPE_SPARSE),
    ],
)
def test_of_an_archive_that_holds_what_it_should_not_nothing_is_unpacked(
    bundle_files: ModuleType, tmp_path: Path, member: str, kind: bytes
) -> None:
    node, params = place(tmp_path)
    file = packed(tmp_path, "chart", node / "charts", "good", member, kind=kind)
    with pytest.raises(Exception, match="holds what it should not"):
        bundle_files.present({**params, "files": [file]})
    assert all_below(node) == set()


def test_an_archive_that_is_none_is_refused(bundle_files: ModuleType, tmp_path: Path) -> None:
    node, params = place(tmp_path)
    file = {**staged(tmp_path, "chart", "program", node / "charts", "junk"), "use": "archive"}
    with pytest.raises(Exception, match="An archive cannot be unpacked"):
        bundle_files.present({**params, "files": [file]})
    assert all_below(node) == set()


@pytest.mark.parametrize("act", ["replaced", "link", "gone", "fifo"])
def test_what_was_changed_after_it_was_verified_is_not_installed(
    bundle_files: ModuleType, tmp_path: Path, act: str
) -> None:
    node, params = place(tmp_path)
    file = staged(tmp_path, "kubelet", "program", node / "bin", "good")
    arrived = tmp_path / "staged" / "kubelet"
    if act == "replaced":
        arrived.write_text("evil")
    else:
        arrived.rename(tmp_path / "elsewhere")
        if act == "link":
            arrived.symlink_to(tmp_path / "elsewhere")
        elif act == "fifo":
            os.mkfifo(arrived)
    with pytest.raises(Exception, match="did not arrive on the node as it is in the bundle"):
        bundle_files.present({**params, "files": [file]})
    assert all_below(node) == set()


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "", "a/b", "-x", "a\n"])
def test_a_name_is_a_name(bundle_files: ModuleType, tmp_path: Path, name: str) -> None:
    node, params = place(tmp_path)
    file = {**staged(tmp_path, "kubelet", "program", node / "bin", "good"), "name": name}
    with pytest.raises(Exception, match="This cannot be the name of a file"):
        bundle_files.present({**params, "files": [file]})
    assert all_below(node) == set()
