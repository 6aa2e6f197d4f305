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
  netns:
    description: Network namespace of the pod that is this node's endpoint; empty where the node itself is.
    type: str
    default: ""
  kubectl:
    description: What runs kubectl with a kubeconfig, where the node is the control plane of a cluster that labctl made.
    type: list
    elements: str
    default: []
  seal:
    description:
      - Whether only what can change while a setup is deployed is read again. The document lacks the other sections.
    type: bool
    default: false
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
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Sequence

from ansible.module_utils import fingerprint_machine as machine
from ansible.module_utils import fingerprint_network as network
from ansible.module_utils import fingerprint_settings as settings
from ansible.module_utils import fingerprint_tunnels as tunnels
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.fingerprint_probe import Commands, Files, Runner
from ansible.module_utils.labctl_node import cluster

SCHEMA = "labctl.fingerprint/1"

# What must not change between two rounds of a run, whatever setups are deployed in between. Not in it: `boot`, `memory`
# (virtual machines grow and shrink), `inventory`, `state`, and what a setup sets, or a module that it loads brings:
# `link`, `network`, `endpoint`, `deployed`, `congestion_control`, `tunnels`, `sysctl.setup`.
IDENTITY = ("machine", "kernel", "cpu", "nic", "versions", "services", "sysctl")


def identity(document: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON of the sections in IDENTITY, the settings of setups left out."""
    parts = {name: document[name] for name in IDENTITY}
    sysctls = document["sysctl"]
    if isinstance(sysctls, dict):
        parts["sysctl"] = {scope: values for scope, values in sysctls.items() if scope != "setup"}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Place:
    """Where to look: the cable's interface and address, the pod's network namespace ("" for none), and kubectl."""

    interface: str
    address: Optional[str] = None
    netns: str = ""
    kubectl: Sequence[str] = ()


def take(files: Files, commands: Runner, place: Place) -> Dict[str, Any]:
    """The fingerprint of this node. Commands are started first and run while files are read."""
    commands.start({**settings.COMMANDS, **tunnels.COMMANDS})
    document = seal(files, commands, place)
    synchronized, error_us = settings.clock_synchronized()
    document["inventory"] = {"interface": place.interface, "address": place.address}
    document["memory"] = machine.memory(files)
    document["state"] = {
        **machine.state(files, time.time()),
        "clock_synchronized": synchronized,
        "clock_error_us": error_us,
    }
    document["machine"] = machine.machine(files, commands)
    document["versions"] = settings.versions(files, commands, platform.python_version())
    document["tunnels"] = tunnels.tunnels(files, commands)
    document["services"] = settings.services(files, commands)
    document["identity"] = identity(document)
    return document


def seal(files: Files, commands: Runner, place: Place) -> Dict[str, Any]:
    """The sections of the fingerprint that can change while a setup is deployed."""
    if place.kubectl:
        commands.start({"cluster": (*place.kubectl, "get", "pods,configmaps", "--all-namespaces", "--output=json")})
    commands.start(network.commands(place.interface))
    if place.netns:
        commands.start(network.endpoint_commands(place.netns))
    kernel = machine.kernel(files)
    if netfilter_is_loaded(files, kernel):
        commands.start({"nft": ("nft", "--stateless", "list", "ruleset")})
    document: Dict[str, Any] = {
        "schema": SCHEMA,
        "identity": None,
        "kernel": kernel,
        "boot": machine.boot(files),
        "cpu": machine.cpu(files),
        "sysctl": settings.sysctl(files, place.interface),
        "congestion_control": settings.congestion_control(files),
    }
    # The batch runs only where the list of qdiscs, which by now is there, names a device that can carry filters.
    devices = network.hooked_devices(commands)
    if devices:
        commands.start({"filters": ("tc", "-json", "-batch", "-")}, stdin=network.filter_batch(devices))
    document["link"] = network.link(commands, place.interface)
    document["nic"] = network.nic(files, commands, place.interface)
    document["network"] = network.network(files, commands)
    own = settings.namespace_sysctl(commands.output("endpoint_sysctl") or "")
    document["endpoint"] = network.endpoint(commands, own) if place.netns else None
    document["deployed"] = deployed(commands.output("cluster")) if place.kubectl else None
    return document


def deployed(listed: Optional[str]) -> Optional[Dict[str, object]]:
    """What runs on the cluster that labctl made; None where its API did not answer."""
    if listed is None:
        return None
    items = json.loads(listed)["items"]
    pods = [one for one in items if one["kind"] == "Pod"]
    # In other namespaces are a cluster's words to those who join it, which go with their tokens.
    maps = [one for one in items if one["kind"] == "ConfigMap" and one["metadata"]["namespace"] == "kube-system"]
    return {
        "settings": cluster.settings(maps),
        "images": cluster.images(pods),
        "instances": cluster.instances(pods),
    }


def netfilter_is_loaded(files: Files, kernel: Mapping[str, object]) -> bool:
    """Whether asking for the rules loads no module: asking would load nf_tables where it is not there yet."""
    config: Optional[object] = kernel["config"]
    built_in = isinstance(config, dict) and config.get("NF_TABLES") == "y"
    return built_in or "\nnf_tables " in "\n" + (files.text("/proc/modules") or "")


def main() -> None:
    """Take the fingerprint and return it."""
    arguments = {
        "interface": {"type": "str", "required": True},
        "address": {"type": "str"},
        "netns": {"type": "str", "default": ""},
        "kubectl": {"type": "list", "elements": "str", "default": []},
        "seal": {"type": "bool", "default": False},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    wanted = module.params
    commands = Commands()
    place = Place(wanted["interface"], wanted["address"], wanted["netns"], wanted["kubectl"])
    document = (seal if wanted["seal"] else take)(Files(), commands, place)
    commands.end()
    module.exit_json(changed=False, fingerprint=document)


if __name__ == "__main__":
    main()
