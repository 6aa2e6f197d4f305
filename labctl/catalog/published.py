"""Published results and claims: what a run can be set beside. Data only; nothing here is evaluated.

The files are `claims-2021.yaml` and `reference/cilium-2021.yaml`; the dataclasses below are their schema, and
the comments at the head of the files say what the fields mean.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from labctl.catalog import CATALOG_DIR, Encryption, Unit
from labctl.core.errors import LabctlError, Problem
from labctl.core.records import decode, load_yaml

CLAIMS_SCHEMA = "labctl.claims/1"
REFERENCE_SCHEMA = "labctl.reference/1"


class Metric(StrEnum):
    """What a claim compares."""

    RATE = "rate"
    CPU_COST = "cpu_cost"
    CPU_SERVER_OVER_CLIENT = "cpu_server_over_client"
    CPU_CLIENT_OVER_SERVER = "cpu_client_over_server"
    RATE_MAX_OVER_1 = "rate_max_over_1"
    RATE_9000_OVER_1500 = "rate_9000_over_1500"
    SECOND_BACKLOG_SHARE = "second_backlog_share"


class Expectation(StrEnum):
    """How the interval of a/b is to lie."""

    GREATER = "greater"
    LESS = "less"
    AT_LEAST = "at_least"
    GREATER_THAN = "greater_than"
    LESS_THAN = "less_than"
    SAME = "same"


class Requirement(StrEnum):
    """What a lab must have for a claim to be testable."""

    CPU_PER_END = "cpu_per_end"
    AES = "aes"
    LINE_RATE = "line_rate"
    KERNEL_WIREGUARD = "kernel_wireguard"
    MAX_PROCESSES = "max_processes"


WITH_MARGIN = frozenset(Expectation) - {Expectation.GREATER, Expectation.LESS}


@dataclass(frozen=True)
class ClaimCell:
    """One cell in which a claim is tested; `published` is the a/b ratio of 2021, null where there is none."""

    workload: str
    expect: Expectation
    published: float | None
    processes: int | Literal["max"] | None = None
    mtu: int | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Claim:
    """A published finding as a hypothesis about `pairs` of subjects, or about each of `variants` alone."""

    id: str
    says: str
    metric: Metric
    cells: tuple[ClaimCell, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    variants: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()


@dataclass(frozen=True)
class Claims:
    """The claims of one publication."""

    schema: Literal["labctl.claims/1"]
    id: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class PublishedCpu:
    """CPU of both ends in percent of all threads, scaled linearly to `normalised_to` `normalised_unit`."""

    client: float
    server: float
    error: float
    normalised_to: float
    normalised_unit: Unit
    note: str | None = None


@dataclass(frozen=True)
class Published:
    """One bar of one chart: `value` is read off it within `error`, both in `unit`."""

    chart: str
    workload: str
    processes: int
    mtu: int
    variant: str
    encryption: Encryption
    printed_as: str
    value: float
    unit: Unit
    error: float
    cpu_pct: PublishedCpu
    variant_inferred: bool = False


@dataclass(frozen=True)
class Sidecar:
    """Latency behind a proxy, of another lab and date: never beside the other figures."""

    printed_as: str
    p95_us: float


@dataclass(frozen=True)
class FlamegraphCount:
    """How often `tcp_v4_rcv` stands in a published flamegraph, and how often right under the NIC's poll."""

    variant: str
    end: Literal["sender", "receiver"]
    tcp_v4_rcv: int
    directly_under_nic_poll: int


@dataclass(frozen=True)
class Reference:
    """The results of one publication."""

    schema: Literal["labctl.reference/1"]
    id: str
    title: str
    environment: Mapping[str, str | int]
    caveats: tuple[str, ...]
    results: tuple[Published, ...]
    sidecar: tuple[Sidecar, ...]
    flamegraph_counts: tuple[FlamegraphCount, ...]


@functools.cache
def load_claims(path: Path = CATALOG_DIR / "claims-2021.yaml") -> Claims:
    """The claims of a file. Raises LabctlError with every problem, each naming file:key."""
    claims = decode(Claims, load_yaml(path), path.name)
    problems: list[Problem] = []
    for index, claim in enumerate(claims.claims):
        problems.extend(_claim_problems(f"{path.name}:claims[{index}]", claim))
    if problems:
        raise LabctlError(*problems)
    return claims


@functools.cache
def load_reference(path: Path = CATALOG_DIR / "reference" / "cilium-2021.yaml") -> Reference:
    """The published results of a file. Raises LabctlError with every problem, each naming file:key."""
    return decode(Reference, load_yaml(path), path.name)


def _claim_problems(where: str, claim: Claim) -> list[Problem]:
    """What the types of a claim cannot say."""
    problems: list[Problem] = []
    if bool(claim.pairs) == bool(claim.variants):
        problems.append(Problem("a claim has either pairs or variants", where, claim.id))
    for index, cell in enumerate(claim.cells):
        if (cell.margin is not None) != (cell.expect in WITH_MARGIN):
            place = f"{where}.cells[{index}].margin"
            problems.append(
                Problem(f"the expectation {cell.expect} and the margin do not fit", place, repr(cell.margin))
            )
    for subject in [*claim.variants, *(name for pair in claim.pairs for name in pair)]:
        variant, plus, encryption = subject.partition("+")
        if not variant or (plus and encryption not in set(Encryption)):
            problems.append(Problem("a subject is not variant[+encryption]", where, repr(subject)))
    return problems
