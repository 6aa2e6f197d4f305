"""The directory of a bundle: nothing in it is followed, opened or waited for that is no file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labctl.bundle import tree
from tests.unit.bundle.loopback import problems


def test_a_walk_follows_nothing_and_names_what_is_strange(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    found = tree.walk(tmp_path)
    assert (found.files, found.directories) == ({"a/b/file"}, {"a", "a/b"})
    assert found.strange == {"a/up": "a symbolic link", "gone": "a symbolic link", "fifo": "a FIFO"}
    assert len(found.problems) == len(found.strange)
    assert found.behind_strange("a/up/b/file")
    assert not found.behind_strange("a/b/file")


@pytest.mark.parametrize("name", ["nothing", "directory", "link", "fifo", "device"])
def test_only_a_regular_file_is_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    path = Path("/dev/null") if name == "device" else tmp_path / name

    def read() -> None:
        with tree.opened(path):
            pass

    (problem,) = problems(read)
    assert (problem.what, problem.where) == ("a file of a bundle is no regular file", str(path))
    with tree.opened(tmp_path / "file") as file:
        assert file.read() == b""
