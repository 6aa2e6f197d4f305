"""Which Python Ansible runs its modules with on a node, for plugins of labctl that start one of their own there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.executor.interpreter_discovery import InterpreterDiscoveryRequiredError, discover_interpreter
from ansible.executor.module_common import _get_shebang


def python_of(action: Any, variables: Mapping[str, Any]) -> str:
    """Return what starts Python on the node of an action plugin, by that node's variables: words of a shell.

    As Ansible itself finds it: as the inventory or the configuration say, else by looking on the node, whose answer is
    kept among its facts.
    """
    known = dict(variables)
    local = bool(getattr(action._connection, "_remote_is_local", False))
    for _ in range(2):
        try:
            shebang, _ = _get_shebang("/usr/bin/python", known, action._templar, remote_is_local=local)
        except InterpreterDiscoveryRequiredError as asked:
            found = discover_interpreter(action, asked.interpreter_name, asked.discovery_mode, known)
            facts = {**known.get("ansible_facts", {}), f"discovered_interpreter_{asked.interpreter_name}": found}
            known["ansible_facts"] = facts
        else:
            break
    return str(shebang).removeprefix("#!").strip()
