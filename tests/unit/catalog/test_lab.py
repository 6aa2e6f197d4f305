"""What the nodes of a lab have, and what encrypts there."""

from __future__ import annotations

import pytest

from labctl.catalog import Encryption
from labctl.catalog.lab import TunnelFacts
from labctl.catalog.tunnel import Tunnel


@pytest.mark.parametrize(
    ("facts", "encryption", "tunnel"),
    [
        (TunnelFacts(), Encryption.NONE, None),
        (TunnelFacts(), Encryption.WIREGUARD, Tunnel.KERNEL),
        (TunnelFacts(Tunnel.WIREGUARD_GO), Encryption.WIREGUARD, Tunnel.WIREGUARD_GO),
        (TunnelFacts(Tunnel.WIREGUARD_GO), Encryption.IPSEC, Tunnel.ESP),
    ],
)
def test_an_encryption_is_made_by_what_the_nodes_have(
    facts: TunnelFacts, encryption: Encryption, tunnel: Tunnel | None
) -> None:
    assert facts.of(encryption) is tunnel
