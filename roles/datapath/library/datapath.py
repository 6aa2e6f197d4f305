#!/usr/bin/python
"""Ansible module: build or remove the path that test traffic takes on one node."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: datapath
short_description: Build or remove the path that test traffic takes on one node
description:
  - Sets the cable's MTU and builds what the arguments name - an encrypted tunnel to the other node, a pod behind a veth
    pair, netfilter rules, tc programs.
  - Before each change it writes down what it found in /run/labctl/datapath.json. Removing goes by that record alone,
    puts the recorded values back, and leaves nothing. Without a record nothing is touched.
  - A node that still carries a datapath, whole or half removed, is cleared first unless it is exactly the wanted one.
  - Refuses a node with netfilter tables that labctl did not make, naming them.
options:
  state: {type: str, choices: [present, absent], default: present, description: Whether the path is there.}
  variant: {type: str, description: Name of the variant for messages and the record. Required when present.}
  cable: {type: str, description: Interface towards the other node. Required when present.}
  mtu: {type: int, description: MTU in bytes of the cable. Required when present.}
  tunnel:
    type: dict
    description: The tunnel to build. The private key is the one that module tunnel_key made.
    suboptions:
      kind: {type: str, required: true, description: "What it is made of: kernel, wireguard-go or esp."}
      own_address: {type: str, required: true, description: Address of this node on the cable.}
      peer_address: {type: str, required: true, description: Address of the other node on the cable.}
      own_network: {type: str, required: true, description: Network behind this end.}
      peer_network: {type: str, required: true, description: Network behind the other end.}
      address: {type: str, required: true, description: The node's own address inside; empty for none.}
      own_key: {type: str, required: true, description: Public half of this node's key.}
      peer_key: {type: str, required: true, description: Public half of the other node's key.}
      port: {type: int, required: true, description: UDP port of WireGuard on both nodes.}
      mtu: {type: int, required: true, description: Largest packet inside in bytes.}
  pod:
    type: dict
    description: The pod to build.
    suboptions:
      address: {type: str, required: true, description: Address of the pod.}
      gateway: {type: str, required: true, description: Address of its host end.}
      peer_network: {type: str, required: true, description: Network of the other node's pods; empty for no route.}
      peer_address: {type: str, required: true, description: Address through which they are reached.}
      mtu: {type: int, required: true, description: MTU in bytes of the pod.}
  nft: {type: str, default: "", description: Ruleset in nft's language.}
  iptables: {type: str, default: "", description: Rules in the form of iptables-save.}
  programs: {type: path, description: Object on the node with the tc programs to attach.}
  redirect_peer:
    type: bool
    default: false
    description: Whether the programs redirect what XFRM decrypted into the pod directly, as all other packets.
author: labctl
"""

RETURN = r"""
tables: {description: Netfilter tables that the path brought., type: list, returned: when present}
iptables_backend: {description: Version and backend of iptables., type: str, returned: when iptables rules are loaded}
"""

from dataclasses import asdict, dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_keys import forget_key
from ansible.module_utils.datapath_links import (
    HOST_END,
    NAMESPACE,
    Cable,
    Pod,
    build_pod,
    forwarding,
    host_end_exists,
    link_of,
    mtu_of,
    namespace_exists,
    observe_links,
    remove_pod,
    set_mtu,
)
from ansible.module_utils.datapath_netfilter import (
    iptables_backend,
    load_iptables,
    load_nft,
    observe_rules,
    refuse_foreign_tables,
    remove_tables,
    tables,
)
from ansible.module_utils.datapath_programs import (
    attach,
    detach,
    observe_programs,
    refuse_foreign_programs,
)
from ansible.module_utils.datapath_record import SCHEMA, digest, load_record, remove_record, save_record
from ansible.module_utils.datapath_tunnel import (
    Tunnel,
    build_tunnel,
    device_of,
    observe_tunnel,
    refuse_foreign_tunnel,
    remove_tunnel,
    tunnel_of,
)
from ansible.module_utils.labctl_node.files import read_text, write_setting
from ansible.module_utils.labctl_node.refused import Refused, finish

POD_ARGUMENTS = ("address", "gateway", "peer_network", "peer_address")
TUNNEL_ADDRESSES = ("own_address", "peer_address", "own_network", "peer_network", "address")
TUNNEL_ARGUMENTS = ("kind", *TUNNEL_ADDRESSES, "own_key", "peer_key")


@dataclass(frozen=True)
class Wanted:
    """A whole path, as the arguments name it."""

    variant: str
    cable: Cable
    tunnel: Tunnel | None
    pod: Pod | None
    nft: str
    iptables: str
    programs: str | None
    redirect_peer: bool


def hooked(wanted: Wanted) -> list[str]:
    """Return those of the interfaces on which programs may hang that are there: the cable, and the tunnel's own."""
    devices = {wanted.cable.interface} | ({device_of(wanted.tunnel)} if wanted.tunnel else set())
    return sorted(device for device in devices if link_of(device))


def observe(wanted: Wanted) -> str:
    """Return a digest of everything that the path consists of, as it is now."""
    return digest(
        {
            "links": observe_links(wanted.cable, wanted.pod is not None),
            "tunnel": observe_tunnel(wanted.tunnel) if wanted.tunnel else None,
            "rules": observe_rules(),
            "programs": [observe_programs(interface) for interface in hooked(wanted)],
        }
    )


