"""Every command and option has help, and the README names it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from labctl.cli.app import app


def commands_of(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield full name and object of a command and all commands below it."""
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from commands_of(below, f"{name} {child}")


def long_options(command: Any) -> list[str]:
    return [
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--") and option != "--help"
    ]


COMMANDS = dict(commands_of(typer.main.get_command(app), "labctl"))
VERBS = [name for name, command in COMMANDS.items() if not hasattr(command, "commands")]


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    """Return the README's text."""
    return (repository / "README.md").read_text(encoding="utf-8")


def test_there_are_commands() -> None:
    assert {"labctl lab create", "labctl matrix", "labctl report"} <= set(VERBS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize("name", VERBS)
def test_the_readme_names_every_command(name: str, readme: str) -> None:
    group, _, verb = name.rpartition(" ")
    # `labctl lab create|destroy` names both.
    assert re.search(rf"{re.escape(group)} (?:[\w-]+\|)*{re.escape(verb)}(?![\w-])", readme), f"README.md lacks {name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_names_every_option(name: str, readme: str) -> None:
    missing = [opt for opt in long_options(COMMANDS[name]) if not re.search(rf"(?<![\w-]){opt}(?![\w-])", readme)]
    assert not missing, f"README.md lacks options of {name}"


def test_the_readme_names_no_command_that_is_gone(readme: str) -> None:
    named = {match.group(1) for match in re.finditer(r"^ *(labctl (?:lab|runs) [a-z]+)", readme, re.MULTILINE)}
    assert named <= set(VERBS)
