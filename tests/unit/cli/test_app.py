"""The command line: exit codes, messages of wrong usage, and that help stays light."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labctl import __version__
from labctl.cli import app as cli

Run = Callable[..., tuple[int, str, str]]


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


def test_version(labctl: Run) -> None:
    assert labctl("--version") == (0, f"labctl {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--variant", "veth-ebfp"), "unknown variant"),
        (("--variant", "veth-ebfp"), "did you mean veth-ebpf?"),
        (("--workload", "udp"), "unknown workload"),
        (("--encryption", "rot13"), "unknown encryption"),
        (("--duration", "0"), "not a usable time for --duration"),
        (("--duration", "-5"), "not a usable time for --duration"),
        (("--duration", "3d"), "not a usable time for --duration"),
        (("--processes", "0"), "not a number of processes"),
        (("--processes", "-1"), "not a number of processes"),
        (("--rounds", "0"), "not a usable number for --rounds"),
        (("--rounds", "1000000"), "not a usable number for --rounds"),
        (("--mtu", "20"), "not an MTU"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "matrix"])
def test_bad_options_are_refused_before_anything_is_touched(
    labctl: Run, command: str, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = labctl(command, *arguments, "--lab", "there-is-none")
    assert (code, out) == (2, "")
    assert message in err
    assert "there-is-none" not in err


def test_what_is_measured_cannot_be_said_again_when_resuming(labctl: Run) -> None:
    code, _, err = labctl("matrix", "--resume", "latest", "--variant", "baseline", "--noise-floor", "--rounds", "6")
    assert code == 2
    assert "--variant, --rounds, --noise-floor" in err
    assert "the plan it was begun with" in err


def test_drift_is_accepted_when_resuming_only(labctl: Run) -> None:
    code, _, err = labctl("matrix", "--accept-drift")
    assert (code, err) == (2, "error: --accept-drift goes with --resume RUN\n")


def test_a_run_without_its_plan_cannot_be_resumed(labctl: Run, tmp_path: Path) -> None:
    (tmp_path / "runs" / "20260101-000000-local").mkdir(parents=True)
    code, _, err = labctl("matrix", "--resume", "20260101")
    assert code == 1
    assert "plan.json" in err


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


def test_an_unknown_run_is_refused(labctl: Run, tmp_path: Path) -> None:
    (tmp_path / "runs" / "20260101-000000-local").mkdir(parents=True)
    code, _, err = labctl("report", "20990101-000000-local")
    assert code == 2
    assert "20990101-000000-local" in err


def test_no_run_at_all_is_said(labctl: Run) -> None:
    code, _, err = labctl("report")
    assert code == 2
    assert "labctl matrix" in err


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'ansible', 'ansible_runner', 'yaml', 'scipy'}"
    script = f"import sys; from labctl.cli import app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
