#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: cilium_fingerprint
short_description: Read what of Cilium can change a number measured on the node
description:
  - Returns the section C(cni) of the node's fingerprint - what the agent says of its datapath, its version, and the
    Helm values that it was deployed with. Changes nothing.
  - Refuses an agent that is not of the wanted version, and one that does not say which it is.
options:
  socket: {type: path, default: /var/run/cilium/cilium.sock, description: Where the agent answers.}
  version: {type: str, required: true, description: The version of the edition that is deployed.}
  values: {type: dict, required: true, description: The Helm values.}
  seal:
    type: bool
    default: false
    description: Whether nothing is refused, for labctl compares an earlier look with this one. Silence makes it null.
author: labctl
"""

RETURN = r"""
fingerprint: {type: dict, description: "The section C(cni) alone.", returned: always}
"""

import hashlib
import json
import re
from typing import Any, Callable, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cilium_api import ask, program_version
from ansible.module_utils.cilium_status import ipsec_keys, said
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run

# Values may be a user's own, and hold what nobody should read in a run's folder.
SECRET = re.compile(r"(?i)password|token|secret|private|^keys?$|credential")
HIDDEN = "hidden"


def shown(value: Any, name: str = "") -> Any:
    """Return values without those whose name says that they are secret."""
    if isinstance(value, dict):
        return {key: shown(below, key) for key, below in value.items()}
    if isinstance(value, list):
        return [shown(below, name) for below in value]
    return HIDDEN if isinstance(value, str) and value and SECRET.search(name) else value


def look(params: dict[str, Any]) -> dict[str, Any]:
    """Return the section; None where there is no agent to ask, and a seal is asked for."""
    try:
        status = ask(params["socket"], "healthz")
    except Refused:
        if params["seal"]:
            return {"fingerprint": {"cni": None}}
        raise
    keys = ipsec_keys(run(["ip", "xfrm", "state", "list", "nokeys"]))
    return {"fingerprint": {"cni": judged(status, keys, lambda: program_version(params["socket"]), params)}}


def judged(
    status: Mapping[str, Any], keys: int, program: Callable[[], str | None], params: dict[str, Any]
) -> dict[str, Any]:
    """Return the section. Raises Refused for another version than wanted; `program` tells what the status does not."""
    seen = said(status, keys)
    seen["version"] = seen["version"] or program()
    if seen["version"] != params["version"] and not params["seal"]:
        raise Refused(
            f"The Cilium agent is not of version {params['version']}, which its edition has.",
            where=params["socket"],
            seen=seen["version"] or "the agent does not say its version",
            hint="Make the bundle anew, or leave the agent's image out of cni_cilium_values.",
        )
    text = json.dumps(params["values"], sort_keys=True, separators=(",", ":"))
    values = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "values": shown(params["values"])}
    return {"says": seen, "helm": values}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "default": "/var/run/cilium/cilium.sock"},
            "version": {"type": "str", "required": True},
            "values": {"type": "dict", "required": True},
            "seal": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: {"changed": False, **look(module.params)})


if __name__ == "__main__":
    main()
