#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: fingerprint
short_description: Read everything about a node that can change a measured number
description:
  - Returns kernel, CPU, network card, settings, versions and load of the node as one document.
  - Reads only. What is missing, or not readable, is null.
options:
  interface:
    description: The interface that carries the measured traffic.
    type: str
    required: true
  address:
    description: The address that the inventory gives this interface. Recorded beside those that it really has.
    type: str
author: [labctl]
"""

EXAMPLES = r"""
- name: The node's fingerprint is known
  fingerprint:
    interface: "{{ cable_interface }}"
    address: "{{ cable_address }}"
"""

RETURN = r"""
fingerprint:
  description: The document, schema labctl.fingerprint/1; roles/fingerprint/README.md describes it.
  type: dict
  returned: always
"""

import hashlib
import json
import platform
import time
from typing import Any, Dict, Mapping, Optional

from ansible.module_utils import fingerprint_machine as machine
from ansible.module_utils import fingerprint_network as network
from ansible.module_utils import fingerprint_settings as settings
from ansible.module_utils import fingerprint_tunnels as tunnels
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.fingerprint_probe import Commands, Files, Runner

SCHEMA = "labctl.fingerprint/1"

# What must not change between two rounds of a run, whatever setups are deployed in between. Not in it: `boot`, `memory`
# (virtual machines grow and shrink), `inventory`, `state`, and what a setup sets, or a module that it loads brings:
# `link`, `network`, `congestion_control`, `tunnels`, `sysctl.setup`.
IDENTITY = ("machine", "kernel", "cpu", "nic", "versions", "services", "sysctl")


def identity(document: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON of the sections in IDENTITY, the settings of setups left out."""
    parts = {name: document[name] for name in IDENTITY}
    sysctls = document["sysctl"]
    if isinstance(sysctls, dict):
        parts["sysctl"] = {scope: values for scope, values in sysctls.items() if scope != "setup"}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def take(files: Files, commands: Runner, interface: str, address: Optional[str] = None) -> Dict[str, Any]:
    """The fingerprint of this node. Commands are started first and run while files are read."""
    commands.start({**network.commands(interface), **settings.COMMANDS, **tunnels.COMMANDS})
    kernel = machine.kernel(files)
    if netfilter_is_loaded(files, kernel):
        commands.start({"nft": ("nft", "-json", "--terse", "list", "ruleset")})
    synchronized, error_us = settings.clock_synchronized()
    document: Dict[str, object] = {
        "schema": SCHEMA,
        "inventory": {"interface": interface, "address": address},
        "kernel": kernel,
        "boot": machine.boot(files),
        "cpu": machine.cpu(files),
        "memory": machine.memory(files),
        "sysctl": settings.sysctl(files, interface),
        "congestion_control": settings.congestion_control(files),
        "state": {
            **machine.state(files, time.time()),
            "clock_synchronized": synchronized,
            "clock_error_us": error_us,
        },
    }
    # The batch runs only where the list of qdiscs, which by now is there, names a device that can carry filters.
    devices = network.hooked_devices(commands)
    if devices:
        commands.start({"filters": ("tc", "-json", "-batch", "-")}, stdin=network.filter_batch(devices))
    document["machine"] = machine.machine(files, commands)
    document["link"] = network.link(commands)
    document["nic"] = network.nic(files, commands, interface)
    document["network"] = network.network(files, commands)
    document["versions"] = settings.versions(files, commands, platform.python_version())
    document["tunnels"] = tunnels.tunnels(files, commands)
    document["services"] = settings.services(files, commands)
    document["identity"] = identity(document)
    return document


def netfilter_is_loaded(files: Files, kernel: Mapping[str, object]) -> bool:
    """Whether asking for the rules loads no module: asking would load nf_tables where it is not there yet."""
    config: Optional[object] = kernel["config"]
    built_in = isinstance(config, dict) and config.get("NF_TABLES") == "y"
    return built_in or "\nnf_tables " in "\n" + (files.text("/proc/modules") or "")


def main() -> None:
    """Take the fingerprint and return it."""
    arguments = {"interface": {"type": "str", "required": True}, "address": {"type": "str"}}
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    commands = Commands()
    document = take(Files(), commands, module.params["interface"], module.params["address"])
    commands.end()
    module.exit_json(changed=False, fingerprint=document)


if __name__ == "__main__":
    main()
