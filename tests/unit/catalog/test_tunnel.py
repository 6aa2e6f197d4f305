"""What a tunnel costs in bytes."""

from __future__ import annotations

import pytest

from labctl.catalog.tunnel import Tunnel
from labctl.samples import validity as checks


@pytest.mark.parametrize(
    ("tunnel", "link", "inside"),
    [
        (Tunnel.KERNEL, 1500, 1440),
        (Tunnel.WIREGUARD_GO, 9000, 8940),
        (Tunnel.ESP, 1500, 1446),
        (Tunnel.ESP, 9000, 8946),
        (Tunnel.ESP, 1501, 1446),
    ],
)
def test_the_largest_inner_packet_fills_the_link_and_no_larger_one_fits(tunnel: Tunnel, link: int, inside: int) -> None:
    assert tunnel.inner_mtu(link) == inside
    assert tunnel.outer_bytes(inside, link) <= link
    if tunnel is Tunnel.ESP:
        assert tunnel.outer_bytes(inside + 1, link) > link


def test_small_packets_are_padded() -> None:
    # Captured on a cable: a request of one byte (53 bytes of IP) is a frame of 138 bytes under WireGuard.
    assert Tunnel.WIREGUARD_GO.outer_bytes(53, 1500) + checks.ETHERNET_BYTES == 138
    assert Tunnel.ESP.outer_bytes(53, 1500) == 52 + 56


@pytest.mark.parametrize("tunnel", Tunnel)
def test_every_tunnel_has_a_mark_and_words_of_its_own(tunnel: Tunnel) -> None:
    others = [other for other in Tunnel if other is not tunnel]
    assert tunnel.label not in {other.label for other in others}
    assert tunnel.words not in {other.words for other in others}
