#!/usr/bin/python
"""Ansible module: what a node shows of the path of test traffic, and the probe that makes it show."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: datapath_evidence
short_description: Gather what a node shows of the path that test traffic takes
description:
  - Stage before reads counters and forgets tracked connections of earlier probes.
  - Stage probe, on the client, sends bounded test traffic to the server's endpoint - pings of exact size and some large
    transactions of netperf - and watches the cable meanwhile.
  - Stage after reads everything; counters as differences to stage before.
options:
  stage: {type: str, required: true, choices: [before, probe, after], description: What to do.}
  path:
    type: dict
    required: true
    description: The path to look at.
    suboptions:
      cable: {type: str, required: true, description: Interface towards the other node.}
      netns: {type: str, default: "", description: Network namespace of this node's endpoint; empty for the node's own.}
      own_address: {type: str, required: true, description: Address of this node's endpoint.}
      client: {type: str, required: true, description: Address of the client's endpoint.}
      server: {type: str, required: true, description: Address of the server's endpoint.}
      control_port: {type: int, required: true, description: Port that netserver listens on.}
      data_port: {type: int, required: true, description: Port of the probe's test connection.}
      mtu: {type: int, required: true, description: MTU in bytes that the setup claims.}
      transactions: {type: int, required: true, description: Transactions of the probe.}
      size: {type: int, required: true, description: Bytes of each request and each response.}
      wait: {type: int, required: true, description: Seconds that the path may take to come up.}
  before: {type: dict, description: What stage before returned for this node. Required for stage after.}
author: labctl
"""

RETURN = r"""
evidence: {description: The facts, in the words of the role's README., type: dict, returned: always}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_netfilter import iptables_backend, tables
from ansible.module_utils.datapath_observe import (
    cable_bytes,
    cable_frame_bytes,
    chains,
    conntrack,
    conntrack_is_hooked,
    forget_tracked,
    forwarded_packets,
    links,
    listens_in,
    mtu_at,
    program_hits,
    programs_on,
    timestamps_in,
    within,
)
from ansible.module_utils.datapath_system import Refused, ToolFailed, run
from ansible.module_utils.datapath_tap import Tap

IP_AND_ICMP_BYTES = 28


def counters(cable: str) -> dict[str, Any]:
    """Return every counter whose growth is evidence."""
    received, packets = cable_frame_bytes(cable)
    return {
        "forwarded": forwarded_packets(),
        "cable_bytes": cable_bytes(cable),
        "received_bytes": received,
        "received_packets": packets,
        "hits": program_hits(programs_on(cable, links())),
    }


def flow_of(wanted: dict[str, Any]) -> list[str]:
    """Return conntrack's criteria for the probe's test connection."""
    ends = ["--orig-src", wanted["client"], "--orig-dst", wanted["server"]]
    return ["-p", "tcp", *ends, "--orig-port-dst", str(wanted["data_port"])]


def before(wanted: dict[str, Any]) -> dict[str, Any]:
    """Stage before."""
    forget_tracked(flow_of(wanted))
    return counters(wanted["cable"])


def passes(netns: str, address: str, packet: int) -> bool:
    """Whether an unfragmented IPv4 packet of so many bytes reaches the address and is answered."""
    size = str(packet - IP_AND_ICMP_BYTES)
    # A packet refused at its source is waited for like any other: the answer to a good one takes far less than this.
    argv = ["ping", "-n", "-q", "-c", "1", "-W", "0.2", "-M", "do", "-s", size, address]
    try:
        run([*within(netns), *argv])
    except ToolFailed:
        return False
    return True


def answers(netns: str, address: str, wait: int) -> str | None:
    """Return None when the address answers a ping within `wait` seconds, else what ping said."""
    try:
        run([*within(netns), "ping", "-n", "-q", "-i", "0.2", "-c", "1", "-w", str(wait), address])
    except ToolFailed as silence:
        return silence.output.strip()
    return None


def transact(wanted: dict[str, Any]) -> dict[str, Any]:
    """Run the probe's transactions. `error` is None when all went through; `mss` in bytes, of the client's socket."""
    size = str(wanted["size"])
    argv = ["netperf", "-4", "-H", wanted["server"], "-L", wanted["client"], "-p", str(wanted["control_port"])]
    argv += ["-t", "TCP_RR", "-l", f"-{wanted['transactions']}", "-P", "0", "--"]
    argv += ["-r", f"{size},{size}", "-P", f",{wanted['data_port']}", "-k", "TRANSACTION_RATE,TRANSPORT_MSS"]
    try:
        printed = run([*within(wanted["netns"]), *argv])
    except ToolFailed as failure:
        return {"error": failure.output.strip(), "mss": None}
    fields = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    if "TRANSPORT_MSS" not in fields:
        return {"error": f"netperf printed no TRANSPORT_MSS: {printed.strip()}", "mss": None}
    return {"error": None, "mss": int(fields["TRANSPORT_MSS"])}


def probe(wanted: dict[str, Any]) -> dict[str, Any]:
    """Stage probe."""
    netns, server, mtu = wanted["netns"], wanted["server"], wanted["mtu"]
    silence = answers(netns, server, wanted["wait"])
    found: dict[str, Any] = {"endpoint_answers": silence is None, "silence": silence}
    if silence is not None:
        return dict(found, error="the endpoint does not answer", mss=None, passes=[], tap=None)
    found["passes"] = [size for size in (mtu, mtu + 1) if passes(netns, server, size)]
    tap = Tap(wanted["cable"], (wanted["client"], server), wanted["data_port"])
    found.update(transact(wanted))
    seen = tap.read()
    return dict(found, tap=vars(seen))


def grown(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return by how much the counters grew. A program attached meanwhile counts from zero."""
    grew: dict[str, Any] = {name: now[name] - then[name] for name in now if name != "hits"}
    grew["hits"] = {name: count - then["hits"].get(name, 0) for name, count in now["hits"].items()}
    return grew


