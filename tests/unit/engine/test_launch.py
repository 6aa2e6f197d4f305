"""A program that is started on a terminal nobody looks at does not see it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.engine.session import LAUNCH

ASKS = "import sys; print([sys.stdin.read(), *sys.argv[1:]]); open('/dev/tty')"


def run_on_a_terminal(*argv: str) -> tuple[str, int]:
    """What a program says whose session has a terminal of its own, and how it ends."""
    environment = {**os.environ, "LABCTL_PID": str(os.getpid())}
    child, terminal = pty.fork()
    if child == 0:
        os.execve(argv[0], argv, environment)  # noqa: S606
    said = b""
    while True:
        try:
            data = os.read(terminal, 1 << 12)
        except OSError:
            break
        if not data:
            break
        said += data
    os.close(terminal)
    return said.decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("given", ["", "a password"])
def test_there_is_no_terminal_and_the_input_is_the_file(tmp_path: Path, given: str) -> None:
    (tmp_path / "input").write_text(given)
    said, code = run_on_a_terminal(
        sys.executable, "-IS", LAUNCH, str(tmp_path / "input"), sys.executable, "-c", ASKS, "-i", "x y"
    )
    assert f"{[given, '-i', 'x y']}" in said
    assert "No such device or address: '/dev/tty'" in said
    assert code == 1


def test_a_program_that_is_not_there_is_a_failure() -> None:
    said, code = run_on_a_terminal(sys.executable, "-IS", LAUNCH, os.devnull, "no-such-program")
    assert "FileNotFoundError" in said
    assert code == 1


def test_it_ends_with_the_labctl_that_started_it() -> None:
    """Also where that one is killed before Ansible has begun, or was gone before."""
    launched = [sys.executable, "-IS", LAUNCH, os.devnull, "sh", "-c", "echo up; exec sleep 600"]
    starts = (
        f"import os, subprocess; subprocess.run({launched!r}, env={{**os.environ, 'LABCTL_PID': str(os.getpid())}})"
    )
    with subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        starter.kill()
        assert starter.stdout.read() == "", "its end is that of the last who writes there"
    orphan = [sys.executable, "-IS", LAUNCH, os.devnull, "true"]
    assert subprocess.run(orphan, env={**os.environ, "LABCTL_PID": "1"}, check=False).returncode == 1
