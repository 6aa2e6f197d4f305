"""Setups: what is deployed for a plan, with the setups they are compared with."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from labctl.catalog import VISIT_S, Catalog, Encryption, Endpoint, Variant, dimensions
from labctl.catalog.dimensions import Choice, Dimension, Value, Values
from labctl.catalog.lab import LabFacts
from labctl.catalog.tunnel import Tunnel
from labctl.core.errors import Problem
from labctl.core.records import decode
from labctl.plan.options import MatrixOptions


@dataclass(frozen=True)
class Setup:
    """What is deployed: a variant with a value of every dimension, such as an encryption and an MTU.

    `reference` is the id of the planned setup it is compared with, None where there is none. `copy` is 2 for
    the second one of an A/A pair. `expected` is what its proof has to see. `tunnel` is what encrypts it, None without
    encryption; `endpoint_mtu` is the largest packet that the endpoints exchange, None where it is the link's `mtu`.
    `redirect_peer`: decrypted packets go into the pod by bpf_redirect_peer, which not every kernel lets them survive.
    `visit_s`: seconds that a visit takes besides its samples, for the estimate of a plan. `others` is what dimensions
    settle of which labctl itself reckons with nothing.
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
    others: Mapping[str, object] = field(default_factory=dict)

    @property
    def values(self) -> Values:
        """What the dimensions have settled. A plan older than a dimension means its plain value."""
        return {one.name: one.plain for one in dimensions.ALL} | vars(self) | dict(self.others)


@dataclass(frozen=True)
class Selection:
    """The setups of a plan, what was left out and why, and the pairs that cannot exist though they were asked for."""

    setups: tuple[Setup, ...]
    notes: tuple[str, ...]
    refusals: tuple[Problem, ...]


def select(options: MatrixOptions, catalog: Catalog, lab: LabFacts) -> Selection:
    """The setups asked for, each after the references it brings along.

    A variant that was asked for by name is refused with a value that it does not have; one that is among "all" is
    left out, and a note says so.
    """
    variants = [catalog.variants[name] for name in options.variants]
    choices = [choice for variant in variants for choice in _choices(variant, options, lab)]
    impossible = (problem for choice in choices for one in dimensions.ALL for problem in one.problems(choice))
    refusals = list(dict.fromkeys([*_lacking(variants, options, lab), *impossible]))
    found: dict[str, Setup] = {}
    refused: dict[str, Dimension] = {}
    for choice in choices:
        dimension = next((one for one in dimensions.ALL if one.refusal(choice)), None)
        if dimension is None:
            _add(found, choice, catalog, alone=options.no_reference)
            continue
        reason = dimension.refusal(choice)
        pair = f"with {dimension.name} {choice.values[dimension.name]}"
        if options.all_variants:
            refused[f"{_named(choice)} is left out {pair}: {reason}"] = dimension
        else:
            having = ", ".join(_having(choice, dimension, catalog))
            hint = f"these have it: {having}" if having else f"no variant has it on this lab: leave {pair[5:]} out"
            refusals.append(Problem(f"{_named(choice)} does not exist {pair}", dimension.option, reason, hint))
    if not found and not refusals:
        names = {one.name: one.option for one in refused.values()}
        what = f"no variant exists with this {' and '.join(names)}"
        refusals.append(Problem(what, ", ".join(names.values()), None, "; ".join(refused)))
    setups = tuple(setup if setup.reference in found else replace(setup, reference=None) for setup in found.values())
    copied = _with_copies(setups) if options.noise_floor and setups else setups
    return Selection(copied, (*dict.fromkeys(_by_lab(choices, options)), *refused), tuple(dict.fromkeys(refusals)))


def _asked(dimension: Dimension, options: MatrixOptions, lab: LabFacts) -> tuple[Value, ...]:
    """The values of a dimension that are asked for, or meant on this lab."""
    return options.dimensions.get(dimension.name, ()) or dimension.of_lab(lab)


def _lacking(variants: Iterable[Variant], options: MatrixOptions, lab: LabFacts) -> Iterator[Problem]:
    """Variants that need a value of a dimension where none is asked for that they come in."""
    for variant, one in itertools.product(variants, dimensions.ALL):
        if not one.among(_asked(one, options, lab), variant):
            what = f"{variant.name} comes in {one.name}s, and none of them is asked for"
            own = ", ".join(map(str, one.of_lab(lab)))
            seen = f"the lab's own is {own}" if own else f"the lab has no {one.name} of its own"
            yield Problem(what, one.option, seen, f"give one or more of: {', '.join(one.needed_by(variant))}")