def refuse_foreign(wanted: Wanted) -> None:
    """Refuse foreign rules, which would affect the measurement, and labctl's names that no record has."""
    refuse_foreign_tables(wanted.variant)
    if wanted.tunnel:
        refuse_foreign_tunnel(wanted.tunnel)
    if wanted.pod and (namespace_exists() or host_end_exists()):
        raise Refused(
            f"This node has a namespace {NAMESPACE} or an interface {HOST_END} that labctl did not record as its own.",
            hint=f"If nothing needs them: ip link delete {HOST_END}; ip netns delete {NAMESPACE}",
        )
    if wanted.programs:
        refuse_foreign_programs(wanted.cable.interface)


def build(wanted: Wanted) -> None:
    """Build the path, writing down before each change what undoing it takes."""
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "variant": wanted.variant,
        "digest": digest(asdict(wanted)),
        "cable": {"interface": wanted.cable.interface, "mtu": mtu_of(wanted.cable.interface)},
        "tunnel": asdict(wanted.tunnel) if wanted.tunnel else None,
        "pod": asdict(wanted.pod) if wanted.pod else None,
        "settings": {},
        "tables_before": tables(),
        "programs": bool(wanted.programs),
        "built": None,
    }
    switch = forwarding(wanted.cable.interface)
    if wanted.pod:
        record["settings"][switch] = read_text(switch)
    save_record(record)
    set_mtu(wanted.cable.interface, wanted.cable.mtu)
    if wanted.tunnel:
        build_tunnel(wanted.tunnel)
    if wanted.pod:
        build_pod(wanted.cable, wanted.pod)
        write_setting(switch, "1")
        if wanted.tunnel:
            write_setting(forwarding(device_of(wanted.tunnel)), "1")
    if wanted.nft:
        load_nft(wanted.nft)
    if wanted.iptables:
        load_iptables(wanted.iptables)
    if wanted.programs:
        attach(wanted.programs, wanted.cable.interface, HOST_END, wanted.tunnel, wanted.redirect_peer)
    save_record(dict(record, built=observe(wanted)))


def remove(record: dict[str, Any]) -> None:
    """Undo what the record names, as far as it is still there, and forget the record last."""
    cable = Cable(record["cable"]["interface"], record["cable"]["mtu"])
    if record["programs"]:
        detach(cable.interface)
    remove_tables([table for table in tables() if table not in record["tables_before"]])
    if record["pod"]:
        remove_pod(cable, Pod(**record["pod"]))
    if record["tunnel"]:
        remove_tunnel(record["tunnel"])
    for path, value in record["settings"].items():
        if read_text(path) not in (value, None):
            write_setting(path, value)
    set_mtu(cable.interface, cable.mtu)
    remove_record()


def bring_about(wanted: Wanted, check_mode: bool) -> bool:
    """Make the node carry exactly the wanted path. Return whether that took a change."""
    record = load_record()
    if record and record["digest"] == digest(asdict(wanted)) and record["built"] == observe(wanted):
        return False
    if check_mode:
        return True
    if not wanted.tunnel:
        forget_key()
    if record:
        remove(record)
    refuse_foreign(wanted)
    build(wanted)
    return True


def wanted_of(parameters: dict[str, Any]) -> Wanted:
    """Return the arguments as typed data."""
    pod, tunnel = parameters["pod"], parameters["tunnel"]
    return Wanted(
        variant=parameters["variant"],
        cable=Cable(parameters["cable"], parameters["mtu"]),
        tunnel=tunnel_of(tunnel, parameters["cable"]) if tunnel else None,
        pod=Pod(**{name: pod[name] for name in (*POD_ARGUMENTS, "mtu")}) if pod else None,
        nft=parameters["nft"],
        iptables=parameters["iptables"],
        programs=parameters["programs"],
        redirect_peer=parameters["redirect_peer"],
    )


def act(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say and return the task's result."""
    if module.params["state"] == "absent":
        record = load_record()
        if module.check_mode:
            return {"changed": record is not None}
        # Also without a record: a deploy that ended before it wrote one may have left the key.
        forgotten = forget_key()
        if record:
            remove(record)
        return {"changed": forgotten or record is not None}
    wanted = wanted_of(module.params)
    changed = bring_about(wanted, module.check_mode)
    result: dict[str, Any] = {"changed": changed, "tables": tables()}
    if wanted.iptables:
        result["iptables_backend"] = iptables_backend()
    return result


def main() -> None:
    text, number = {"type": "str", "required": True}, {"type": "int", "required": True}
    # Public halves: Ansible would hide what is called a key.
    shown = {name: {**text, "no_log": False} for name in TUNNEL_ARGUMENTS}
    tunnel = {**shown, "port": number, "mtu": number}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "variant": {"type": "str"},
            "cable": {"type": "str"},
            "mtu": {"type": "int"},
            "tunnel": {"type": "dict", "options": tunnel},
            "pod": {"type": "dict", "options": {**dict.fromkeys(POD_ARGUMENTS, text), "mtu": number}},
            "nft": {"type": "str", "default": ""},
            "iptables": {"type": "str", "default": ""},
            "programs": {"type": "path"},
            "redirect_peer": {"type": "bool", "default": False},
        },
        required_if=[("state", "present", ("variant", "cable", "mtu"))],
        supports_check_mode=True,
    )
    finish(module, lambda: act(module))


if __name__ == "__main__":
    main()
