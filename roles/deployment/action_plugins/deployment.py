"""Action plugin: keep the record of the role that deploys on the node.

Begun, writes down that a role deploys, unless another one is recorded: that one has to undo its own first. Read, tells
which role is recorded. Ended, removes the record. Both do with a node that has none. Returns `role`, the one that is
recorded now (null for none), and when begun `other`, whether that is another one than the given.

A module would take five times as long, most of it to unpack what every module of Ansible brings along.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from labctl.engine.interpreter import python_of

STATES = ("begun", "read", "ended")


class ActionModule(ActionBase):
    """Arguments: `state`, one of STATES, and `role`, which is about to deploy; required when begun."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {"state": {"type": "str", "choices": STATES, "required": True}, "role": {"type": "str"}},
            required_if=[("state", "begun", ("role",))],
        )
        script = Path(self._find_needle("files", "record.py"))
        words = ["-IS", "-", *(["--check"] if self._task.check_mode else []), given["state"]]
        words += [given["role"]] if given["role"] else []
        command = f"{python_of(self, task_vars or {})} {shlex.join(words)}"
        done = self._low_level_execute_command(command, in_data=script.read_bytes())
        if done["rc"] != 0:
            said = (done["stderr"] or done["stdout"]).strip()
            return result | {"failed": True, "msg": f"the record of what is deployed cannot be kept: {said}"}
        result.update(json.loads(done["stdout"]))
        return result
