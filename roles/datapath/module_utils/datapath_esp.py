"""ESP in tunnel mode between two nodes, by `ip xfrm`: static keys, AES-GCM, extended sequence numbers, replay window.

As CNIs set it up: rfc4106(gcm(aes)) with 20 bytes of key (16 of AES-128, 4 of salt) and 16 of authentication.
"""

from __future__ import annotations

import platform
import re

from ansible.module_utils.datapath_keys import derived, shared_secret
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import CommandFailed, run

ALGORITHM = "rfc4106(gcm(aes))"
KEY_BYTES = 20
ICV_BITS = 128
REPLAY_WINDOW = 128
REQUEST_ID = 18517  # marks our states and policies


def spi_of(source: str, target: str) -> int:
    """Return the number of the state from one cable address to another: above the reserved ones, and its own."""
    octets = [int(octet) for octet in f"{source}.{target}".split(".")]
    return 0x10000 | (octets[3] << 8) | octets[7]


def refuse_foreign() -> None:
    """Refuse states and policies that labctl did not make: the test traffic might meet them."""
    found = listed("state") + listed("policy")
    if found:
        raise Refused(
            "This node has XFRM states or policies that labctl did not make.",
            seen="; ".join(found[:3]),
            hint="Stop what made them (`ip xfrm state`, `ip xfrm policy` show them), then deploy again.",
        )


def listed(what: str) -> list[str]:
    """Return the first line of each state or policy of this namespace, sockets' own policies left out."""
    options = {"state": ["nokeys"], "policy": ["nosock"]}[what]
    return [line for line in run(["ip", "xfrm", what, "list", *options]).splitlines() if line.startswith("src ")]


def build(own: str, peer: str, own_network: str, peer_network: str, peer_key: str) -> None:
    """Add both states, then the policies that send the pod networks' traffic through them."""
    secret = shared_secret(peer_key)
    states = [state(source, target, secret) for source, target in ((own, peer), (peer, own))]
    try:
        run(["ip", "-batch", "-"], "\n".join(states) + "\n")
    except CommandFailed as failure:
        raise Refused(
            f"Kernel {platform.release()} takes no ESP state with {ALGORITHM}.",
            seen=failure.output.strip(),
            hint="That takes CONFIG_INET_ESP, CONFIG_CRYPTO_GCM and CONFIG_XFRM_USER.",
        ) from failure
    run(["ip", "-batch", "-"], "\n".join(policies(own, peer, own_network, peer_network)) + "\n")


def state(source: str, target: str, secret: bytes) -> str:
    """Return the line of `ip -batch` that adds the state of one direction. Holds its key."""
    key = derived(secret, f"esp {source} {target}", KEY_BYTES)
    return (
        f"xfrm state add src {source} dst {target} proto esp spi {spi_of(source, target):#x} reqid {REQUEST_ID} "
        f"mode tunnel aead {ALGORITHM} 0x{key} {ICV_BITS} replay-window {REPLAY_WINDOW} flag esn"
    )


def selectors(own: str, peer: str) -> dict[str, str]:
    """Return what each policy selects of addresses or networks: out, in to the node, and on to its pods."""
    inward = f"src {peer} dst {own}"
    return {"out": f"src {own} dst {peer}", "in": inward, "fwd": inward}


def policies(own: str, peer: str, own_network: str, peer_network: str) -> list[str]:
    """Return the lines of `ip -batch` that add the policies."""
    outer = selectors(own, peer)
    return [
        f"xfrm policy add {inner} dir {direction} tmpl {outer[direction]} proto esp reqid {REQUEST_ID} mode tunnel"
        for direction, inner in selectors(own_network, peer_network).items()
    ]


def remove(own: str, peer: str, own_network: str, peer_network: str) -> None:
    """Remove what of it is there. `deleteall` is content where there is nothing."""
    for direction, inner in selectors(own_network, peer_network).items():
        run(["ip", "xfrm", "policy", "deleteall", *inner.split(), "dir", direction])
    for source, target in ((own, peer), (peer, own)):
        run(["ip", "xfrm", "state", "deleteall", "src", source, "dst", target, "reqid", str(REQUEST_ID)])


def observe() -> list[str]:
    """Return states and policies without counters."""
    return sorted(listed("state") + listed("policy"))


def carried(own: str) -> dict[str, int]:
    """Return bytes received and sent through our states, as XFRM counts them: whole inner packets."""
    counted = counted_of(run(["ip", "-s", "xfrm", "state", "list", "nokeys"]))
    return {
        "received": sum(octets for source, octets in counted if source != own),
        "sent": sum(octets for source, octets in counted if source == own),
    }


def counted_of(listing: str) -> list[tuple[str, int]]:
    """Return source and bytes of each state in the text of `ip -s xfrm state`."""
    found = []
    for entry in re.split(r"^(?=src )", listing, flags=re.MULTILINE):
        current = re.search(r"lifetime current:\s+(\d+)\(bytes\)", entry)
        if current:
            found.append((entry.split()[1], int(current.group(1))))
    return found
