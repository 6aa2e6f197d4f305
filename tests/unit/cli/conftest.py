"""What tests of the command line share: labctl in an empty directory, and a lab whose playbooks are scripted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.cli import app as cli
from labctl.labs import lock
from tests.unit.cli.run import Run
from tests.unit.lab_records import let_become_root
from tests.unit.scripted import ScriptedSession, looked_at, measuring, two_nodes


@pytest.fixture
def labctl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run labctl in an empty directory: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["labctl", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedSession]:
    """The lab `mine` of two servers in ./inventories; every session that labctl opens plays what this one does."""
    (tmp_path / "inventories" / "mine").mkdir(parents=True)
    (tmp_path / "inventories" / "mine" / "hosts.yml").write_text("# read by a script\n")
    for name in ("LABCTL_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks").chmod(0o1777)
    monkeypatch.setattr(lock, "SHARED", tmp_path / "locks")
    let_become_root(monkeypatch, tmp_path / "bin")
    with ScriptedSession() as script:
        script.variables.update(two_nodes("mine", "metal"))
        script.plays.update({name: looked_at() for name in ("clear.yml", "check.yml")}, **{"visit.yml": measuring})
        for module in ("engine.session", "cli.progress"):
            monkeypatch.setattr(f"labctl.{module}.Session", lambda: ScriptedSession(script))
        yield script
