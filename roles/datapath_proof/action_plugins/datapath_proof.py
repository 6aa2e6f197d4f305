"""Action plugin: hold what the nodes showed against what the setup is expected to be.

Looks at nothing but its arguments, which the tasks before it gathered. Its result is the proof: `holds`, `assertions`
(each with name, node, wanted, seen and holds) and the `evidence`, which is what was judged, as it was. It fails unless
all assertions hold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.plugins.action import ActionBase

# Ansible finds the code that roles share when it packs a module, and so has this plugin to do.
_SHARED = [str(Path(__file__).parents[2] / role / "module_utils") for role in ("node", "datapath_proof")]
ansible.module_utils.__path__ += [path for path in _SHARED if path not in ansible.module_utils.__path__]

from ansible.module_utils.datapath_judge import CNI, Setup, prove
from ansible.module_utils.labctl_node.proof import result_of
from ansible.module_utils.labctl_node.refused import Refused, failure

SILENT = "What only test traffic shows could not be judged: see why there was none."
TEXT, NUMBER = {"type": "str", "required": True}, {"type": "int", "required": True}
SWITCH, DATA = {"type": "bool", "required": True}, {"type": "dict", "required": True}
ARGUMENTS = {
    "name": TEXT,  # the setup, for messages
    "expected": DATA,  # the datapath that it claims, in the words of the role's README
    "encryption": TEXT,  # how traffic is encrypted between the nodes
    "mtu": NUMBER,  # in bytes, of the cable
    "endpoint_mtu": NUMBER,  # largest packet in bytes between the endpoints
    "endpoint_is_node": SWITCH,  # whether the endpoints are the nodes themselves
    "tap_sees_wire": SWITCH,  # whether a packet socket sees what is on the wire
    "transactions": NUMBER,  # of the probe
    "size": NUMBER,  # bytes of each request and each response
    "connections": NUMBER,  # that the probe only opened and closed
    "offloads": DATA,  # features by place, and whether they are on
    "allowed": DATA,  # what the lab has on purpose: patterns by assertion
    "client": TEXT,  # name of the client's node
    "server": TEXT,  # name of the server's node
    "listener": TEXT,  # where netserver has to listen, in words
    "probe": DATA,  # what the client saw of the test traffic
    "nodes": DATA,  # what each node showed, by its name
    "cni": {"type": "dict", "default": {}},  # what the CNI of each node says of itself, by the node's name
}


class ActionModule(ActionBase):
    """Judges where Ansible runs."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, checked = self.validate_argument_spec(ARGUMENTS)
        given = json.loads(json.dumps(checked))  # plain data, without what Ansible notes on each value
        probe, nodes = given.pop("probe"), given.pop("nodes")
        setup = Setup(**given)
        try:
            assertions = prove(setup, probe, nodes)
        except Refused as refused:
            return result | failure(refused)
        evidence = {"probe": probe, "nodes": nodes, **({"cni": setup.cni} if setup.expected.get(CNI) else {})}
        return result | result_of(setup.name, assertions, evidence, SILENT if probe["error"] else "")
