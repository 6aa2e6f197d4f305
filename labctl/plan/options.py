"""What a user asks of `plan` and `matrix`, read from comma-separated text and checked against the catalog."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ParamSpec, TypeVar

from labctl.catalog import Catalog, Endpoint, Variant, dimensions
from labctl.catalog.dimensions import Dimension, Value
from labctl.catalog.lab import AWAKE, STEAL_LIMIT_PCT, SYSTEM
from labctl.core.errors import Problem, UsageError
from labctl.core.words import one_of, whole

DAY_S = 86_400
MAX_ROUNDS = 1000
MAX_REPEAT = 100
MAX_SEED = 2**32 - 1
MAX = "max"
MAX_LATENCY_US = 100_000
P = ParamSpec("P")
T = TypeVar("T")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Pin(StrEnum):
    """Where both ends run: `none` leaves it to the scheduler, `cores` gives each of their processes one CPU thread."""

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

    `dimensions` are the values asked for by the dimension's name, none where its option was not given.
    `all_variants`: none was asked for by name. `idle` is awake, awake:N or system; `pin` is None where it depends on
    the lab. `steal_limit_pct`: a sample is void above it.
    """

    variants: tuple[str, ...]
    dimensions: Mapping[str, tuple[Value, ...]]
    workloads: tuple[str, ...]
    processes: tuple[str, ...]
    duration_s: int
    warmup_s: int
    repeat: int
    rounds: int
    noise_floor: bool
    idle: str
    steal_limit_pct: float
    pin: Pin | None
    endpoint: Endpoint | None
    no_reference: bool
    seed: int | None
    quick: bool
    all_variants: bool = False


@dataclass(frozen=True)
class RawOptions:
    """The same as a command line gives it: text, None where the option was not given.

    `dimensions` has the text by the dimension's name, where its option was given.
    """

    variant: str | None = None
    workload: str | None = None
    processes: str | None = None
    duration: str | None = None
    warmup: str | None = None
    repeat: str | None = None
    rounds: str | None = None
    idle: str | None = None
    steal_limit: str | None = None
    pin: str | None = None
    endpoint: str | None = None
    seed: str | None = None
    noise_floor: bool = False
    no_reference: bool = False
    quick: bool = False
    dimensions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, **given: Any) -> RawOptions:
        """The same from all options by their names, those of dimensions among the others."""
        asked = {one.name: given.pop(one.name, None) for one in dimensions.ALL}
        return cls(**given, dimensions={name: text for name, text in asked.items() if text is not None})


