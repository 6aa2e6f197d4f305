"""What encryption between two nodes is made of, and what it costs in bytes. Pure.

All sizes are in bytes, for IPv4 outside and inside. WireGuard (its white paper, section 5.4.6): outer IP 20, UDP 8,
header 16, tag 16; the inner packet is padded to a multiple of 16, but not beyond the tunnel's MTU. ESP in tunnel mode
with AES-GCM (RFC 4303, RFC 4106): outer IP 20, SPI and sequence number 8, IV 8, tag 16; the inner packet with 2 bytes
of trailer is padded to a multiple of 4.
"""

from __future__ import annotations

from enum import StrEnum

_WIREGUARD_BYTES = 60
_ESP_BYTES = 52
_ESP_TRAILER = 2


class Tunnel(StrEnum):
    """What a tunnel is made of: WireGuard of the kernel, WireGuard in user space, ESP of the kernel."""

    KERNEL = "kernel"
    WIREGUARD_GO = "wireguard-go"
    ESP = "esp"

    @property
    def label(self) -> str:
        """How setups with it are marked, in their ids and so in every table."""
        return {Tunnel.KERNEL: "wireguard", Tunnel.WIREGUARD_GO: "wireguard-go", Tunnel.ESP: "ipsec"}[self]

    @property
    def words(self) -> str:
        """What it is, in words."""
        return {
            Tunnel.KERNEL: "WireGuard of the kernel",
            Tunnel.WIREGUARD_GO: "WireGuard in user space (wireguard-go)",
            Tunnel.ESP: "ESP of the kernel, AES-GCM",
        }[self]

    @property
    def carriers(self) -> tuple[str, ...]:
        """How the names of the processes begin that do its work: the kernel hands encryption to its work queues."""
        return ("wireguard-go",) if self is Tunnel.WIREGUARD_GO else ("kworker/",)

    def inner_mtu(self, mtu: int) -> int:
        """The largest packet inside for a link's MTU."""
        if self is Tunnel.ESP:
            return (mtu - _ESP_BYTES) // 4 * 4 - _ESP_TRAILER
        return mtu - _WIREGUARD_BYTES

    def outer_bytes(self, packet: float, mtu: int) -> float:
        """The packet on the link (without its Ethernet header) that carries an inner packet, on a link of this MTU."""
        if self is Tunnel.ESP:
            return _ESP_BYTES + -(-(packet + _ESP_TRAILER) // 4) * 4
        return _WIREGUARD_BYTES + min(-(-packet // 16) * 16, self.inner_mtu(mtu))
