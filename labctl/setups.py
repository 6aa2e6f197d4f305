"""Setups: what is deployed for a plan, with the setups they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from labctl.catalog import Catalog, Encryption, Endpoint, Variant
from labctl.errors import Problem
from labctl.options import MatrixOptions

NORMAL_MTU = 1500


@dataclass(frozen=True)
class Setup:
    """What is deployed: a variant with an edition, an encryption and an MTU.

    `reference` is the id of the planned setup it is compared with, None where there is none. `copy` is 2 for
    the second one of an A/A pair. `expected` is what its proof has to see.
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


def select(options: MatrixOptions, catalog: Catalog) -> tuple[tuple[Setup, ...], tuple[Problem, ...]]:
    """The setups asked for, each after the references it brings along; and the pairs that cannot exist."""
    found: dict[str, Setup] = {}
    refusals: list[Problem] = []
    for name in options.variants:
        variant = catalog.variants[name]
        for encryption in options.encryptions:
            if reason := variant.refusal(encryption):
                what = f"{name} does not exist with encryption {encryption}"
                hint = "name the variants that have it with --variant"
                refusals.append(Problem(what, "--encryption", reason, hint))
                continue
            for mtu in options.mtus:
                for edition in _editions(variant, options):
                    choice = _Choice(variant, encryption, mtu, edition)
                    _add(found, choice, catalog, alone=options.no_reference)
    setups = tuple(setup if setup.reference in found else replace(setup, reference=None) for setup in found.values())
    return (_with_copies(setups) if options.noise_floor else setups), tuple(refusals)


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

    @property
    def id(self) -> str:
        encrypted = "" if self.encryption is Encryption.NONE else f"+{self.encryption}"
        jumbo = "" if self.mtu == NORMAL_MTU else f".mtu{self.mtu}"
        edition = "" if self.edition is None else f".{self.edition}"
        return f"{self.variant.name}{encrypted}{jumbo}{edition}"

    def reference(self, catalog: Catalog) -> _Choice | None:
        """What it is compared with: without encryption, else with the normal MTU, else on another path.

        One thing differs at a time, so that a ratio has one cause.
        """
        if self.encryption is not Encryption.NONE:
            return replace(self, encryption=Encryption.NONE)
        if self.mtu != NORMAL_MTU:
            return replace(self, mtu=NORMAL_MTU)
        if self.variant.reference is None:
            return None
        variant = catalog.variants[self.variant.reference]
        return replace(self, variant=variant, edition=self.edition if self.edition in variant.editions else None)

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
        expected=choice.variant.expected,
        reference=None if reference is None else reference.id,
    )


def _with_copies(setups: tuple[Setup, ...]) -> tuple[Setup, ...]:
    """The setups, and again (A/A) those that others are compared with and that have no reference themselves."""
    used = {setup.reference for setup in setups}
    roots = [setup for setup in setups if setup.reference is None and setup.id in used] or setups[:1]
    copies = (replace(setup, id=f"{setup.id}#2", reference=setup.id, copy=2) for setup in roots)
    return (*setups, *copies)