def _by_lab(choices: Iterable[Choice], options: MatrixOptions) -> Iterator[str]:
    """Notes on what was not asked for and is as the lab has it."""
    return (
        f"{one.name} {choice.values[one.name]}: none was asked for, and the lab's is this one"
        for choice in choices
        for one in dimensions.ALL
        if not options.dimensions.get(one.name) and choice.values[one.name] in one.of_lab(choice.lab)
    )


def _choices(variant: Variant, options: MatrixOptions, lab: LabFacts) -> Iterator[Choice]:
    """The variant with every combination of the values asked for."""
    values = [one.among(_asked(one, options, lab), variant) for one in dimensions.ALL]
    for combination in itertools.product(*values):
        yield Choice(variant, dict(zip((one.name for one in dimensions.ALL), combination, strict=True)), lab)


def _having(choice: Choice, dimension: Dimension, catalog: Catalog) -> Iterator[str]:
    """The variants that exist on the lab with the value of a dimension that another one does not have."""
    for variant in catalog.variants.values():
        values = {one.name: one.among((choice.values[one.name],), variant) for one in dimensions.ALL}
        if not variant.exists_on(choice.lab.kind) or not all(values.values()):
            continue
        tried = Choice(variant, {name: found[0] for name, found in values.items()}, choice.lab)
        if tried.values[dimension.name] == choice.values[dimension.name] and dimension.refusal(tried) is None:
            yield variant.name


def _named(choice: Choice) -> str:
    """The variant, with what belongs to it."""
    own = [one for one in dimensions.ALL if not one.compared and choice.values[one.name] != one.plain]
    return choice.variant.name + "".join(f" of {one.name} {choice.values[one.name]}" for one in own)


def _settled(choice: Choice) -> Values:
    """What all dimensions have settled."""
    return {name: value for one in dimensions.ALL for name, value in one.settle(choice).items()}


def _id(choice: Choice) -> str:
    """The variant with what each dimension adds; last what belongs to the variant itself."""
    values = _settled(choice)
    ordered = sorted(dimensions.ALL, key=lambda one: not one.compared)
    return choice.variant.name + "".join(one.label(values) for one in ordered)


def _differing(choice: Choice) -> list[Dimension]:
    """The dimensions in which it is not plain, and so has another setup to be compared with."""
    return [one for one in dimensions.ALL if one.compared and choice.values[one.name] != one.plain]


def _reference(choice: Choice, catalog: Catalog) -> Choice | None:
    """What it is compared with: the first dimension that differs plain, and on another path where none does.

    One thing differs at a time, so that a ratio has one cause.
    """
    if differing := _differing(choice):
        return replace(choice, values={**choice.values, differing[0].name: differing[0].plain})
    if choice.variant.reference is None:
        return None
    variant = catalog.variants[choice.variant.reference]
    values = {one.name: next(iter(one.among((choice.values[one.name],), variant)), one.plain) for one in dimensions.ALL}
    return replace(choice, variant=variant, values=values)


def _add(found: dict[str, Setup], choice: Choice, catalog: Catalog, alone: bool) -> None:
    """Add the setup of a choice, and before it the chain of references it brings along."""
    if _id(choice) in found:
        return
    reference = _reference(choice, catalog)
    brings_reference = choice.variant.endpoint is Endpoint.POD or _differing(choice)
    if reference is not None and brings_reference and not alone:
        _add(found, reference, catalog, alone)
    found[_id(choice)] = _setup(choice, None if reference is None else _id(reference))


def _setup(choice: Choice, reference: str | None) -> Setup:
    """The setup of a choice."""
    variant, settled = choice.variant, _settled(choice)
    own = {name: value for name, value in settled.items() if name in Setup.__dataclass_fields__}
    setup = {
        "id": _id(choice),
        "variant": variant.name,
        "role": variant.role,
        "endpoint": variant.endpoint,
        "vars": variant.vars,
        "expected": variant.expected_with(one for each in dimensions.ALL for one in each.expected(choice)),
        "reference": reference,
        "visit_s": variant.visit_s,
        "others": {name: value for name, value in settled.items() if name not in own},
    }
    return decode(Setup, setup | own, "setup")


def _with_copies(setups: tuple[Setup, ...]) -> tuple[Setup, ...]:
    """The setups, and again (A/A) those that others are compared with and that have no reference themselves."""
    used = {setup.reference for setup in setups}
    roots = [setup for setup in setups if setup.reference is None and setup.id in used] or setups[:1]
    copies = (replace(setup, id=f"{setup.id}#2", reference=setup.id, copy=2) for setup in roots)
    return (*setups, *copies)
