"""How a problem reads."""

from __future__ import annotations

from labctl.core.errors import LabctlError, Problem, UsageError


def test_a_problem_says_what_where_what_was_seen_and_what_to_do() -> None:
    problem = Problem("no room", "/boot", "3 MB\nof 4 MB\n", "make some")
    assert str(problem) == "no room\n  where: /boot\n  seen:  3 MB\n         of 4 MB\n  next:  make some"


def test_what_is_not_known_is_left_out() -> None:
    assert str(Problem("no room")) == "no room"
    assert str(Problem("no room", hint="make some")) == "no room\n  next:  make some"


def test_an_error_reads_as_all_of_its_problems() -> None:
    assert str(LabctlError(Problem("no room"), Problem("no kernel"))) == "no room\nno kernel"


def test_wrong_usage_ends_otherwise_than_a_failure() -> None:
    assert (LabctlError().exit_code, UsageError().exit_code) == (1, 2)
