"""What a Cilium agent says of its datapath, in labctl's words, whatever the version calls it.

The agent's status is the answer to GET /v1/healthz on its socket (api/v1/models/status_response.go), which is what
`cilium status -o json` prints. Versions 1.9, 1.10 and 1.19 are known; captured ones are in tests/fixtures/cilium.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Dict, Iterable, List, Mapping, Optional

from ansible.module_utils.labctl_node.refused import Refused

UNKNOWN = "not said"
FORWARDED = 0
DIRECTIONS = {1: "ingress", 2: "egress"}


def said(status: Mapping[str, Any], keys: int = 0) -> Dict[str, Any]:
    """Return the datapath that the agent says it has.

    host_routing is bpf or legacy, masquerading bpf, iptables or none, encryption none, wireguard or ipsec;
    encryption_peers counts WireGuard's peers, encryption_keys IPsec's keys, both None without. The status of 1.9, which
    encrypts by IPsec alone, has no word for it: there it is told by the `keys` that the node's kernel has.
    """
    if "cilium" not in status:
        raise Refused("This is no status of a Cilium agent.", seen=f"it holds {', '.join(sorted(status)) or 'nothing'}")
    encryption = status.get("encryption") or {"mode": "IPsec" if keys else "Disabled", "ipsec": {"keys-in-use": keys}}
    mode = str(encryption.get("mode", "Disabled")).lower()
    return {
        "state": (status.get("cilium") or {}).get("state"),
        "version": version(status),
        "host_routing": host_routing(status),
        "kube_proxy_replacement": replaces_kube_proxy(status),
        "masquerading": masquerading(status),
        "encryption": {"disabled": "none"}.get(mode, mode),
        "encryption_peers": _peers(encryption) if mode == "wireguard" else None,
        "encryption_keys": (encryption.get("ipsec") or {}).get("keys-in-use") if mode == "ipsec" else None,
        "failing_controllers": failing(status),
    }


def version(status: Mapping[str, Any]) -> Optional[str]:
    """Which Cilium it is; 1.9 does not say it."""
    told = re.match(r"\d+\.\d+\S*", str((status.get("cilium") or {}).get("msg", "")))
    return told and told[0]


def host_routing(status: Mapping[str, Any]) -> str:
    """How packets between pods and the wire pass their node: 1.19 says it under routing, earlier versions by itself."""
    mode = (status.get("routing") or {}).get("intra-host-routing-mode") or (status.get("host-routing") or {}).get(
        "mode"
    )
    return {"BPF": "bpf", "Legacy": "legacy"}.get(str(mode), UNKNOWN)


def replaces_kube_proxy(status: Mapping[str, Any]) -> Optional[bool]:
    """Whether the agent does all of kube-proxy's work; None where it does a part of it, or says nothing."""
    mode = str((status.get("kube-proxy-replacement") or {}).get("mode", ""))
    return {"True": True, "Strict": True, "False": False, "Disabled": False}.get(mode)


def masquerading(status: Mapping[str, Any]) -> str:
    """What rewrites the source of packets that leave the cluster."""
    found = status.get("masquerading")
    if not isinstance(found, Mapping):
        return UNKNOWN
    return str(found.get("mode", UNKNOWN)).lower() if found.get("enabled") else "none"


def failing(status: Mapping[str, Any]) -> List[str]:
    """Names of the agent's controllers that fail right now."""
    return sorted(
        str(one.get("name"))
        for one in status.get("controllers") or ()
        if (one.get("status") or {}).get("consecutive-failure-count")
    )


def ipsec_keys(listed: str) -> int:
    """Return how many IPsec keys, told apart by their SPI, there are in what `ip xfrm state list nokeys` prints."""
    return len(set(re.findall(r"\bproto esp spi (\S+)", listed)))


def _peers(encryption: Mapping[str, Any]) -> int:
    interfaces = (encryption.get("wireguard") or {}).get("interfaces") or ()
    return sum(int(one.get("peer-count") or len(one.get("peers") or ())) for one in interfaces)


def forwarded(entries: Iterable[Mapping[str, Any]]) -> Dict[str, int]:
    """Return packets that the agent's programs forwarded, by direction, in bpftool's dump of the map cilium_metrics.

    A key begins with the reason (0: forwarded) and, in two bits, the direction; a value is packets and bytes, for each
    CPU (bpf/lib/metrics.h, the same in all versions as far as this goes).
    """
    counted = dict.fromkeys(DIRECTIONS.values(), 0)
    for entry in entries:
        reason, direction = (int(octet, 16) for octet in entry["key"][:2])
        name = DIRECTIONS.get(direction & 3)
        if reason == FORWARDED and name is not None:
            counted[name] += sum(_packets(one["value"]) for one in entry["values"])
    return counted


def _packets(octets: List[str]) -> int:
    return int.from_bytes(bytes(int(octet, 16) for octet in octets[:8]), sys.byteorder)
