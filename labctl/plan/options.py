"""What a user asks of `plan` and `matrix`, read from comma-separated text and checked against the catalog."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from labctl.catalog import CLUSTER, Catalog, Encryption, Endpoint
from labctl.core.errors import Problem, UsageError
from labctl.core.records import suggestion

DAY_S = 86_400
MAX_ROUNDS = 1000
MAX_REPEAT = 100
MAX_SEED = 2**32 - 1
MIN_MTU = 576  # what every IPv4 host has to accept
MAX_MTU = 9702  # the largest of the 2021 lab's NIC (Intel E810)
MAX = "max"
T = TypeVar("T")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Pin(StrEnum):
    """Where netperf runs: `none` leaves it to the scheduler, `cores` gives each process one CPU thread."""

    NONE = "none"
    CORES = "cores"


@dataclass(frozen=True)
class Defaults:
    """What holds where an option is not given; an empty tuple of variants means all that fit."""

    variants: tuple[str, ...]
    workloads: tuple[str, ...]
    processes: tuple[str, ...]
    duration_s: int
    warmup_s: int
    rounds: int


# Six rounds are the fewest that give an interval. Windows under 30 s are marked indicative: 10 s keeps the
# whole matrix of the local lab under an hour; where the numbers matter, --duration 30 or more.
FULL = Defaults((), ("tcp_stream", "tcp_rr", "tcp_crr"), ("1", MAX), 10, 2, 6)
QUICK = Defaults(("baseline", "veth-iptables", "veth-ebpf"), ("tcp_rr", "tcp_crr"), ("1",), 2, 1, 3)


@dataclass(frozen=True)
class MatrixOptions:
    """A matrix as asked for. `processes` are as written ("1", "4", "max"); durations are whole seconds.

    `all_variants`: none was asked for by name.
    """

    variants: tuple[str, ...]
    encryptions: tuple[Encryption, ...]
    mtus: tuple[int, ...]
    workloads: tuple[str, ...]
    processes: tuple[str, ...]
    duration_s: int
    warmup_s: int
    repeat: int
    rounds: int
    noise_floor: bool
    pin: Pin
    endpoint: Endpoint | None
    no_reference: bool
    seed: int | None
    quick: bool
    editions: tuple[str, ...] = ()
    all_variants: bool = False


@dataclass(frozen=True)
class RawOptions:
    """The same as a command line gives it: text, None where the option was not given."""

    variant: str | None = None
    edition: str | None = None
    encryption: str | None = None
    mtu: str | None = None
    workload: str | None = None
    processes: str | None = None
    duration: str | None = None
    warmup: str | None = None
    repeat: str | None = None
    rounds: str | None = None
    pin: str | None = None
    endpoint: str | None = None
    seed: str | None = None
    noise_floor: bool = False
    no_reference: bool = False
    quick: bool = False


def parse_options(raw: RawOptions, catalog: Catalog, kind: str | None = None) -> MatrixOptions:
    """`raw` as a matrix on a lab of this kind; None while nobody has looked at the lab.

    Raises UsageError with everything that is wrong with it, each naming its option.
    """
    read = _Reader()
    defaults = QUICK if raw.quick else FULL
    endpoint = read.one("--endpoint", raw.endpoint, list(Endpoint))
    editions = read.names("--edition", raw.edition, catalog.editions)
    # What needs a cluster is measured when it is asked for, by its name or by an edition.
    fitting = [
        name
        for name, variant in catalog.variants.items()
        if endpoint in (None, variant.endpoint)
        and (not variant.editions or set(variant.editions) & set(editions))
        and variant.exists_on(kind or "local")
    ]
    variants = read.names("--variant", raw.variant, catalog.variants)
    encryptions = read.names("--encryption", raw.encryption, list(Encryption)) or (Encryption.NONE,)
    options = MatrixOptions(
        variants=variants or tuple(name for name in defaults.variants if name in fitting) or tuple(fitting),
        encryptions=tuple(Encryption(name) for name in encryptions),
        mtus=read.each("--mtu", raw.mtu, read.mtu) or (1500,),
        workloads=read.names("--workload", raw.workload, catalog.workloads) or defaults.workloads,
        processes=read.each("--processes", raw.processes, read.processes) or defaults.processes,
        duration_s=read.seconds("--duration", raw.duration, defaults.duration_s, least=1),
        warmup_s=read.seconds("--warmup", raw.warmup, defaults.warmup_s, least=0),
        repeat=read.number("--repeat", raw.repeat, 1, 1, MAX_REPEAT),
        rounds=read.number("--rounds", raw.rounds, defaults.rounds, 1, MAX_ROUNDS),
        noise_floor=raw.noise_floor,
        pin=Pin(read.one("--pin", raw.pin, list(Pin)) or "none"),
        endpoint=Endpoint(endpoint) if endpoint else None,
        no_reference=raw.no_reference,
        seed=None if raw.seed is None else read.number("--seed", raw.seed, 0, 0, MAX_SEED),
        quick=raw.quick,
        editions=editions,
        all_variants=raw.variant is None,
    )
    problems = [
        *read.problems,
        *_endpoint_problems(variants, endpoint, catalog),
        *_kind_problems(variants, raw.mtu, kind, catalog),
        *_edition_problems(variants, editions, raw.edition, catalog),
    ]
    if problems:
        raise UsageError(*problems)
    return options


def parse_names(option: str, text: str | None, known: Iterable[str]) -> tuple[str, ...]:
    """Words of a closed list, separated by commas. Raises UsageError with everything that is wrong with them."""
    read = _Reader()
    names = read.names(option, text, known)
    if read.problems:
        raise UsageError(*read.problems)
    return names


def _endpoint_problems(variants: Iterable[str], endpoint: str | None, catalog: Catalog) -> list[Problem]:
    """Variants that were asked for by name and have their ends elsewhere than `endpoint`."""
    return [
        Problem(
            f"{name} is measured between {catalog.variants[name].endpoint}s",
            "--endpoint",
            endpoint,
            f"leave --endpoint out, or name variants whose ends are {endpoint}s",
        )
        for name in variants
        if endpoint is not None and catalog.variants[name].endpoint != endpoint
    ]


def _kind_problems(variants: Iterable[str], mtu: str | None, kind: str | None, catalog: Catalog) -> list[Problem]:
    """Variants that were asked for by name and that a lab of this kind cannot have; an MTU that is not ours to set."""
    if kind is None:
        return []
    here = ", ".join(name for name, variant in catalog.variants.items() if variant.exists_on(kind))
    problems = [
        Problem(f"{name} does not exist on a lab of kind {kind}", "--variant", hint=f"it can have: {here}")
        for name in variants
        if not catalog.variants[name].exists_on(kind)
    ]
    if mtu is not None and kind == CLUSTER:
        problems.append(Problem("an existing cluster keeps its own MTU", "--mtu", mtu, "leave it out"))
    return problems


def _edition_problems(
    variants: Iterable[str], editions: tuple[str, ...], asked: str | None, catalog: Catalog
) -> list[Problem]:
    """Variants that were asked for by name and come in none of the editions asked for."""
    return [
        Problem(
            f"{name} comes in editions, and none of them is asked for",
            "--edition",
            asked,
            f"give one or more of: {', '.join(catalog.variants[name].editions)}",
        )
        for name in variants
        if catalog.variants[name].editions and not set(catalog.variants[name].editions) & set(editions)
    ]


@dataclass(frozen=True)
class _Reader:
    """Reads options one by one and keeps what is wrong with them; a wrong option reads as its default."""

    problems: list[Problem] = field(default_factory=list)

    def refuse(self, what: str, option: str, seen: str, hint: str) -> None:
        self.problems.append(Problem(what, option, seen, hint))

    def one(self, option: str, text: str | None, known: Iterable[str]) -> str | None:
        """One word of a closed list."""
        words = list(known)
        if text is None or text in words:
            return text
        self.refuse(f"unknown {option[2:]}", option, repr(text), suggestion(text, words))
        return None

    def names(self, option: str, text: str | None, known: Iterable[str]) -> tuple[str, ...]:
        """Words of a closed list."""
        words = list(known)
        return self.each(option, text, lambda option, word: self.one(option, word, words))

    def each(self, option: str, text: str | None, read: Callable[[str, str], T | None]) -> tuple[T, ...]:
        """Every entry of a comma-separated list, read by `read`; an empty or repeated entry is refused."""
        found: list[T] = []
        for word in [] if text is None else text.split(","):
            if not word.strip():
                self.refuse("an empty entry in a list", option, repr(text), "separate entries by single commas")
                continue
            item = read(option, word.strip())
            if item in found:
                self.refuse("an entry is written twice", option, repr(word.strip()), "name it once")
            elif item is not None:
                found.append(item)
        return tuple(found)

    def whole(self, option: str, text: str, low: int, high: int, what: str) -> int | None:
        """A whole number from `low` to `high`."""
        if re.fullmatch(r"[+-]?\d{1,18}", text) and low <= int(text) <= high:
            return int(text)
        self.refuse(f"not {what}", option, repr(text), f"a whole number from {low} to {high}")
        return None

    def number(self, option: str, text: str | None, default: int, low: int, high: int) -> int:
        """A single count; `default` where the option was not given."""
        if text is None:
            return default
        value = self.whole(option, text, low, high, f"a usable number for {option}")
        return default if value is None else value

    def mtu(self, option: str, word: str) -> int | None:
        """One MTU in bytes."""
        return self.whole(option, word, MIN_MTU, MAX_MTU, "an MTU")

    def processes(self, option: str, word: str) -> str | None:
        """One number of processes as its label; what the nodes' CPU threads allow is checked by the plan."""
        if word == MAX:
            return MAX
        if re.fullmatch(r"\d{1,9}", word) and int(word) > 0:
            return str(int(word))
        self.refuse("not a number of processes", option, repr(word), f"a whole number from 1, or {MAX}")
        return None

    def seconds(self, option: str, text: str | None, default: int, least: int) -> int:
        """A duration such as 10, 10s, 2m or 1h, in whole seconds, since netperf takes no fractions."""
        if text is None:
            return default
        match = re.fullmatch(r"(\d{1,9})(s|m|h)?", text)
        value = int(match[1]) * _SECONDS[match[2] or ""] if match else -1
        if least <= value <= DAY_S:
            return value
        hint = f"whole seconds from {least} to {DAY_S}, written as 10, 10s, 2m or 1h"
        self.refuse(f"not a usable time for {option}", option, repr(text), hint)
        return default
