"""What a node was when it was measured: typed access to the document of roles/fingerprint, and comparison of two.

The document (schema labctl.fingerprint/1, described in roles/fingerprint/README.md) holds sections of plain JSON;
whatever a node does not have, or does not let us read, is null there and None here, never 0 or "".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from labctl.core.errors import LabctlError, Problem

T = TypeVar("T")

SCHEMA = "labctl.fingerprint/1"

# Changes from second to second, and follows from the rest.
VOLATILE = ("schema", "identity", "state")

# Two nodes never share these, and none of them changes a number.
OF_ONE_NODE = (
    ("boot",),
    ("inventory", "address"),
    ("link", "addresses"),
    ("memory", "total_kb"),
    ("nic", "bus"),
)


@dataclass(frozen=True)
class Fingerprint:
    """One node's fingerprint. The accessors take a path of keys, as in `text("kernel", "release")`."""

    data: Mapping[str, Any]

    def get(self, *path: str) -> object | None:
        """The value at `path`, None where the node has none. KeyError for a path that no fingerprint has."""
        value: Any = self.data
        for depth, key in enumerate(path):
            if value is None:
                return None
            if depth < 2 and key not in value:
                raise KeyError(f"a fingerprint has no {'.'.join(path[: depth + 1])}")
            value = value.get(key)
        found: object | None = value
        return found

    def text(self, *path: str) -> str | None:
        """A string."""
        return _typed(self.get(*path), str, path)

    def whole(self, *path: str) -> int | None:
        """A whole number."""
        return _typed(self.get(*path), int, path)

    def number(self, *path: str) -> float | None:
        """A number."""
        value = self.get(*path)
        return float(value) if isinstance(value, int) else _typed(value, float, path)

    def flag(self, *path: str) -> bool | None:
        """True, False, or None for not known."""
        return _typed(self.get(*path), bool, path)

    def mapping(self, *path: str) -> Mapping[str, Any] | None:
        """A mapping by name."""
        return _typed(self.get(*path), dict, path)

    def items(self, *path: str) -> tuple[Any, ...] | None:
        """A list, as a tuple."""
        value = _typed(self.get(*path), list, path)
        return None if value is None else tuple(value)

    @property
    def emulated(self) -> bool:
        """Whether the processor is a program: systemd-detect-virt says "qemu" for QEMU without KVM (TCG)."""
        return self.text("machine", "vm") == "qemu"

    @property
    def kernel_version(self) -> tuple[int, int] | None:
        """Major and minor of the running kernel."""
        numbers = (self.text("kernel", "release") or "").split("-")[0].split(".")
        return (int(numbers[0]), int(numbers[1])) if len(numbers) >= 2 else None


def _typed(value: object, kind: type[T], path: tuple[str, ...]) -> T | None:
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise LabctlError(Problem("a fingerprint holds a value of the wrong kind", ".".join(path), repr(value)))
    return value


def parse(document: object, where: str) -> Fingerprint:
    """A fingerprint from its JSON. LabctlError where it is none, or of a schema not known here."""
    seen = document.get("schema") if isinstance(document, Mapping) else type(document).__name__
    if not isinstance(document, Mapping) or seen != SCHEMA or "identity" not in document:
        hint = "it was written by another version of labctl: use that one"
        raise LabctlError(Problem(f"not a fingerprint of schema {SCHEMA}", where, str(seen), hint))
    return Fingerprint(document)


@dataclass(frozen=True)
class Difference:
    """One value that differs. `path` is dotted from the section down; `first` and `second` as found, None for none."""

    path: str
    first: object
    second: object

    def __str__(self) -> str:
        return f"{self.path}: {shown(self.first)} / {shown(self.second)}"


def shown(value: object) -> str:
    """A value as it is told of a difference."""
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def differences(first: Fingerprint, second: Fingerprint) -> tuple[Difference, ...]:
    """What changed between two fingerprints of one node, by path; what changes from second to second left out."""
    return tuple(_compare(first, second, tuple((name,) for name in VOLATILE)))


def node_differences(first: Fingerprint, second: Fingerprint) -> tuple[Difference, ...]:
    """How two nodes differ, by path; what two nodes never share left out as well."""
    return tuple(_compare(first, second, (*((name,) for name in VOLATILE), *OF_ONE_NODE)))


def _compare(first: Fingerprint, second: Fingerprint, left_out: tuple[tuple[str, ...], ...]) -> Iterator[Difference]:
    one, other = dict(_leaves(first.data)), dict(_leaves(second.data))
    for path in sorted(one.keys() | other.keys()):
        skipped = any(path[: len(prefix)] == prefix for prefix in left_out)
        if not skipped and one.get(path) != other.get(path):
            yield Difference(".".join(path), one.get(path), other.get(path))


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every value below `value` with its path. Lists are values: their order and length mean something."""
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from _leaves(below, (*path, str(key)))
    else:
        yield path, None if isinstance(value, Mapping) else value
