"""Action plugin: see that an agent of labctl can be started on the node, as for a sample; nothing is left there.

Samples go to a node by Ansible's own connection, but not everything that Ansible can do an agent can (a container's
exec, a password on a terminal). What it cannot do is known by this before anything is deployed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

# As in netperf_sample: Ansible loads a role's plugin as a lone file.
sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("plugin_utils", "files")]

from labctl_measure.channel import Channel, ChannelDied, Refused
from labctl_measure.transport import Transport, pack

UNREACHED = "Ansible reaches the node, an agent that takes samples does not"
HINT = "see `Ways to a node` in docs/labs.md for the connections and escalations with which samples can be taken"


class ActionModule(ActionBase):
    """Takes no arguments."""

    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars) | {"changed": False}
        variables = task_vars or {}
        node = variables["inventory_hostname"]
        agent = pack(Path(self._find_needle("files", "labctl_agent")))
        try:
            channel = Channel(node, Transport(self).command(node, variables["hostvars"].raw_get(node)), agent)
            channel.ask("stat")
        except (ChannelDied, Refused, AnsibleActionFail, AnsibleConnectionFailure) as error:
            seen = str(error).removeprefix(f"{node}: ")
            problem = {"what": UNREACHED, "seen": seen, "hint": HINT}
            return result | {"failed": True, "msg": f"{UNREACHED}: {seen}", "problems": [problem]}
        channel.close()
        return result
