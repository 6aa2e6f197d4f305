"""The command line as a whole: its version, exit codes, and that help stays light."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labctl import __version__
from labctl.cli import app as cli
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


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_that_asks_to_end_ends_in_one_line_and_its_code(
    labctl: Run, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr("labctl.runs.find.list_rows", lambda: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    assert labctl("runs", "list") == (128 + number, "", f"ended by {number.name}\n")
    assert signal.getsignal(number) == before


def test_an_unforeseen_exception_is_one_line_and_a_file_without_secrets(
    labctl: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(_: str) -> str:
        raise RuntimeError("no idea\nat all")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("labctl.runs.find.describe", fail)
    code, out, err = labctl("runs", "show", "http://me:hush@proxy/")
    assert (code, out) == (1, "")
    (file,) = (tmp_path / "state" / "labctl" / "crashes").iterdir()
    assert err == f"error: labctl met what it does not expect (RuntimeError: no idea); please send in {file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert "command: labctl runs show 'http://***@proxy/'" in text
    assert "Traceback" in text
    assert "hush" not in text


COMMAND = [sys.executable, "-m", "labctl", "runs", "list"]
UNPRINTED = "error: the result cannot be printed\n  where: standard output\n  seen:  {}\n  next:  send it elsewhere"


@pytest.mark.parametrize(("target", "seen"), [("/dev/full", "No space left on device"), ("&-", "Bad file descriptor")])
def test_a_result_that_cannot_be_printed_is_one_problem(tmp_path: Path, target: str, seen: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" >{target}', "sh", *COMMAND], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith(UNPRINTED.format(seen))


def test_wrong_usage_that_cannot_be_said_is_wrong_usage(tmp_path: Path) -> None:
    command = ["sh", "-c", '"$@" --nope 2>/dev/full', "sh", *COMMAND]
    assert subprocess.run(command, check=False, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 2


def test_a_reader_that_is_gone_ends_labctl_as_it_ends_any_tool(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(COMMAND, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_standard_streams_that_are_closed_are_no_obstacle(tmp_path: Path) -> None:
    command = ["sh", "-c", '"$@" <&- 2>&-', "sh", *COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_directory_that_was_removed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli._exit_code() == 2
    assert capsys.readouterr().err.startswith("error: the current directory does not exist any more\n  next:  ")


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'ansible', 'ansible_runner', 'yaml', 'scipy'}"
    script = f"import sys; from labctl.cli import app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
