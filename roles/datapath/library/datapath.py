#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: datapath
short_description: Build or remove the path that test traffic takes on one node
description:
  - Sets the cable's MTU and builds what the arguments name - an encrypted tunnel to the other node, a pod behind a veth
    pair, netfilter rules, tc programs. TCP forgets what it learned from earlier connections, at node and pod alike.
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

from ansible.module_utils import datapath_links as links
from ansible.module_utils import datapath_netfilter as netfilter
from ansible.module_utils import datapath_programs as tc
from ansible.module_utils import datapath_record as records
from ansible.module_utils import datapath_tunnel as tunnels
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_keys import forget_key
from ansible.module_utils.datapath_metrics import SWITCH, forget_metrics
from ansible.module_utils.datapath_namespace import inside
from ansible.module_utils.labctl_node.files import read_text, write_setting
from ansible.module_utils.labctl_node.refused import Refused, finish

POD_ARGUMENTS = ("address", "gateway", "peer_network", "peer_address")
TUNNEL_ADDRESSES = ("own_address", "peer_address", "own_network", "peer_network", "address")
TUNNEL_ARGUMENTS = ("kind", *TUNNEL_ADDRESSES, "own_key", "peer_key")


@dataclass(frozen=True)
class Wanted:
    """A whole path, as the arguments name it."""

    variant: str
    cable: links.Cable
    tunnel: tunnels.Tunnel | None
    pod: links.Pod | None
    nft: str
    iptables: str
    programs: str | None
    redirect_peer: bool


def hooked(wanted: Wanted) -> list[str]:
    """Return those of the interfaces on which programs may hang that are there: the cable, and the tunnel's own."""
    devices = {wanted.cable.interface} | ({tunnels.device_of(wanted.tunnel)} if wanted.tunnel else set())
    return sorted(device for device in devices if links.link_of(device))


def observe(wanted: Wanted, rules: str) -> str:
    """Return a digest of everything that the path consists of, as it is now, with the rules of this moment."""
    return records.digest(
        {
            "links": links.observe_links(wanted.cable, wanted.pod is not None),
            "tunnel": tunnels.observe(wanted.tunnel) if wanted.tunnel else None,
            "rules": rules,
            "programs": [tc.observe_programs(interface) for interface in hooked(wanted)],
            "metrics": read_text(SWITCH),
        }
    )


def refuse_foreign(wanted: Wanted) -> None:
    """Refuse foreign rules, which would affect the measurement, and labctl's names that no record has."""
    netfilter.refuse_foreign_tables(wanted.variant)
    if wanted.tunnel:
        tunnels.refuse_foreign(wanted.tunnel)
    if wanted.pod and (links.namespace_exists() or links.host_end_exists()):
        raise Refused(
            f"This node has a namespace {links.NAMESPACE} or an interface {links.HOST_END} that labctl did not record "
            "as its own.",
            hint=f"If nothing needs them: ip link delete {links.HOST_END}; ip netns delete {links.NAMESPACE}",
        )
    if wanted.programs:
        tc.refuse_foreign_programs(wanted.cable.interface)


def build(wanted: Wanted) -> None:
    """Build the path, writing down before each change what undoing it takes."""
    record: dict[str, Any] = {
        "schema": records.SCHEMA,
        "variant": wanted.variant,
        "digest": records.digest(asdict(wanted)),
        "cable": {"interface": wanted.cable.interface, "mtu": links.mtu_of(wanted.cable.interface)},
        "tunnel": asdict(wanted.tunnel) if wanted.tunnel else None,
        "pod": asdict(wanted.pod) if wanted.pod else None,
        "settings": {SWITCH: read_text(SWITCH)},
        "tables_before": netfilter.tables(),
        "programs": bool(wanted.programs),
        "rules": None,
        "built": None,
    }
    switch = links.forwarding(wanted.cable.interface)
    if wanted.pod:
        record["settings"][switch] = read_text(switch)
    records.save(record)
    links.set_mtu(wanted.cable.interface, wanted.cable.mtu)
    forget_metrics()
    if wanted.tunnel:
        tunnels.build(wanted.tunnel)
    if wanted.pod:
        links.build_pod(wanted.cable, wanted.pod)
        with inside(links.NAMESPACE):
            forget_metrics()
        write_setting(switch, "1")
        if wanted.tunnel:
            write_setting(links.forwarding(tunnels.device_of(wanted.tunnel)), "1")
    if wanted.nft:
        netfilter.load_nft(wanted.nft)
    if wanted.iptables:
        netfilter.load_iptables(wanted.iptables)
    if wanted.programs:
        tc.attach(wanted.programs, wanted.cable.interface, links.HOST_END, wanted.tunnel, wanted.redirect_peer)
    rules = netfilter.observe_rules()
    records.save(dict(record, rules=rules, built=observe(wanted, rules)))


def remove(record: dict[str, Any]) -> None:
    """Undo what the record names, as far as it is still there, and forget the record last."""
    cable = links.Cable(record["cable"]["interface"], record["cable"]["mtu"])
    if record["programs"]:
        tc.detach(cable.interface)
    netfilter.remove_tables([table for table in netfilter.tables() if table not in record["tables_before"]])
    if record["pod"]:
        links.remove_pod(cable, links.Pod(**record["pod"]))
    if record["tunnel"]:
        tunnels.remove(record["tunnel"])
    for path, value in record["settings"].items():
        if read_text(path) not in (value, None):
            write_setting(path, value)
    links.set_mtu(cable.interface, cable.mtu)
    records.remove()


def bring_about(wanted: Wanted, check_mode: bool) -> bool:
    """Make the node carry exactly the wanted path. Return whether that took a change."""
    record = records.load()
    same = record is not None and record["digest"] == records.digest(asdict(wanted))
    if record and same and record["built"] == observe(wanted, netfilter.observe_rules()):
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
        cable=links.Cable(parameters["cable"], parameters["mtu"]),
        tunnel=tunnels.tunnel_of(tunnel, parameters["cable"]) if tunnel else None,
        pod=links.Pod(**{name: pod[name] for name in (*POD_ARGUMENTS, "mtu")}) if pod else None,
        nft=parameters["nft"],
        iptables=parameters["iptables"],
        programs=parameters["programs"],
        redirect_peer=parameters["redirect_peer"],
    )


def act(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say and return the task's result."""
    if module.params["state"] == "absent":
        record = records.load()
        if module.check_mode:
            return {"changed": record is not None}
        # Also without a record: a deploy that ended before it wrote one may have left the key.
        forgotten = forget_key()
        if record:
            remove(record)
        return {"changed": forgotten or record is not None}
    wanted = wanted_of(module.params)
    changed = bring_about(wanted, module.check_mode)
    result: dict[str, Any] = {"changed": changed, "tables": netfilter.tables()}
    if wanted.iptables:
        result["iptables_backend"] = netfilter.iptables_backend()
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