def parse_options(raw: RawOptions, catalog: Catalog, kind: str | None = None) -> MatrixOptions:
    """`raw` as a matrix on a lab of this kind; None while nobody has looked at the lab.

    Raises UsageError with everything that is wrong with it, each naming its option.
    """
    read = _Reader()
    defaults = QUICK if raw.quick else FULL
    endpoint = read.one("--endpoint", raw.endpoint, list(Endpoint))
    pin = read.one("--pin", raw.pin, list(Pin))
    asked = {one.name: read.dimension(one, raw.dimensions.get(one.name), catalog) for one in dimensions.ALL}
    # What needs a cluster is measured when it is asked for, by its name or by an edition.
    fitting = [
        name
        for name, variant in catalog.variants.items()
        if endpoint in (None, variant.endpoint)
        and all(one.among(asked[one.name], variant) for one in dimensions.ALL)
        and variant.exists_on(kind or "local")
    ]
    variants = read.names("--variant", raw.variant, catalog.variants)
    named = [catalog.variants[name] for name in variants]
    options = MatrixOptions(
        variants=variants or tuple(name for name in defaults.variants if name in fitting) or tuple(fitting),
        dimensions=asked,
        workloads=read.names("--workload", raw.workload, catalog.workloads) or defaults.workloads,
        processes=read.each("--processes", raw.processes, read.processes) or defaults.processes,
        duration_s=read.seconds("--duration", raw.duration, defaults.duration_s, least=1),
        warmup_s=read.seconds("--warmup", raw.warmup, defaults.warmup_s, least=0),
        repeat=read.number("--repeat", raw.repeat, 1, 1, MAX_REPEAT),
        rounds=read.number("--rounds", raw.rounds, defaults.rounds, 1, MAX_ROUNDS),
        noise_floor=raw.noise_floor,
        idle=AWAKE if raw.idle is None else read.read(read.policy, "--idle", raw.idle) or AWAKE,
        steal_limit_pct=read.number("--steal-limit", raw.steal_limit, STEAL_LIMIT_PCT, 1, 100),
        pin=Pin(pin) if pin else None,
        endpoint=Endpoint(endpoint) if endpoint else None,
        no_reference=raw.no_reference,
        seed=None if raw.seed is None else read.number("--seed", raw.seed, 0, 0, MAX_SEED),
        quick=raw.quick,
        all_variants=raw.variant is None,
    )
    problems = [
        *read.problems,
        *_endpoint_problems(named, endpoint),
        *_kind_problems(named, raw, kind, catalog),
        *_unasked(named, asked, raw),
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


def _endpoint_problems(variants: Iterable[Variant], endpoint: str | None) -> list[Problem]:
    """Variants that were asked for by name and have their ends elsewhere than `endpoint`."""
    return [
        Problem(
            f"{variant.name} is measured between {variant.endpoint}s",
            "--endpoint",
            endpoint,
            f"leave --endpoint out, or name variants whose ends are {endpoint}s",
        )
        for variant in variants
        if endpoint is not None and variant.endpoint != endpoint
    ]


def _kind_problems(variants: Iterable[Variant], raw: RawOptions, kind: str | None, catalog: Catalog) -> list[Problem]:
    """What a lab of this kind cannot have: variants that were asked for by name, and dimensions that were."""
    if kind is None:
        return []
    here = ", ".join(name for name, variant in catalog.variants.items() if variant.exists_on(kind))
    problems = [
        Problem(f"{variant.name} does not exist on a lab of kind {kind}", "--variant", hint=f"it can have: {here}")
        for variant in variants
        if not variant.exists_on(kind)
    ]
    given = [(one, raw.dimensions[one.name]) for one in dimensions.ALL if one.name in raw.dimensions]
    return problems + [problem for one, text in given if (problem := one.refused_on(kind, text))]


def _unasked(variants: Iterable[Variant], asked: Mapping[str, tuple[Value, ...]], raw: RawOptions) -> list[Problem]:
    """Variants that were asked for by name, and with values in none of which they come.

    Where no value is asked for the lab may have one: what is wrong then is known once somebody has looked at it.
    """
    return [
        Problem(
            f"{variant.name} comes in {one.name}s, and none of them is asked for",
            one.option,
            raw.dimensions.get(one.name),
            f"give one or more of: {', '.join(one.needed_by(variant))}",
        )
        for one in dimensions.ALL
        for variant in variants
        if asked[one.name] and not one.among(asked[one.name], variant)
    ]


@dataclass(frozen=True)
class _Reader:
    """Reads options one by one and keeps what is wrong with them; a wrong option reads as its default."""

    problems: list[Problem] = field(default_factory=list)

    def refuse(self, what: str, option: str, seen: str, hint: str) -> None:
        self.problems.append(Problem(what, option, seen, hint))

    def read(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `read` gives; None, and its problems kept, where it refuses."""
        try:
            return read(*args, **kwargs)
        except UsageError as error:
            self.problems.extend(error.problems)
            return None

    def one(self, option: str, text: str | None, known: Iterable[str]) -> str | None:
        """One word of a closed list."""
        return None if text is None else self.read(one_of, option, text, known)

    def names(self, option: str, text: str | None, known: Iterable[str]) -> tuple[str, ...]:
        """Words of a closed list."""
        words = list(known)
        return self.each(option, text, lambda option, word: one_of(option, word, words))

    def dimension(self, dimension: Dimension, text: str | None, catalog: Catalog) -> tuple[Value, ...]:
        """Values of a dimension."""
        return self.each(dimension.option, text, lambda _, word: dimension.read(word, catalog))

    def each(self, option: str, text: str | None, read: Callable[[str, str], T]) -> tuple[T, ...]:
        """Every entry of a comma-separated list, read by `read`; an empty or repeated entry is refused."""
        found: list[T] = []
        for word in [] if text is None else text.split(","):
            if not word.strip():
                self.refuse("an empty entry in a list", option, repr(text), "separate entries by single commas")
                continue
            item = self.read(read, option, word.strip())
            if item in found:
                self.refuse("an entry is written twice", option, repr(word.strip()), "name it once")
            elif item is not None:
                found.append(item)
        return tuple(found)

    def number(self, option: str, text: str | None, default: int, low: int, high: int) -> int:
        """A single count; `default` where the option was not given."""
        if text is None:
            return default
        value = self.read(whole, option, text, low, high, f"a usable number for {option}")
        return default if value is None else value

    def policy(self, option: str, word: str) -> str:
        """How the CPUs may sleep: awake, system, or awake:N with N in microseconds."""
        name, colon, latency = word.partition(":")
        if name != AWAKE or not colon:
            return one_of(option, word, (AWAKE, SYSTEM, f"{AWAKE}:N"))
        return f"{AWAKE}:{whole(option, latency, 0, MAX_LATENCY_US, 'a latency in microseconds')}"

    def processes(self, option: str, word: str) -> str:
        """One number of processes as its label; what the nodes' CPU threads allow is checked by the plan."""
        if word == MAX:
            return MAX
        if re.fullmatch(r"\d{1,9}", word) and int(word) > 0:
            return str(int(word))
        hint = f"a whole number from 1, or {MAX}"
        raise UsageError(Problem("not a number of processes", option, repr(word), hint))

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
