#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: datapath_evidence
short_description: Gather what a node shows of the path that test traffic takes
description:
  - Has to run on both ends at once, for they wait for each other.
  - Reads counters and forgets tracked connections of earlier probes. Then the client sends bounded test traffic to the
    server's endpoint - pings of exact size, some large transactions of netperf and some connections - and both watch
    the cable meanwhile. After that both read what they show; counters as differences.
  - Traffic of which an end lost frames is sent again, three times in all.
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
      chains:
        type: list
        elements: str
        default: []
        description: Patterns of the chains whose rules the claim admits; none where all rules were loaded by labctl.
      cluster: {type: bool, default: false, description: Whether the nodes are a cluster that talks by itself.}
      transactions: {type: int, required: true, description: Transactions of the probe.}
      size: {type: int, required: true, description: Bytes of each request and each response.}
      connections: {type: int, required: true, description: Connections that are only opened and closed.}
      wait: {type: int, required: true, description: Seconds that the path may take to come up.}
author: labctl
"""

RETURN = r"""
probe: {description: What the client saw of the test traffic; the server's tap alone., type: dict, returned: always}
evidence: {description: "What this node shows, in the words of the role's README.", type: dict, returned: always}
"""

import socket
from collections.abc import Iterable
from typing import Any

from ansible.module_utils import datapath_cgroups as cgroups
from ansible.module_utils import datapath_observe as observe
from ansible.module_utils import datapath_record as records
from ansible.module_utils import datapath_state as state
from ansible.module_utils import datapath_wireguard as wireguard
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_barrier import Barrier
from ansible.module_utils.datapath_echo import SMALL, answered
from ansible.module_utils.datapath_hooks import hooks
from ansible.module_utils.datapath_namespace import inside
from ansible.module_utils.datapath_netfilter import iptables_backend, legacy_tables
from ansible.module_utils.datapath_tap import ESP, UDP, Seen, Tap, watched
from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import CommandFailed, run
from ansible.module_utils.labctl_node.wait import wait_until

# By how much the nodes may begin this task apart, in seconds.
PATIENCE_S = 5
# What the answer to a ping may take.
WORD_S = 0.5
# Half of what the server waits for the end of the traffic.
TRAFFIC_S = 30
# How often the traffic is sent before frames that a tap loses are a failed proof.
ATTEMPTS = 3


def counters(wanted: dict[str, Any], present: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return every counter whose growth is evidence: of the node's interfaces as they are now, and of both stacks."""
    link = present[wanted["cable"]]["stats64"]
    received, sent = link["rx"], link["tx"]
    with inside(wanted["netns"]):
        endpoint = observe.ip_counters()
    seen = {
        "forwarded": observe.ip_counters()["forwarded"],
        "endpoint_received": endpoint["received"],
        "endpoint_sent": endpoint["sent"],
        "cable_bytes": received["bytes"] + sent["bytes"],
        "received_bytes": received["bytes"],
        "received_packets": received["packets"],
        "hits": observe.program_hits(hooks()),
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
    """Return conntrack's criteria for the probe's connections."""
    return ["-p", "tcp", "--orig-src", wanted["client"], "--orig-dst", wanted["server"]]


def transact(wanted: dict[str, Any]) -> dict[str, Any]:
    """Run the probe's transactions. `error` is None when all went through; `mss` in bytes, of the client's socket."""
    size = str(wanted["size"])
    argv = ["netperf", "-4", "-H", wanted["server"], "-L", wanted["client"], "-p", str(wanted["control_port"])]
    argv += ["-t", "TCP_RR", "-l", f"-{wanted['transactions']}", "-P", "0", "--"]
    argv += ["-r", f"{size},{size}", "-P", f",{wanted['data_port']}", "-k", "TRANSACTION_RATE,TRANSPORT_MSS"]
    try:
        printed = run(argv, timeout_s=TRAFFIC_S)
        connect(wanted)
    except (CommandFailed, OSError) as failure:
        return {"error": getattr(failure, "output", "").strip() or str(failure), "mss": None}
    fields = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    if "TRANSPORT_MSS" not in fields:
        return {"error": f"netperf printed no TRANSPORT_MSS: {printed.strip()}", "mss": None}
    return {"error": None, "mss": int(fields["TRANSPORT_MSS"])}


def connect(wanted: dict[str, Any]) -> None:
    """Open connections to netserver and close them: what is tracked is a connection, and one alone is no share."""
    for _ in range(wanted["connections"]):
        socket.create_connection((wanted["server"], wanted["control_port"]), TRAFFIC_S, (wanted["client"], 0)).close()


def probe(wanted: dict[str, Any], tap: Tap) -> dict[str, Any]:
    """Send the test traffic and return what the client sees of it; `tap` is read when it is over."""
    server, mtu = wanted["server"], wanted["mtu"]
    if not wait_until(lambda: answered(server, (SMALL,), WORD_S), wanted["wait"]):
        return silent(f"{server} does not answer a ping within {wanted['wait']} s")
    sent = {"endpoint_answers": True, **transact(wanted), "tap": tap.read()}
    return {**sent, "passes": answered(server, (mtu, mtu + 1), WORD_S)}


def silent(reason: str) -> dict[str, Any]:
    """Return what the client sees when nothing answers it."""
    return {"endpoint_answers": False, "passes": [], "tap": None, "mss": None, "error": reason}


def send(wanted: dict[str, Any], barrier: Barrier) -> dict[str, Any]:
    """As the client: send the traffic, again while an end loses frames; return what was seen of the last attempt."""
    for attempt in range(1, ATTEMPTS + 1):
        if not barrier.join(attempt, wanted["wait"] + PATIENCE_S):
            said = f"{wanted['peer_address']} did not answer over the cable that it is ready for test traffic"
            return {**silent(said), "attempts": attempt}
        lost, seen = False, {}
        try:
            with tap_on(wanted) as tap, inside(wanted["netns"]):
                seen = probe(wanted, tap)
            lost = seen["tap"] is not None and seen["tap"].lost > 0
        finally:
            again = barrier.leave(attempt, lost)
        if not again:
            break
    return {**seen, "attempts": attempt}


def receive(wanted: dict[str, Any], barrier: Barrier) -> tuple[Seen, int]:
    """As the server: watch the client's traffic, again while an end loses frames; return the last and its number."""
    for attempt in range(1, ATTEMPTS + 1):
        with tap_on(wanted) as tap:
            lost = barrier.attend(attempt, wanted["wait"] + PATIENCE_S)
            if lost is None:
                raise Refused(
                    "The client did not send its test traffic in time.",
                    where=wanted["peer_address"],
                    hint="Does the client take part in this play, and has Ansible at least 2 forks?",
                )
            seen = tap.read()
        again = (lost or seen.lost > 0) and attempt < ATTEMPTS
        barrier.answer(attempt, again)
        if not again:
            break
    return seen, attempt


def traffic(end: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Let the test traffic happen, the ends waiting for each other.

    Return what the client saw, or of the server what its tap did, of the last of so many `attempts`.
    """
    with Barrier(wanted["node_address"], wanted["peer_address"], wanted["barrier_port"]) as barrier:
        if end == "server":
            seen, attempts = receive(wanted, barrier)
            return {"tap": vars(seen), "attempts": attempts}
        sent = send(wanted, barrier)
        return {**sent, "tap": sent["tap"] and vars(sent["tap"])}


def grown(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return by how much the counters grew. A program attached meanwhile counts from zero."""
    grew: dict[str, Any] = {name: now[name] - then[name] for name in now if name != "hits"}
    grew["hits"] = {name: count - then["hits"].get(name, 0) for name, count in now["hits"].items()}
    return grew


def of_node(wanted: dict[str, Any], present: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the node's own namespace shows, but for its counters."""
    cable, pod = wanted["cable"], wanted["pod_interface"]
    places = {"cable": cable, "pod": pod, "tunnel": wireguard.DEVICE}
    found = hooks()
    attached = observe.programs_at(places, found, present)
    on_path = {str(hook) for on in attached.values() for hook in on}
    text, rules = observe.rules()
    services = sum(name.split()[-1].startswith("KUBE-SVC-") for name in rules)
    loaded = (records.load() or {}).get("rules")
    chains = wanted["chains"]
    then = None if loaded is None else state.sections(loaded)
    wrong = state.foreign(rules, chains) if chains else state.changed(rules, then)
    listed = observe.conntrack("-L", *flow_of(wanted))
    return {
        "tracked": observe.tracked_of(listed, (wanted["control_port"], wanted["data_port"])),
        "conntrack_hooked": observe.conntrack_is_hooked(),
        "netfilter_tables": sorted(state.tables_of(text) + legacy_tables()),
        "kube_services": services,
        "iptables_backend": iptables_backend() if services else None,
        "rules": {"sums": state.sums(rules), "foreign": wrong},
        "programs": {place: ", ".join(hook.name for hook in on) for place, on in attached.items()},
        "hooks": [word for word in observe.words_of(found, present) if word not in on_path],
        "socket_programs": sorted(map(cgroups.words, cgroups.attached() + cgroups.inherited())),
        "places": {place: interface for place, interface in places.items() if interface in present},
        "links": {place: state.link_settings(present[at]) for place, at in places.items() if at in present},
        **reading_along(places.values(), present),
        "cable_mtu": present[cable]["mtu"],
        "cable_kind": present[cable].get("linkinfo", {}).get("info_kind"),
    }


def of_endpoint(wanted: dict[str, Any], own: bool) -> dict[str, Any]:
    """Return what the endpoint's namespace shows; what the node's own look has already only where it is `own`."""
    with inside(wanted["netns"]):
        present = observe.links()
        holder = observe.holder(present, wanted["own_address"])
        seen = {
            "endpoint_mtu": holder and holder["mtu"],
            "listening": observe.listens_at(wanted["own_address"], wanted["control_port"]),
            "tcp": state.tcp_speech(),
        }
        if not own:
            link = holder["ifname"] if holder else ""
            seen["endpoint_hooks"] = observe.words_of(hooks(), present)
            seen["endpoint_link"] = state.link_settings(holder) if holder else None
            along = reading_along([link], present)
            seen.update((f"endpoint_{name}", value) for name, value in along.items())
        return seen


def reading_along(interfaces: Iterable[str], present: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Return who else takes the packets of interfaces, and on which CPUs the kernel lets them be handled."""
    names = [name for name in interfaces if name in present]
    indexes = {int(present[name]["ifindex"]): name for name in names}
    sockets = state.packet_sockets(str(read_text("/proc/self/net/packet")), indexes)
    return {"packet_sockets": state.owners(sockets), "steering": state.steering(names)}


def gather(end: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Let the test traffic cross and return the task's result."""
    observe.forget_tracked(flow_of(wanted))
    then = counters(wanted, observe.links())
    seen = traffic(end, wanted)
    present = observe.links()
    grew = grown(counters(wanted, present), then)
    shown = {**of_node(wanted, present), **of_endpoint(wanted, own=not wanted["netns"])}
    last = {"tap": seen["tap"], "attempts": seen["attempts"]}
    return {"changed": False, "probe": seen, "evidence": {**shown, **last, "grew": grew}}


def main() -> None:
    text = {"type": "str", "required": True}
    number = {"type": "int", "required": True}
    ports = ("control_port", "data_port", "barrier_port")
    path = {
        **dict.fromkeys(("cable", "own_address", "node_address", "peer_address", "client", "server"), text),
        **dict.fromkeys(("tunnel_address", "tunnel_peer"), text),
        **dict.fromkeys((*ports, "mtu", "transactions", "size", "connections", "wait"), number),
        **{name: {"type": "str", "default": ""} for name in ("netns", "pod_interface", "tunnel")},
        "tunnel_port": {"type": "int", "default": 0},
        "tunnel_device": {"type": "str", "default": "labctl-wg0"},
        "chains": {"type": "list", "elements": "str", "default": []},
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
