"""What the nodes of a lab can encrypt with, and why they cannot. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from labctl.catalog import Encryption
from labctl.catalog.lab import TunnelFacts
from labctl.catalog.tunnel import Tunnel
from labctl.nodes.fingerprint import Fingerprint


def facts(nodes: Sequence[Fingerprint]) -> TunnelFacts:
    """What both ends have. WireGuard is the kernel's where both kernels have it, else wireguard-go on both."""
    lacking: dict[Encryption, str] = {}
    kinds = {node.text("tunnels", "wireguard") for node in nodes}
    wireguard = None
    if kinds == {Tunnel.KERNEL}:
        wireguard = Tunnel.KERNEL
    elif kinds <= {Tunnel.KERNEL, Tunnel.WIREGUARD_GO} and all(node.flag("tunnels", "tun") for node in nodes):
        wireguard = Tunnel.WIREGUARD_GO
    else:
        lacking[Encryption.WIREGUARD] = "; ".join(filter(None, map(lacks_wireguard, nodes)))
    if reasons := [reason for node in nodes if (reason := lacks_esp(node))]:
        lacking[Encryption.IPSEC] = "; ".join(dict.fromkeys(reasons))
    answers = {node.flag("tunnels", "esp_redirect_peer") for node in nodes}
    redirect_peer = False if False in answers else answers == {True} or None
    return TunnelFacts(
        wireguard, {encryption: reason for encryption, reason in lacking.items() if reason}, redirect_peer
    )


def lacks_wireguard(node: Fingerprint) -> str | None:
    """Why a node can make no WireGuard tunnel; None where it can."""
    if node.text("tunnels", "wireguard") is not None:
        return None
    return f"kernel {_release(node)} has neither CONFIG_WIREGUARD nor CONFIG_TUN for wireguard-go"


def lacks_esp(node: Fingerprint) -> str | None:
    """Why a node's kernel takes no ESP with AES-GCM, with the build options that it lacks; None where it takes it."""
    if node.flag("tunnels", "esp") is not False:
        return None
    config = node.mapping("kernel", "config") or {}
    missing = [f"CONFIG_{name}" for name in ("XFRM_USER", "INET_ESP", "CRYPTO_GCM") if config.get(name) == "n"]
    return f"kernel {_release(node)} takes no ESP with AES-GCM" + (
        f": it lacks {', '.join(missing)}" if missing else ""
    )


def _release(node: Fingerprint) -> str:
    return node.text("kernel", "release") or "of unknown release"
