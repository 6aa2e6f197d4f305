"""Temporary directories: those of dead owners are swept, those of living ones stay."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.core.errors import UsageError
from labctl.core.scratch import PREFIX, Scratch, sweep

KEEP = """
import sys, pathlib
from labctl.core.scratch import Scratch
scratch = Scratch(pathlib.Path(sys.argv[1]))
print(scratch.path, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_labctl_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    mine = Scratch(tmp_path)
    (tmp_path / "labctl-other").mkdir()
    command = [sys.executable, "-c", KEEP, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    (left / "tmp").mkdir()
    assert sweep(tmp_path) == ()  # its owner lives
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert sweep(tmp_path) == (left,)
    assert mine.path.is_dir()
    mine.close()
    assert [path.name for path in tmp_path.iterdir()] == ["labctl-other"]


def test_a_directory_where_others_could_replace_it_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match="the directory for temporary files"):
        Scratch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sockets_have_room_in_it() -> None:
    scratch = Scratch()
    try:
        assert scratch.path.name.startswith(PREFIX)
        # A path of a socket may have 107 bytes; ssh adds 10 for Ansible's name and 17 while it makes one.
        assert len(str(scratch.sockets)) + 1 + 27 <= 107
    finally:
        scratch.close()
