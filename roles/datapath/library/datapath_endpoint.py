#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: datapath_endpoint
short_description: Let TCP at an endpoint begin every connection without what it learned from earlier ones
description:
  - For an endpoint that module datapath did not build, such as a cluster's pod. The setting ends with the pod's
    network namespace.
options:
  netns: {type: str, required: true, description: Name of the endpoint's network namespace; empty for the node's own.}
author: labctl
"""

RETURN = r"""
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_metrics import OFF, SWITCH, forget_metrics
from ansible.module_utils.datapath_namespace import inside
from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.refused import finish


def act(module: AnsibleModule) -> dict[str, Any]:
    with inside(module.params["netns"]):
        return {"changed": read_text(SWITCH) != OFF if module.check_mode else forget_metrics()}


def main() -> None:
    module = AnsibleModule(argument_spec={"netns": {"type": "str", "required": True}}, supports_check_mode=True)
    finish(module, lambda: act(module))


if __name__ == "__main__":
    main()
