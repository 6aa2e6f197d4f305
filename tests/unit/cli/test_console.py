"""What is printed where: results, errors, and on a terminal the step in hand."""

from __future__ import annotations

import io
import sys

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
    console.error(LabctlError(Problem("it broke")))
    step = "00:00, 01:01 left  measuring"
    lines = f"{console.CLEAR}one sample\n{step}{console.CLEAR}error: it broke\n"
    assert capsys.readouterr().err == f"{console.CLEAR}{step}{lines}"


def test_elsewhere_there_are_lines_alone(capsys: Capture) -> None:
    live = console.Live()
    live.step("measuring", 61.0)
    live.line("one sample")
    assert capsys.readouterr().err == "one sample\n"


def test_nothing_that_is_printed_talks_to_the_terminal(capsys: Capture) -> None:
    evil = "\x1b]0;owned\x07\u202e\r"
    console.out(evil)
    console.note(evil)
    console.error(LabctlError(Problem(evil, evil, evil, evil)))
    live = console.Live()
    live.line(evil)
    captured = capsys.readouterr()
    assert all(line.isprintable() for line in (captured.out + captured.err).split("\n"))


def test_where_a_problem_is_cannot_pass_for_another_problem(capsys: Capture) -> None:
    console.error(LabctlError(Problem("no room", "runs/a\nerror: all is lost")))
    assert capsys.readouterr().err == "error: no room\n  where: runs/a\\nerror: all is lost\n"


def test_half_a_character_does_not_end_labctl(capsys: Capture) -> None:
    console.out("\ud800")
    assert capsys.readouterr().out == "\\ud800\n"


def test_a_locale_that_lacks_a_letter_gets_it_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    console.out("é")
    assert written.getvalue() == b"\\xe9\n"


def test_the_step_in_hand_fits_the_terminal_and_says_where_it_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    live = console.Live()
    live.step("x" * 300 + "\x1b[2J")
    shown = capsys.readouterr().err.removeprefix(console.CLEAR)
    assert len(shown) == 39
    assert shown.endswith("...")
    live.line("word " * 30)
    lines = capsys.readouterr().err.replace(console.CLEAR, "").splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(lines).count("word") == 30


@pytest.mark.parametrize(
    ("told", "columns"), [("0", console.UNKNOWN), ("x", console.UNKNOWN), ("5", console.LEAST), ("٣", 80)]
)
def test_a_terminal_that_tells_nonsense_is_taken_for_an_ordinary_one(
    monkeypatch: pytest.MonkeyPatch, told: str, columns: int
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", told)
    assert console.columns(sys.stdout) == columns


def test_of_very_many_problems_the_first_are_shown_and_the_rest_counted(capsys: Capture) -> None:
    console.error(LabctlError(*(Problem(f"problem {number}") for number in range(1000))))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == console.SHOWN + 1
    assert lines[-1].startswith("error: 950 more problems")
