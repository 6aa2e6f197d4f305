"""The catalog: variants and workloads as data, loaded into frozen dataclasses.

`variants/<role>.yml` and `workloads/*.yml` stand beside this module; the dataclasses below are their schema. Editions
are in `labctl.catalog.editions`, published results and claims in `labctl.catalog.published`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from labctl import tools
from labctl.catalog import editions as _editions
from labctl.catalog.editions import Edition
from labctl.core.errors import LabctlError, Problem, collected
from labctl.core.records import decode, load_yaml, suggestion
from labctl.tools.reading import RateUnit
from labctl.tools.tool import Tool

CATALOG_DIR = Path(__file__).parent
VISIT_S = 5.0  # of a variant without a cluster, seen on the local lab
LOCAL = "local"  # kind of a lab whose nodes share the kernel of this machine
CLUSTER = "cluster"  # kind of a lab whose nodes are reached through the API of their cluster alone
T = TypeVar("T")


class Encryption(StrEnum):
    """What encrypts the traffic between the nodes."""

    NONE = "none"
    WIREGUARD = "wireguard"
    IPSEC = "ipsec"


class Endpoint(StrEnum):
    """Where netperf and netserver run: on the nodes themselves, or in a pod on each node."""

    NODE = "node"
    POD = "pod"


class Unit(StrEnum):
    """Units of a rate."""

    GBIT = "Gbit/s"
    REQUESTS = "requests/s"
    CONNECTIONS = "connections/s"


@dataclass(frozen=True)
class Kernel:
    """What a variant needs of a kernel: at least a version, and of each group of options one as "y" or "m"."""

    options: tuple[tuple[str, ...], ...]
    at_least: str | None = None

    @property
    def version(self) -> tuple[int, int]:
        """The oldest version that will do; 0.0 for any."""
        major, minor = (self.at_least or "0.0").split(".")
        return int(major), int(minor)


@dataclass(frozen=True)
class Variant:
    """A way for two endpoints to talk.

    `role` is the Ansible role that deploys it with `vars`; `encryptions` says for each encryption either true
    or why the pair does not exist, for all editions or for each; `reference` is the variant it is compared with;
    `expected` is the datapath that the proof wants to see, in the vocabulary of the role `datapath_proof`; `encrypted`
    is what differs in it with an encryption. `editions` are those that the variant comes in; empty where it needs no
    cluster. `labs` are the kinds of lab that can have it; empty for every kind whose nodes labctl reaches.
    `tunnel_bytes` is what a CNI that encrypts by itself takes off the MTU of its pods, in bytes; empty where labctl
    makes the tunnel. `redirect_peer` is what differs from `encrypted` on kernels where decrypted packets survive
    bpf_redirect_peer, `needs_redirect_peer` the encryptions that the variant has on such kernels alone.
    `kernel` is what `labctl check` holds the nodes' kernels against; None where deploying it is what tells.
    `visit_s` are the seconds that a visit takes besides its samples: Ansible, deployment, rest, proof and removal.
    """

    name: str
    title: str
    role: str
    endpoint: Endpoint
    encryptions: Mapping[Encryption, bool | str | Mapping[str, bool | str]]
    expected: Mapping[str, object]
    vars: Mapping[str, object]
    reference: str | None = None
    editions: tuple[str, ...] = ()
    encrypted: Mapping[Encryption, Mapping[str, object]] = field(default_factory=dict)
    labs: tuple[str, ...] = ()
    tunnel_bytes: Mapping[Encryption, int] = field(default_factory=dict)
    redirect_peer: Mapping[Encryption, Mapping[str, object]] = field(default_factory=dict)
    needs_redirect_peer: tuple[Encryption, ...] = ()
    kernel: Kernel | None = None
    visit_s: float = VISIT_S

    def expected_with(self, differences: Iterable[Mapping[str, object]]) -> Mapping[str, object]:
        """The datapath that the proof wants to see, with what differs from the variant alone."""
        expected = dict(self.expected)
        for differs in differences:
            for word, value in differs.items():
                below = expected.get(word)
                # What a CNI says of itself differs in single words.
                nested = isinstance(below, Mapping) and isinstance(value, Mapping) and word == "cni"
                expected[word] = dict(below) | dict(value) if nested else value  # type: ignore[call-overload]
        return expected

    def exists_on(self, kind: str) -> bool:
        """Whether a lab of this kind can have it."""
        return kind in self.labs if self.labs else kind != CLUSTER

    def refusal(self, encryption: Encryption, edition: str | None = None) -> str | None:
        """Why the variant does not exist with `encryption` in an edition; None when it does."""
        answer = self.encryptions[encryption]
        if isinstance(answer, Mapping):
            answer = answer[str(edition)]
        return answer if isinstance(answer, str) else None


@dataclass(frozen=True)
class RoleVariants:
    """A file of variants: those of the role that it is named after. Files come by `order`, in tables as well."""

    order: int
    variants: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Workload:
    """What a tool does in a cell.

    `settings` are the tool's own: what it is asked to do, and to tell. `packets_per_unit` bounds the packets on the
    cable, both directions together, for one request or connection; None where packets do not belong to units (bulk
    data).
    """

    name: str
    title: str
    tool: str
    metric: str
    unit: Unit
    latency: bool
    settings: Mapping[str, object]
    packets_per_unit: tuple[float, float] | None

    @functools.cached_property
    def program(self) -> Tool:
        """The tool, set up for this workload. Raises LabctlError with every setting that is none."""
        return tools.set_up(self.tool, self.settings, f"workload {self.name}")


@dataclass(frozen=True)
class Catalog:
    """Everything that can be planned, by name, in the order of the files."""

    variants: Mapping[str, Variant]
    workloads: Mapping[str, Workload]
    editions: Mapping[str, Edition]


@functools.cache
def load(directory: Path = CATALOG_DIR) -> Catalog:
    """The catalog in `directory`. Raises LabctlError with the problems of all files, each naming file:key."""
    problems: list[Problem] = []
    variants = _variants(directory / "variants", problems)
    workloads = _workloads(directory / "workloads", problems)
    editions: Mapping[str, Edition] = {}
    with collected(problems):
        editions = _editions.load_editions(directory / "editions", _by_role(variants))
    for name, variant in variants.items():
        where = f"variants/{variant.role}.yml:{name}"
        problems.extend(_variant_problems(where, variant, variants))
        problems.extend(
            Problem("unknown edition", f"{where}.editions", repr(edition), suggestion(edition, editions))
            for edition in variant.editions
            if edition not in editions
        )
    if problems:
        raise LabctlError(*problems)
    return Catalog(variants, workloads, editions)


def editions(overrides: Path | None = None, directory: Path = CATALOG_DIR) -> Mapping[str, Edition]:
    """The editions, with those of a file of the user laid over them. Raises LabctlError as `load` does."""
    return _editions.load_editions(directory / "editions", _by_role(load(directory).variants), overrides)


def _by_role(variants: Mapping[str, Variant]) -> dict[str, list[str]]:
    """The names of the variants of each role."""
    found: dict[str, list[str]] = {}
    for name, variant in variants.items():
        found.setdefault(variant.role, []).append(name)
    return found


def _workloads(directory: Path, problems: list[Problem]) -> dict[str, Workload]:
    """The workloads of all files, in the order of their names; what is wrong is added to `problems`."""
    workloads: dict[str, Workload] = {}
    for path in sorted(directory.glob("*.yml")):
        where = f"workloads/{path.name}"
        found: dict[str, Workload] = {}
        with collected(problems):
            entries = decode(Mapping[str, Mapping[str, object]], load_yaml(path), where)  # type: ignore[type-abstract]
            found = _named(Workload, entries, where, problems)
        for name, workload in found.items():
            if name in workloads:
                hint = "give it another name"
                problems.append(Problem("a workload by this name exists", f"{where}:{name}", hint=hint))
            with collected(problems):
                _require_measurable(workload, where, name)
        workloads |= found
    return workloads


def _variants(directory: Path, problems: list[Problem]) -> dict[str, Variant]:
    """The variants of all roles; what is wrong is added to `problems`."""
    files: list[tuple[int, str, RoleVariants]] = []
    for path in directory.glob("*.yml"):
        with collected(problems):
            found = decode(RoleVariants, load_yaml(path), f"variants/{path.name}")
            files.append((found.order, path.stem, found))
    variants: dict[str, Variant] = {}
    for _, role, file in sorted(files, key=lambda one: one[:2]):
        where = f"variants/{role}.yml"
        problems.extend(
            Problem("a variant by this name exists", f"{where}:{name}", variants[name].role, "give it another name")
            for name in file.variants
            if name in variants
        )
        variants |= _named(Variant, file.variants, where, problems, role=role)
    return variants


def _named(
    cls: type[T], entries: Mapping[str, Mapping[str, object]], where: str, problems: list[Problem], **implied: str
) -> dict[str, T]:
    """Entries as records by name, with the fields that the place `implied`; what is wrong is added to `problems`."""
    records: dict[str, T] = {}
    for name, entry in entries.items():
        problems.extend(
            Problem("unknown key", f"{where}:{name}.{key}", hint=f"the file says it: its {key} is {value}")
            for key, value in {**implied, "name": name}.items()
            if key in entry
        )
        with collected(problems):
            records[name] = decode(cls, {**entry, **implied, "name": name}, where, name)
    return records


def _variant_problems(where: str, variant: Variant, variants: Mapping[str, Variant]) -> list[Problem]:
    """What the types of a variant cannot say."""
    problems = [
        Problem("missing key", f"{where}.encryptions.{encryption}", hint="write true, or the reason against it")
        for encryption in Encryption
        if encryption not in variant.encryptions
    ]
    if variant.kernel and variant.kernel.at_least and not re.fullmatch(r"\d+\.\d+", variant.kernel.at_least):
        hint = "write it as major.minor, in quotes"
        problems.append(Problem("this is no version of a kernel", f"{where}.kernel.at_least", hint=hint))
    if variant.encryptions.get(Encryption.NONE) is not True:
        problems.append(Problem("every variant exists without encryption", f"{where}.encryptions.none"))
    for encryption, answer in variant.encryptions.items():
        by_edition = answer if isinstance(answer, Mapping) else {"": answer}
        problems.extend(
            Problem("a pair that does not exist has no reason", f"{where}.encryptions.{encryption}", repr(one))
            for one in by_edition.values()
            if one is False or one == ""
        )
        if isinstance(answer, Mapping) and set(answer) != set(variant.editions):
            what = "an encryption is not answered for each edition of the variant, and no other"
            problems.append(Problem(what, f"{where}.encryptions.{encryption}", repr(sorted(answer))))
    problems.extend(
        Problem("an expectation for an encryption that the variant does not have", f"{where}.{key}.{encryption}")
        for key in ("encrypted", "tunnel_bytes", "redirect_peer", "needs_redirect_peer")
        for encryption in getattr(variant, key)
        if encryption is Encryption.NONE or isinstance(variant.encryptions.get(encryption), str)
    )
    if variant.reference is not None and variant.reference not in variants:
        hint = suggestion(variant.reference, variants)
        problems.append(Problem("unknown variant", f"{where}.reference", repr(variant.reference), hint))
    if variant.reference == variant.name:
        problems.append(Problem("a variant cannot be its own reference", f"{where}.reference"))
    return problems


def _require_measurable(workload: Workload, where: str, key: str) -> None:
    """Raise LabctlError where the tool of a workload, which stands at `where`:`key`, cannot do what it says."""
    kind = tools.kind(workload.tool, f"{where}:{key}.tool")
    program = decode(kind, workload.settings, where, f"{key}.settings")
    if (program.unit is RateUnit.MEGABIT) != (workload.unit is Unit.GBIT):
        what = f"{workload.tool} does not measure {program.test} in this unit"
        raise LabctlError(Problem(what, f"{where}:{key}.unit", workload.unit))
