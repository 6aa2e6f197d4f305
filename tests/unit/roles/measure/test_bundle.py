"""The agent as it travels."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from labctl_measure import bundle

from tests.unit.roles.measure.conftest import AGENT


def archive(package: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(bundle.pack(package).split(b"\n", 2)[2]))


def package(directory: Path, main: str) -> Path:
    """Make a package of the agent's name."""
    made = directory / "labctl_agent"
    made.mkdir()
    (made / "__init__.py").write_text("")
    (made / "__main__.py").write_text(main)
    return made


def test_it_holds_every_module_and_nothing_else() -> None:
    names = archive(AGENT).namelist()
    assert names == sorted(f"labctl_agent/{path.name}" for path in AGENT.glob("*.py"))
    assert "labctl_agent/__main__.py" in names


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    made = package(tmp_path, "pass\n")
    first = bundle.pack(made)
    os.utime(made / "__main__.py", (1, 1))
    (made / "__pycache__").mkdir()
    assert bundle.pack(made) == first
    (made / "__main__.py").write_text("pass \n")
    assert bundle.pack(made) != first


def test_python_runs_it_from_memory_and_leaves_the_rest_of_the_input_to_it(tmp_path: Path) -> None:
    shows = "import sys\ndef main(): print(__file__, sys.stdin.readline(), sys.flags.isolated)\n"
    sent = b"a password\n" + bundle.pack(package(tmp_path, shows)) + b"request\n"
    done = subprocess.run(
        [sys.executable, *bundle.ARGUMENTS], input=sent, capture_output=True, cwd=tmp_path, check=True
    )
    file, request, isolated = done.stdout.decode().split()
    assert file.startswith("/proc/self/fd/")
    assert (request, isolated) == ("request", "1")
    assert done.stderr == b""
