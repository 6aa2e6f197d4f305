"""What is printed where: results, errors, and on a terminal the step in hand."""

from __future__ import annotations

import pytest

from labctl.cli import console
from labctl.core.errors import LabctlError, Problem
from labctl.core.tables import WIDTH, Document, Table

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00"), (59.4, "00:59"), (59.6, "01:00"), (3599, "59:59"), (3661, "1:01:01"), (-3, "00:00")],
)
def test_a_clock(seconds: float, text: str) -> None:
    assert console.clock(seconds) == text


def test_results_go_one_way_and_errors_another(capsys: Capture) -> None:
    console.out("a table")
    console.error(LabctlError(Problem("no room", "/boot"), Problem("no kernel")))
    captured = capsys.readouterr()
    assert captured.out == "a table\n"
    assert captured.err == "error: no room\n  where: /boot\nerror: no kernel\n"


@pytest.mark.parametrize(
    ("terminal", "columns", "width"), [(True, 90, 90), (True, 40, 40), (True, 300, WIDTH), (False, 40, WIDTH)]
)
def test_results_are_as_wide_as_the_terminal_within_limits(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, terminal: bool, columns: int, width: int
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    console.show(Document((" ".join("x" * 200),), Table("", (), ()), None), "table")
    # Letters with blanks between them fill a line of an odd width.
    assert {len(line) for line in capsys.readouterr().out.splitlines()[:-1]} == {(width - 1) // 2 * 2 + 1}


def test_on_a_terminal_the_step_in_hand_stands_below_the_lines_that_stay(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    live = console.Live()
    live.step("measuring", 61.0)
    live.line("one sample")
    live.clear()
    step = "00:00, 01:01 left  measuring"
    assert capsys.readouterr().err == f"{console.CLEAR}{step}{console.CLEAR}one sample\n{step}{console.CLEAR}"


def test_elsewhere_there_are_lines_alone(capsys: Capture) -> None:
    live = console.Live()
    live.step("measuring", 61.0)
    live.line("one sample")
    live.clear()
    assert capsys.readouterr().err == "one sample\n"
