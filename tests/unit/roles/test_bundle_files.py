"""What a bundle brought to a node is taken off it again: its files, the directories made for them, and nothing else."""

from __future__ import annotations

import hashlib
import importlib
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
