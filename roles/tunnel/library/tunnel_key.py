#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: tunnel_key
short_description: Make this node's key for a tunnel, unless it has one
description:
  - Makes an X25519 key in /run/labctl/tunnel.key, mode 0600, and returns its public half.
  - Module datapath removes it together with the tunnel.
  - A key that is none, or that others can read, is refused.
author: labctl
"""

RETURN = r"""
public: {description: The public half in base64., type: str, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_keys import make_key, public_key
from ansible.module_utils.labctl_node.refused import finish


def main() -> None:
    module = AnsibleModule(argument_spec={})
    finish(module, lambda: {"changed": make_key(), "public": public_key()})


if __name__ == "__main__":
    main()
