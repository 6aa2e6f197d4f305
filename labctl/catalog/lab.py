"""What a plan needs to know of a lab: the facts that the catalog's rules ask for. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from labctl.catalog import LOCAL, Encryption
from labctl.catalog.tunnel import Tunnel

AWAKE = "awake"  # the CPUs are kept from sleeping; with :N, from states that take longer than N microseconds to leave
SYSTEM = "system"  # the machine's own sleep
STEAL_LIMIT_PCT = 5  # of the CPUs: a sample counts up to here, unless its plan says otherwise


@dataclass(frozen=True)
class TunnelFacts:
    """What the nodes of a lab have: WireGuard's implementation (None: unknown), and why an encryption is not there.

    `redirect_peer`: whether what ESP decrypted survives bpf_redirect_peer on both; None where that was not tried.
    """

    wireguard: Tunnel | None = None
    lacking: Mapping[Encryption, str] = field(default_factory=dict)
    redirect_peer: bool | None = None

    def of(self, encryption: Encryption) -> Tunnel | None:
        """The tunnel of an encryption; None for none. Where nothing is known, the kernel's."""
        if encryption is Encryption.WIREGUARD:
            return self.wireguard or Tunnel.KERNEL
        return Tunnel.ESP if encryption is Encryption.IPSEC else None


class Source(StrEnum):
    """What facts about a lab were taken from."""

    LOOK = "look"
    LAST_LOOK = "last look"
    INVENTORY = "inventory"


@dataclass(frozen=True)
class Origin:
    """Where facts about a lab are from: a look at some time (ISO 8601, UTC), and why not a look at it now."""

    source: Source = Source.LOOK
    time: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class LabFacts:
    """What a plan needs to know of a lab. `threads` are the online CPU threads of the smaller node, None if not known.

    `emulated`: the processor of a node is a program (QEMU without KVM), so nothing measured there is a result.
    `tunnels` is what the nodes can encrypt with, `largest_mtu` what both ends of the cable can carry in bytes, None
    where they do not say. `edition` is that of the cluster which labctl made of the nodes, None where it made none, and
    `carried` names the files of a bundle that the cluster has, None where that is not known.
    `awake_refused` says why the CPUs cannot be kept awake, None where nothing is known to be in the way of it.
    """

    name: str
    kind: str
    client: str
    server: str
    threads: int | None
    emulated: bool = False
    tunnels: TunnelFacts = field(default_factory=TunnelFacts)
    largest_mtu: int | None = None
    edition: str | None = None
    origin: Origin = field(default_factory=Origin)
    awake_refused: str | None = None
    carried: tuple[str, ...] | None = None

    @property
    def shares_kernel(self) -> bool:
        """Whether the nodes are known to run on one kernel, and so on the same CPUs."""
        return self.kind == LOCAL