def after(wanted: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Stage after."""
    cable, netns = wanted["cable"], wanted["netns"]
    own = wanted["own_address"]
    grew = grown(counters(cable), then)
    present = links()
    attached = programs_on(cable, present)
    services = sum(name.startswith("KUBE-SVC-") for name in chains())
    return {
        "tracked": wanted["client"] in conntrack("-L", *flow_of(wanted)),
        "conntrack_hooked": conntrack_is_hooked(),
        "netfilter_tables": tables(),
        "kube_services": services,
        "iptables_backend": iptables_backend() if services else None,
        "programs": {place: ", ".join(program["name"] for program in on) for place, on in attached.items()},
        "cable_mtu": present[cable]["mtu"],
        "cable_kind": present[cable].get("linkinfo", {}).get("info_kind"),
        "endpoint_mtu": mtu_at(netns, own),
        "listening": listens_in(netns, own, wanted["control_port"]),
        "timestamps": timestamps_in(netns),
        "grew": grew,
    }


def main() -> None:
    text = {"type": "str", "required": True}
    number = {"type": "int", "required": True}
    path = {
        **dict.fromkeys(("cable", "own_address", "client", "server"), text),
        **dict.fromkeys(("control_port", "data_port", "mtu", "transactions", "size", "wait"), number),
        "netns": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "stage": {"type": "str", "required": True, "choices": ["before", "probe", "after"]},
            "path": {"type": "dict", "required": True, "options": path},
            "before": {"type": "dict"},
        },
        required_if=[("stage", "after", ("before",))],
        supports_check_mode=False,
    )
    wanted = module.params["path"]
    try:
        if module.params["stage"] == "before":
            evidence = before(wanted)
        elif module.params["stage"] == "probe":
            evidence = probe(wanted)
        else:
            evidence = after(wanted, module.params["before"])
    except (Refused, ToolFailed) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(changed=False, evidence=evidence)


if __name__ == "__main__":
    main()
