#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: datapath_evidence
short_description: Gather what a node shows of the path that test traffic takes
description:
  - Has to run on both ends at once, for they wait for each other.
  - Reads counters and forgets tracked connections of earlier probes. Then the client sends bounded test traffic to the
    server's endpoint - pings of exact size and some large transactions of netperf - and watches the cable meanwhile.
    After that both read what they show; counters as differences.
options:
  end: {type: str, required: true, choices: [client, server], description: Which end this node is.}
  path:
    type: dict
    required: true
    description: The path to look at.
    suboptions:
      cable: {type: str, required: true, description: Interface towards the other node.}
      netns: {type: str, default: "", description: Network namespace of this node's endpoint; empty for the node's own.}
      pod_interface: {type: str, default: "", description: The node's end of the link to a pod that is the endpoint.}
      own_address: {type: str, required: true, description: Address of this node's endpoint.}
      node_address: {type: str, required: true, description: Address of this node on the cable.}
      peer_address: {type: str, required: true, description: Address of the other node on the cable.}
      client: {type: str, required: true, description: Address of the client's endpoint.}
      server: {type: str, required: true, description: Address of the server's endpoint.}
      control_port: {type: int, required: true, description: Port that netserver listens on.}
      data_port: {type: int, required: true, description: Port of the probe's test connection.}
      barrier_port: {type: int, required: true, description: UDP port on which the nodes wait for each other.}
      mtu: {type: int, required: true, description: Largest packet in bytes that the setup claims between the ends.}
      tunnel: {type: str, default: "", description: Kind of the tunnel that encrypts the traffic; empty for none.}
      tunnel_port: {type: int, default: 0, description: UDP port of a WireGuard tunnel.}
      tunnel_address: {type: str, required: true, description: Outer address of what this node encrypts.}
      tunnel_peer: {type: str, required: true, description: Outer address of what the other node encrypts.}
      tunnel_device: {type: str, default: labctl-wg0, description: Device of a WireGuard tunnel.}
      cluster: {type: bool, default: false, description: Whether the nodes are a cluster that talks by itself.}
      transactions: {type: int, required: true, description: Transactions of the probe.}
      size: {type: int, required: true, description: Bytes of each request and each response.}
      wait: {type: int, required: true, description: Seconds that the path may take to come up.}
author: labctl
"""

RETURN = r"""
probe: {description: What the client saw of the test traffic; the server's tap alone., type: dict, returned: always}
evidence: {description: "What this node shows, in the words of the role's README.", type: dict, returned: always}
"""

from typing import Any

from ansible.module_utils import datapath_cgroups as cgroups
from ansible.module_utils import datapath_observe as observe
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_barrier import Barrier
from ansible.module_utils.datapath_netfilter import iptables_backend, tables
from ansible.module_utils.datapath_tap import ESP, UDP, Tap, watched
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import CommandFailed, run, spawn

IP_AND_ICMP_BYTES = 28
# By how much the nodes may begin this task apart, in seconds.
PATIENCE_S = 5
# Half of what the server waits for the end of the traffic.
TRAFFIC_S = 30


def counters(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return every counter whose growth is evidence. Those of the cable are its own."""
    cable, present = wanted["cable"], observe.links()
    received, sent = present[cable]["stats64"]["rx"], present[cable]["stats64"]["tx"]
    seen = {
        "forwarded": observe.forwarded_packets(),
        "cable_bytes": received["bytes"] + sent["bytes"],
        "received_bytes": received["bytes"],
        "received_packets": received["packets"],
        "hits": observe.program_hits(observe.programs_on(cable, wanted["pod_interface"], present)),
    }
    if wanted["tunnel"]:
        counted = observe.tunnel_counters(wanted["tunnel"], wanted["tunnel_address"], present, wanted["tunnel_device"])
        seen.update((f"tunnel_{name}", value) for name, value in counted.items())
    return seen


def tap_on(wanted: dict[str, Any]) -> Tap:
    """Return a tap on the cable that tells the probe's frames from those of the tunnel, and both from others."""
    ends, nodes = (wanted["client"], wanted["server"]), (wanted["node_address"], wanted["peer_address"])
    outer = (wanted["tunnel_address"], wanted["tunnel_peer"])
    protocol = {"": 0, "esp": ESP}.get(wanted["tunnel"], UDP)
    tunnel = (protocol, wanted["tunnel_port"] if protocol == UDP else 0)
    told = watched(ends, wanted["data_port"], nodes, outer, tunnel, wanted["barrier_port"], wanted["cluster"])
    return Tap(wanted["cable"], told)


def flow_of(wanted: dict[str, Any]) -> list[str]:
    """Return conntrack's criteria for the probe's test connection."""
    ends = ["--orig-src", wanted["client"], "--orig-dst", wanted["server"]]
    return ["-p", "tcp", *ends, "--orig-port-dst", str(wanted["data_port"])]


def ping_of(packet: int, address: str) -> list[str]:
    """Return the command that sends one IPv4 packet of so many bytes that must not be fragmented."""
    # A packet refused at its source is waited for like any other; the answer to a good one takes far less than this.
    size = str(packet - IP_AND_ICMP_BYTES)
    return ["ping", "-n", "-q", "-c", "1", "-W", "0.2", "-M", "do", "-s", size, address]


def passing(netns: str, address: str, sizes: tuple[int, ...]) -> list[int]:
    """Return those of the packet sizes, in bytes, that reach the address whole and are answered."""
    pings = {size: spawn([*observe.within(netns), *ping_of(size, address)]) for size in sizes}
    return [size for size, ping in pings.items() if ping.wait() == 0]


def answers(netns: str, address: str, wait: int) -> str | None:
    """Return None when the address answers a ping within `wait` seconds, else what ping said."""
    try:
        run([*observe.within(netns), "ping", "-n", "-q", "-i", "0.2", "-c", "1", "-w", str(wait), address])
    except CommandFailed as silence:
        return silence.output.strip()
    return None


def transact(wanted: dict[str, Any]) -> dict[str, Any]:
    """Run the probe's transactions. `error` is None when all went through; `mss` in bytes, of the client's socket."""
    size = str(wanted["size"])
    argv = ["netperf", "-4", "-H", wanted["server"], "-L", wanted["client"], "-p", str(wanted["control_port"])]
    argv += ["-t", "TCP_RR", "-l", f"-{wanted['transactions']}", "-P", "0", "--"]
    argv += ["-r", f"{size},{size}", "-P", f",{wanted['data_port']}", "-k", "TRANSACTION_RATE,TRANSPORT_MSS"]
    try:
        printed = run([*observe.within(wanted["netns"]), *argv], timeout_s=TRAFFIC_S)
    except CommandFailed as failure:
        return {"error": failure.output.strip() or str(failure), "mss": None}
    fields = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    if "TRANSPORT_MSS" not in fields:
        return {"error": f"netperf printed no TRANSPORT_MSS: {printed.strip()}", "mss": None}
    return {"error": None, "mss": int(fields["TRANSPORT_MSS"])}


def probe(wanted: dict[str, Any]) -> dict[str, Any]:
    """Send the test traffic and return what the client sees of it."""
    netns, server, mtu = wanted["netns"], wanted["server"], wanted["mtu"]
    silence = answers(netns, server, wanted["wait"])
    if silence is not None:
        return silent(silence)
    tap = tap_on(wanted)
    done = transact(wanted)
    seen = tap.read()
    return {"endpoint_answers": True, "passes": passing(netns, server, (mtu, mtu + 1)), "tap": vars(seen), **done}


def silent(reason: str) -> dict[str, Any]:
    """Return what the client sees when nothing answers it."""
    return {"endpoint_answers": False, "passes": [], "tap": None, "mss": None, "error": reason}


def traffic(end: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Let the test traffic happen, the ends waiting for each other.

    Return what the client saw, or of the server what its tap did.
    """
    with Barrier(wanted["node_address"], wanted["peer_address"], wanted["barrier_port"]) as barrier:
        if end == "server":
            tap = tap_on(wanted)
            if not barrier.attend(wanted["wait"] + PATIENCE_S):
                raise Refused(
                    "The client did not send its test traffic in time.",
                    where=wanted["peer_address"],
                    hint="Does the client take part in this play, and has Ansible at least 2 forks?",
                )
            return {"tap": vars(tap.read())}
        if not barrier.join(wanted["wait"] + PATIENCE_S):
            return silent(f"{wanted['peer_address']} did not answer over the cable that it is ready for test traffic")
        try:
            return probe(wanted)
        finally:
            barrier.leave()


def grown(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return by how much the counters grew. A program attached meanwhile counts from zero."""
    grew: dict[str, Any] = {name: now[name] - then[name] for name in now if name != "hits"}
    grew["hits"] = {name: count - then["hits"].get(name, 0) for name, count in now["hits"].items()}
    return grew


def evidence(wanted: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return what this node shows now; counters as differences to `then`."""
    cable, netns = wanted["cable"], wanted["netns"]
    own = wanted["own_address"]
    grew = grown(counters(wanted), then)
    present = observe.links()
    attached = observe.programs_on(cable, wanted["pod_interface"], present)
    services = sum(name.startswith("KUBE-SVC-") for name in observe.chains())
    return {
        "tracked": wanted["client"] in observe.conntrack("-L", *flow_of(wanted)),
        "conntrack_hooked": observe.conntrack_is_hooked(),
        "netfilter_tables": tables(),
        "kube_services": services,
        "iptables_backend": iptables_backend() if services else None,
        "programs": {place: ", ".join(program["name"] for program in on) for place, on in attached.items()},
        "socket_programs": sorted(map(cgroups.words, cgroups.attached())),
        "cable_mtu": present[cable]["mtu"],
        "cable_kind": present[cable].get("linkinfo", {}).get("info_kind"),
        "endpoint_mtu": observe.mtu_at(netns, own),
        "listening": observe.listens_in(netns, own, wanted["control_port"]),
        "timestamps": observe.timestamps_in(netns),
        "grew": grew,
    }


def gather(end: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Let the test traffic cross and return the task's result."""
    observe.forget_tracked(flow_of(wanted))
    then = counters(wanted)
    seen = traffic(end, wanted)
    return {"changed": False, "probe": seen, "evidence": {**evidence(wanted, then), "tap": seen["tap"]}}


def main() -> None:
    text = {"type": "str", "required": True}
    number = {"type": "int", "required": True}
    ports = ("control_port", "data_port", "barrier_port")
    path = {
        **dict.fromkeys(("cable", "own_address", "node_address", "peer_address", "client", "server"), text),
        **dict.fromkeys(("tunnel_address", "tunnel_peer"), text),
        **dict.fromkeys((*ports, "mtu", "transactions", "size", "wait"), number),
        **{name: {"type": "str", "default": ""} for name in ("netns", "pod_interface", "tunnel")},
        "tunnel_port": {"type": "int", "default": 0},
        "tunnel_device": {"type": "str", "default": "labctl-wg0"},
        "cluster": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "end": {"type": "str", "required": True, "choices": ["client", "server"]},
            "path": {"type": "dict", "required": True, "options": path},
        },
    )
    finish(module, lambda: gather(module.params["end"], module.params["path"]))


if __name__ == "__main__":
    main()
