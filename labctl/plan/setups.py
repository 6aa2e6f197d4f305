"""Setups: what is deployed for a plan, with the setups they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from labctl.catalog import VISIT_S, Catalog, Encryption, Endpoint, Variant
from labctl.catalog.tunnel import Tunnel
from labctl.core.errors import Problem
from labctl.nodes.encryption import TunnelFacts
from labctl.plan.options import MIN_MTU, MatrixOptions

NORMAL_MTU = 1500


@dataclass(frozen=True)
class Setup:
    """What is deployed: a variant with an edition, an encryption and an MTU.

    `reference` is the id of the planned setup it is compared with, None where there is none. `copy` is 2 for
    the second one of an A/A pair. `expected` is what its proof has to see. `tunnel` is what encrypts it, None without
    encryption; `endpoint_mtu` is the largest packet that the endpoints exchange, None where it is the link's `mtu`.
    `redirect_peer`: decrypted packets go into the pod by bpf_redirect_peer, which not every kernel lets them survive.
    `visit_s`: seconds that a visit takes besides its samples, for the estimate of a plan.
    """

    id: str
    variant: str
    encryption: Encryption
    mtu: int
    edition: str | None
    role: str
    endpoint: Endpoint
    vars: Mapping[str, object]
    expected: Mapping[str, object]
    reference: str | None
    copy: int = 1
    tunnel: Tunnel | None = None
    endpoint_mtu: int | None = None
    redirect_peer: bool = False
    visit_s: float = VISIT_S

    @property
    def encrypted_by(self) -> str:
        """What encrypts it, as its id says it."""
        return _encrypted_by(self.tunnel, self.redirect_peer) or self.encryption.value


@dataclass(frozen=True)
class Selection:
    """The setups of a plan, what was left out and why, and the pairs that cannot exist though they were asked for."""

    setups: tuple[Setup, ...]
    notes: tuple[str, ...]
    refusals: tuple[Problem, ...]


def select(options: MatrixOptions, catalog: Catalog, tunnels: TunnelFacts) -> Selection:
    """The setups asked for, each after the references it brings along.

    A variant that was asked for by name is refused with an encryption that it does not have; one that is among "all" is
    left out, and a note says so.
    """
    found: dict[str, Setup] = {}
    notes: list[str] = []
    refusals = _impossible(options, tunnels)
    lacking = {encryption for encryption in options.encryptions if encryption in tunnels.lacking}
    for name in options.variants:
        variant = catalog.variants[name]
        for encryption in options.encryptions:
            for edition in _editions(variant, options):
                pair = name if edition is None else f"{name} of edition {edition}"
                if reason := variant.refusal(encryption, edition) or _kernel_refuses(variant, encryption, tunnels):
                    if not options.all_variants:
                        what = f"{pair} does not exist with encryption {encryption}"
                        hint = "name the variants that have it with --variant"
                        refusals.append(Problem(what, "--encryption", reason, hint))
                    else:
                        notes.append(f"{pair} is left out with encryption {encryption}: {reason}")
                    continue
                if encryption in lacking:
                    continue
                for mtu in options.mtus:
                    peer = encryption in variant.redirect_peer and tunnels.redirect_peer is True
                    choice = _Choice(variant, encryption, mtu, edition, tunnels.of(encryption), peer)
                    _add(found, choice, catalog, alone=options.no_reference)
    if not found and not refusals:
        hint = "; ".join(notes)
        refusals.append(Problem("no variant exists with this encryption", "--encryption", None, hint))
    setups = tuple(setup if setup.reference in found else replace(setup, reference=None) for setup in found.values())
    copied = _with_copies(setups) if options.noise_floor and setups else setups
    return Selection(copied, tuple(notes), tuple(refusals))


def _impossible(options: MatrixOptions, tunnels: TunnelFacts) -> list[Problem]:
    """Encryptions that the lab's kernels do not have, and MTUs that leave too little inside a tunnel."""
    problems: list[Problem] = []
    for encryption in options.encryptions:
        if encryption in tunnels.lacking:
            what = f"the lab's nodes cannot do encryption {encryption}"
            hint = "use another kernel or lab (`labctl check` shows what each node has), or leave it out"
            problems.append(Problem(what, "--encryption", tunnels.lacking[encryption], hint))
            continue
        tunnel = tunnels.of(encryption)
        for mtu in options.mtus:
            if tunnel is not None and tunnel.inner_mtu(mtu) < MIN_MTU:
                what = f"an MTU of {mtu} is too small for {encryption}"
                seen = f"{tunnel.inner_mtu(mtu)} bytes are left inside the tunnel, and IPv4 needs {MIN_MTU}"
                problems.append(Problem(what, "--mtu", seen, "give a larger one"))
    return problems


