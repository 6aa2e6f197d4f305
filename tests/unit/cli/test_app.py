"""The command line as a whole: its version, exit codes, and that help stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

from labctl import __version__
from tests.unit.cli.run import Run


def test_version(labctl: Run) -> None:
    assert labctl("--version") == (0, f"labctl {__version__}\n", "")


def test_all_problems_are_named_at_once(labctl: Run) -> None:
    code, _, err = labctl("matrix", "--variant", "x", "--workload", "y", "--rounds", "0")
    assert code == 2
    assert err.count("error:") == 3


def test_an_unknown_option_is_wrong_usage(labctl: Run) -> None:
    code, _, err = labctl("matrix", "--round", "3")
    assert code == 2
    assert "No such option: --round" in err


@pytest.mark.parametrize("command", ["check", "plan", "matrix", "report", "runs list", "lab list"])
def test_an_unknown_format_is_refused_before_anything_is_done(labctl: Run, command: str) -> None:
    code, out, err = labctl(*command.split(), "--format", "xml")
    assert (code, out) == (2, "")
    assert err.startswith("error: unknown format\n  where: --format\n  seen:  'xml'")
    assert err.endswith("known: table, github, csv, json\n")


@pytest.mark.parametrize("command", ["check", "provision", "plan", "matrix"])
def test_an_unknown_lab_is_wrong_usage(labctl: Run, command: str) -> None:
    code, _, err = labctl(command, "--lab", "nowhere")
    assert code == 2
    assert "There is no lab 'nowhere'." in err
    assert "local" in err


def test_an_interrupt_is_a_failure(labctl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("labctl.runs.find.list_rows", interrupted)
    code, _, err = labctl("runs", "list")
    assert code == 1
    assert "Traceback" not in err


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'ansible', 'ansible_runner', 'yaml', 'scipy'}"
    script = f"import sys; from labctl.cli import app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
