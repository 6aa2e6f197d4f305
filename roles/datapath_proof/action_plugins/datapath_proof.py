"""Action plugin: hold what the nodes showed against what the setup is expected to be.

It looks at nothing but its arguments, which the tasks before it gathered, and runs in Ansible's own process: starting a
module takes longer than to judge. Its result is the proof; it fails unless all assertions hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.plugins.action import ActionBase

# What a module gets shipped is not on Python's path here.
ROLES = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__ += [str(ROLES / role / "module_utils") for role in ("datapath_proof", "node")]

from ansible.module_utils.datapath_judge import CNI, Setup, prove
from ansible.module_utils.labctl_node.proof import proof_of
from ansible.module_utils.labctl_node.refused import Refused, failure

SILENT = "What only test traffic shows could not be judged: see why there was none."


class ActionModule(ActionBase):
    """Arguments: those of `Setup`; `probe`, what the client saw of the test traffic; `nodes`, what each node showed.

    Returns holds, assertions (each with name, node, wanted, seen, holds), and the evidence that was judged as it was.
    """

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars) | {"changed": False}
        arguments = dict(self._task.args)
        probe, nodes = arguments.pop("probe"), arguments.pop("nodes")
        setup = Setup(**arguments)
        try:
            assertions = prove(setup, probe, nodes)
        except Refused as refused:
            return result | failure(refused)
        evidence = {"probe": probe, "nodes": nodes, **({"cni": setup.cni} if setup.expected.get(CNI) else {})}
        return result | proof_of(setup.name, assertions, evidence, SILENT if probe["error"] else "")
