"""Which Python a plugin of labctl starts: the one that Ansible runs its modules with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from labctl.engine.interpreter import python_of

FOUND = "/opt/found/python3"


def action(says: str = "") -> Any:
    """An action on a node that says this when it is asked for Pythons, and is not to be asked otherwise."""

    def execute(command: str, sudoable: bool) -> dict[str, str]:
        assert says, command
        return {"stdout": says}

    templar = Templar(DataLoader(), {"own": "/opt/own/python"})
    return SimpleNamespace(_connection=None, _templar=templar, _low_level_execute_command=execute)


@pytest.mark.parametrize(
    ("value", "python"),
    [("/usr/bin/python3", "/usr/bin/python3"), ("/usr/bin/env python3", "/usr/bin/env python3")],
)
def test_it_is_the_inventorys(value: str, python: str) -> None:
    assert python_of(action(), {"ansible_python_interpreter": value}) == python


def test_it_may_be_a_template() -> None:
    value = trust_as_template("{{ own }}")
    assert python_of(action(), {"ansible_python_interpreter": value}) == "/opt/own/python"


@pytest.mark.parametrize("value", ["auto", "auto_silent", None])
def test_it_is_looked_for_once(value: str | None) -> None:
    variables: dict[str, Any] = {} if value is None else {"ansible_python_interpreter": value}
    asked = action(f"FOUND\n{FOUND}\nENDFOUND\n")
    assert python_of(asked, variables) == FOUND
    known = {**variables, "ansible_facts": {"discovered_interpreter_python": "/opt/known"}}
    assert python_of(action(), known) == "/opt/known"
