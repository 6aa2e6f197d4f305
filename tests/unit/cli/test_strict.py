"""Options that say nothing, or two things: no command drops them in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from labctl.cli.app import app
from labctl.cli.strict import StrictCommand
from labctl.core.errors import UsageError
from tests.unit.cli.run import Run

NOTHING = ("", " ", "\t\n")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of labctl with its way there."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
    else:
        for name, one in below.items():
            yield from commands(one, (*path, name))


ALL = list(commands(typer.main.get_command(app)))
VALUES = [
    (" ".join(path), command, parameter)
    for path, command in ALL
    for parameter in command.params
    if parameter.nargs == 1 and not getattr(parameter, "is_flag", False) and not getattr(parameter, "count", False)
]
OPTIONS = [
    (path, command, name)
    for path, command, parameter in VALUES
    if parameter.param_type_name == "option"
    for name in parameter.opts
]
ARGUMENTS = [(path, command, one.name) for path, command, one in VALUES if one.param_type_name == "argument"]


def test_every_command_is_strict() -> None:
    assert len(ALL) > 12
    assert all(isinstance(command, StrictCommand) for _, command in ALL)


def refused(command: Any, *arguments: str) -> str:
    """What a command says of arguments that it refuses."""
    with pytest.raises(UsageError) as error:
        command.make_context("labctl", list(arguments))
    assert len(error.value.problems) == 1
    return str(error.value)


@pytest.mark.parametrize("nothing", NOTHING)
def test_an_option_without_a_value_is_refused(nothing: str) -> None:
    for _, command, name in OPTIONS:
        words = refused(command, name, nothing)
        assert words.startswith("there is nothing in it\n  where: --")
        assert words.endswith("  next:  give it a value, or leave it out; is a variable of the shell not set?")


def test_an_option_given_twice_is_refused() -> None:
    for _, command, name in OPTIONS:
        words = refused(command, name, "one", name, "one")
        assert words.startswith("an option is given more than once, and only one of them would hold\n  where: --")
        assert "  seen:  2 times\n  next:  give it once; an option that takes several values takes them" in words


@pytest.mark.parametrize("nothing", NOTHING)
def test_an_argument_that_says_nothing_is_refused(nothing: str) -> None:
    assert {path for path, _, _ in ARGUMENTS} >= {"runs remove", "runs show", "report", "lab shell", "bundle create"}
    for _, command, name in ARGUMENTS:
        assert refused(command, nothing).startswith(f"there is nothing in it\n  where: {name.upper()}\n")


def test_everything_is_told_at_once_and_under_the_long_name(labctl: Run) -> None:
    code, _, err = labctl("matrix", "-i", "a", "--lab", "b", "--variant", "", "--rounds", "--quick")
    assert code == 2
    assert [line for line in err.splitlines() if line.startswith(("error", "  where", "  seen"))] == [
        "error: an option is given more than once, and only one of them would hold",
        "  where: --lab",
        "  seen:  2 times",
        "error: there is nothing in it",
        "  where: --variant",
        "  seen:  ''",
        "error: the option has no value: another option follows",
        "  where: --rounds",
        "  seen:  --quick",
    ]


def test_flags_may_be_repeated_and_words_for_a_shell_may_be_empty(labctl: Run) -> None:
    assert "there is no lab none" in labctl("lab", "shell", "-i", "none", "node1", "--", "printf", "")[2].lower()
    assert "There is no lab 'none'" in labctl("provision", "-vv", "-v", "--check", "--check", "-i", "none")[2]


def test_a_negative_number_is_a_value(labctl: Run) -> None:
    assert "not a usable time for --duration" in labctl("plan", "--duration", "-5")[2]
