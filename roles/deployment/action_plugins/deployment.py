"""Action plugin: keep the record of the role that deploys on the node.

A node is not believed which role that is: one whose tasks run on it, and on this machine, has to be one of these roles,
of a variant.

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

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from labctl.engine.interpreter import python_of

ROLES = Path(__file__).resolve().parents[2]
STATES = ("begun", "read", "ended")
# Those with such entry points that deploy what variants have in common; so do the roles of a kind of lab.
COMMON = ("cluster_path", "deployment", "netperf_pods")
OF_A_LAB = "endpoints.yml"


class ActionModule(ActionBase):
    """Arguments: `state`, one of STATES, and `role`, which is about to deploy; required when begun."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {"state": {"type": "str", "choices": STATES, "required": True}, "role": {"type": "str"}},
            required_if=[("state", "begun", ("role",))],
        )
        require_known(given["role"], "the setup names")
        script = Path(self._find_needle("files", "record.py"))
        words = ["-IS", "-", *(["--check"] if self._task.check_mode else []), given["state"]]
        words += [given["role"]] if given["role"] else []
        command = f"{python_of(self, task_vars or {})} {shlex.join(words)}"
        done = self._low_level_execute_command(command, in_data=script.read_bytes())
        if done["rc"] != 0:
            said = (done["stderr"] or done["stdout"]).strip()
            return result | {"failed": True, "msg": f"the record of what is deployed cannot be kept: {said}"}
        said = json.loads(done["stdout"])
        require_known(said["role"], "the node records")
        return result | {name: said[name] for name in ("changed", "role", "other") if name in said}


def known() -> list[str]:
    """The roles that deploy variants."""
    found = {path.parent for path in ROLES.glob("*/tasks/undeploy.yml") if (path.parent / "deploy.yml").is_file()}
    names = {tasks.parent.name for tasks in found if not (tasks / OF_A_LAB).is_file()}
    return sorted(names.difference(COMMON))


def require_known(role: object, who: str) -> None:
    """Raise AnsibleActionFail for a role that is none of a variant; None is no role."""
    if role is not None and role not in known():
        raise AnsibleActionFail(
            f"{who} a role that deploys no variant of labctl: {str(role)[:80]!a}. The roles are {', '.join(known())}. "
            "If another labctl used the node, undeploy with that one; else remove /var/lib/labctl/deployment.json there"
        )