def _kernel_refuses(variant: Variant, encryption: Encryption, tunnels: TunnelFacts) -> str | None:
    """Why the kernels of the nodes cannot carry a variant with an encryption that it has; None where they can."""
    if encryption in variant.tunnel_bytes and tunnels.of(encryption) is Tunnel.WIREGUARD_GO:
        return "the kernels of the nodes have no WireGuard (CONFIG_WIREGUARD), and a CNI takes no wireguard-go"
    if encryption in variant.needs_redirect_peer and tunnels.redirect_peer is False:
        return "the kernels of the nodes drop what bpf_redirect_peer takes from XFRM into a pod (they lack c4327229)"
    return None


def _encrypted_by(tunnel: Tunnel | None, redirect_peer: bool) -> str | None:
    # Which WireGuard it is, and what becomes of decrypted packets, is part of what was measured.
    return None if tunnel is None else tunnel.label + ("-peer" if redirect_peer else "")


def _editions(variant: Variant, options: MatrixOptions) -> tuple[str | None, ...]:
    """The editions asked for that a variant comes in; None alone for one that needs no cluster."""
    return tuple(name for name in options.editions if name in variant.editions) or (None,)


@dataclass(frozen=True)
class _Choice:
    """What makes a setup."""

    variant: Variant
    encryption: Encryption
    mtu: int
    edition: str | None
    tunnel: Tunnel | None
    redirect_peer: bool

    @property
    def id(self) -> str:
        label = _encrypted_by(self.tunnel, self.redirect_peer)
        encrypted = "" if label is None else f"+{label}"
        jumbo = "" if self.mtu == NORMAL_MTU else f".mtu{self.mtu}"
        edition = "" if self.edition is None else f".{self.edition}"
        return f"{self.variant.name}{encrypted}{jumbo}{edition}"

    def reference(self, catalog: Catalog) -> _Choice | None:
        """What it is compared with: without encryption, else with the normal MTU, else on another path.

        One thing differs at a time, so that a ratio has one cause.
        """
        if self.encryption is not Encryption.NONE:
            return replace(self, encryption=Encryption.NONE, tunnel=None, redirect_peer=False)
        if self.mtu != NORMAL_MTU:
            return replace(self, mtu=NORMAL_MTU)
        if self.variant.reference is None:
            return None
        variant = catalog.variants[self.variant.reference]
        return replace(self, variant=variant, edition=self.edition if self.edition in variant.editions else None)

    @property
    def endpoint_mtu(self) -> int | None:
        """What the tunnel leaves of the MTU, by arithmetic or as the CNI has it; None without a tunnel."""
        if self.tunnel is None:
            return None
        own = self.variant.tunnel_bytes.get(self.encryption)
        return self.tunnel.inner_mtu(self.mtu) if own is None else self.mtu - own

    @property
    def brings_reference(self) -> bool:
        """Whether the reference is measured too, asked for or not."""
        pod = self.variant.endpoint is Endpoint.POD
        return pod or self.encryption is not Encryption.NONE or self.mtu != NORMAL_MTU


def _add(found: dict[str, Setup], choice: _Choice, catalog: Catalog, alone: bool) -> None:
    """Add the setup of a choice, and before it the chain of references it brings along."""
    if choice.id in found:
        return
    reference = choice.reference(catalog)
    if reference is not None and choice.brings_reference and not alone:
        _add(found, reference, catalog, alone)
    found[choice.id] = Setup(
        id=choice.id,
        variant=choice.variant.name,
        encryption=choice.encryption,
        mtu=choice.mtu,
        edition=choice.edition,
        role=choice.variant.role,
        endpoint=choice.variant.endpoint,
        vars=choice.variant.vars,
        expected=choice.variant.expected_with(choice.encryption, choice.redirect_peer),
        reference=None if reference is None else reference.id,
        tunnel=choice.tunnel,
        endpoint_mtu=choice.endpoint_mtu,
        redirect_peer=choice.redirect_peer,
        visit_s=choice.variant.visit_s,
    )


def _with_copies(setups: tuple[Setup, ...]) -> tuple[Setup, ...]:
    """The setups, and again (A/A) those that others are compared with and that have no reference themselves."""
    used = {setup.reference for setup in setups}
    roots = [setup for setup in setups if setup.reference is None and setup.id in used] or setups[:1]
    copies = (replace(setup, id=f"{setup.id}#2", reference=setup.id, copy=2) for setup in roots)
    return (*setups, *copies)
