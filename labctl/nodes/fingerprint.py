"""What a node was when it was measured: typed access to the document of roles/fingerprint, and comparison of two.

The document (schema labctl.fingerprint/1, described in roles/fingerprint/README.md) holds sections of plain JSON;
whatever a node does not have, or does not let us read, is null there and None here, never 0 or "".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from labctl.core.documents import shortened
from labctl.core.errors import LabctlError, Problem

T = TypeVar("T")

SCHEMA = "labctl.fingerprint/1"

TAKE_AGAIN = "put the file back from a copy; that of a visit is taken again with the visit: labctl matrix --resume RUN"

Path = tuple[str, ...]
Document = Mapping[str, Any]

# Changes by itself, or follows from the rest: from second to second, and where the kernel loads a module for somebody.
VOLATILE: tuple[Path, ...] = (
    ("schema",),
    ("identity",),
    ("state",),
    ("congestion_control", "available"),
    ("tunnels", "drivers"),
    # A CNI's agent that may sets it, and without a reboot there is no way back. It decides who may load programs.
    ("sysctl", "host", "kernel.unprivileged_bpf_disabled"),
    ("cni", "says", "state"),
    ("cni", "says", "failing_controllers"),
)
# Belongs to one deployment: the next one's are others.
OF_ONE_DEPLOYMENT: tuple[Path, ...] = (("deployed", "instances"),)
# No setup changes it. Of the cable and of what hooks into the network, `_untouched` says which part that is.
OF_EVERY_SETUP: tuple[Path, ...] = (
    *((name,) for name in ("machine", "kernel", "cpu", "nic", "versions", "services", "cluster", "boot", "memory")),
    ("sysctl", "host"),
    ("sysctl", "namespace"),
    ("congestion_control", "current"),
    *(
        ("link", name)
        for name in ("kind", "up", "carrier", "max_mtu", "tx_queue_length", "gso_max_size", "gro_max_size")
    ),
)
# What an agent of a CNI sets of a machine that is the node's own, and its undeploy puts back.
OF_AGENTS: tuple[Path, ...] = tuple(
    ("sysctl", "host", name)
    for name in ("kernel.timer_migration", "net.core.bpf_jit_enable", "net.core.bpf_jit_harden")
)
# What is there only while a module is loaded: none at one time and some at another is no change.
OF_A_MODULE: tuple[Path, ...] = (("network", "conntrack"),)
# What a setup sets on the cable: its MTU, and the hook of its programs.
SET_ON_CABLE = ("mtu", "xdp")
HOOKS = ("clsact", "ingress")
# What a container calls its boot is its own start; its kernel's is known by the time, reckoned from a clock that may be
# set. A machine has an id of its boot.
BOOT, BOOT_TIME = ("boot", "id"), ("boot", "time_s")
CLOCK_S = 60
# The memory of a virtual machine breathes: a balloon takes, and gives back, some hundredths.
BREATHES = ("memory", "total_kb")
BREATH = 0.05

# Two nodes never share these, and none of them changes a number.
OF_ONE_NODE: tuple[Path, ...] = (
    ("boot",),
    ("inventory", "address"),
    ("link", "addresses"),
    ("memory", "total_kb"),
    ("nic", "bus"),
    ("cluster", "addresses"),
    ("cluster", "pod_networks"),
    ("deployed", "images"),
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
        numbers = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", self.text("kernel", "release") or "")
        return (int(numbers[1]), int(numbers[2])) if numbers else None


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
        raise LabctlError(Problem(f"not a fingerprint of schema {SCHEMA}", where, shortened(str(seen)), hint))
    problems = [Problem(what, f"{where}: {path}", hint=TAKE_AGAIN) for what, path in _misshapen(document)]
    if problems:
        raise LabctlError(*problems)
    return Fingerprint(document)


def _misshapen(document: Document) -> Iterator[tuple[str, str]]:
    """What of the parts that are compared one by one has not their shape, and where."""
    for name in ("machine", "inventory", "network"):
        if not isinstance(document.get(name), Mapping | None):
            yield "a section is no mapping", name
    network = document.get("network")
    parts = network if isinstance(network, Mapping) else {}
    for name in ("links", "qdiscs", "filters"):
        if not isinstance(parts.get(name), Mapping | None):
            yield "a part of the network is no mapping", f"network.{name}"
        elif any(not device.split() for device in parts.get(name) or ()):
            yield "a device has no name", f"network.{name}"
    lists = {f"network.qdiscs.{device}": words for device, words in _entries(parts.get("qdiscs"))}
    for path, words in {**lists, "network.bpf": parts.get("bpf") or []}.items():
        if not isinstance(words, list) or not all(isinstance(one, str) and one.split() for one in words):
            yield "this is no list of words", path
    for device, told in _entries(parts.get("links")):
        if not isinstance(told, Mapping):
            yield "a link is no mapping", f"network.links.{device}"


def _entries(part: object) -> Iterable[tuple[str, object]]:
    return part.items() if isinstance(part, Mapping) else ()


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


class Span(StrEnum):
    """How far apart two fingerprints of one node were taken, and so what has to be the same in both.

    `visit`: before the first and after the last sample of one deployment. `setup`: in two deployments of one setup, or
    with nothing deployed. `run`: whatever was deployed.
    """

    VISIT = "visit"
    SETUP = "setup"
    RUN = "run"


def differences(first: Fingerprint, second: Fingerprint, span: Span = Span.SETUP) -> tuple[Difference, ...]:
    """What changed between two fingerprints of one node, by path; what changes by itself left out.

    Sections and keys that one of the documents does not have at all were not looked at, and are not compared.
    """
    if span is Span.VISIT:
        return tuple(_compare(first.data, second.data, lambda path: _begins(path, VOLATILE)))
    if span is Span.SETUP:
        return tuple(_compare(first.data, second.data, lambda path: _begins(path, (*VOLATILE, *OF_ONE_DEPLOYMENT))))
    own = _compare(
        first.data,
        second.data,
        lambda path: _begins(path, (*VOLATILE, *OF_AGENTS)) or not _begins(path, OF_EVERY_SETUP),
    )
    return (*own, *_compare(*_untouched(first.data, second.data), lambda _: False))


def node_differences(first: Fingerprint, second: Fingerprint) -> tuple[Difference, ...]:
    """How two nodes differ, by path; what two nodes never share left out as well."""
    left_out = (*VOLATILE, *OF_ONE_DEPLOYMENT, *OF_ONE_NODE)
    return tuple(_compare(first.data, second.data, lambda path: _begins(path, left_out)))


def _compare(first: Document, second: Document, skip: Callable[[Path], bool]) -> Iterator[Difference]:
    """Every value that differs, in the order of paths. A section that is null in one is one difference."""
    of_container = (first.get("machine") or {}).get("container") is not None
    own = BOOT if of_container else BOOT_TIME
    for name in sorted(first.keys() & second.keys()):
        one, other = first[name], second[name]
        if one is None or other is None:
            if one is other or skip((name,)):
                continue
            yield Difference(name, *(None if each is None else "known" for each in (one, other)))
        elif isinstance(one, Mapping) and isinstance(other, Mapping):
            for key in sorted(one.keys() & other.keys()):
                if (name, key) != own:
                    yield from _compare_leaves((name, key), one[key], other[key], skip)
        else:
            yield from _compare_leaves((name,), one, other, skip)


def _compare_leaves(path: Path, first: object, second: object, skip: Callable[[Path], bool]) -> Iterator[Difference]:
    one, other = dict(_leaves(first, path)), dict(_leaves(second, path))
    for leaf in sorted(one.keys() | other.keys()):
        before, after = one.get(leaf), other.get(leaf)
        if not skip(leaf) and not _same(leaf, before, after):
            yield Difference(".".join(leaf), before, after)


def _same(path: Path, first: object, second: object) -> bool:
    """Whether a value is what it was."""
    if path == BREATHES and isinstance(first, int) and isinstance(second, int):
        return abs(second - first) <= BREATH * first
    if path == BOOT_TIME and isinstance(first, int) and isinstance(second, int):
        return abs(second - first) <= CLOCK_S
    if _begins(path, OF_A_MODULE) and (first is None or second is None):
        return True
    if path == ("link", "addresses"):
        return _lasting(first) == _lasting(second)
    return first == second


def _lasting(addresses: object) -> object:
    """Addresses without those that follow from an interface's hardware address, which is drawn."""
    return [one for one in addresses if not str(one).startswith("fe80:")] if isinstance(addresses, list) else addresses


def _begins(path: Path, prefixes: tuple[Path, ...]) -> bool:
    return any(path[: len(prefix)] == prefix for prefix in prefixes)


def _untouched(first: Document, second: Document) -> tuple[Document, Document]:
    """What is set on devices that are there in both, without what a setup sets on the cable."""
    hooks = [each.get("network") or {} for each in (first, second)]
    devices = set(hooks[0].get("links") or ()) & set(hooks[1].get("links") or ())
    cable = str((first.get("inventory") or {}).get("interface"))
    return _on_devices(hooks[0], devices, cable), _on_devices(hooks[1], devices, cable)


def _on_devices(network: Document, devices: set[str], cable: object) -> Document:
    others = devices - {cable}
    links = {
        device: {name: value for name, value in told.items() if device != cable or name not in SET_ON_CABLE}
        for device, told in (network.get("links") or {}).items()
        if device in devices
    }
    qdiscs = {
        device: [words for words in each if words.split()[0] not in HOOKS]
        for device, each in (network.get("qdiscs") or {}).items()
        if device in devices
    }
    filters = {place: told for place, told in (network.get("filters") or {}).items() if place.split()[0] in others}
    bpf = [words for words in network.get("bpf") or () if words.split()[0] in others]
    return {"network": {"links": links, "qdiscs": qdiscs, "filters": filters, "bpf": bpf}}


def _leaves(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every value below `value` with its path. Lists are values: their order and length mean something."""
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from _leaves(below, (*path, str(key)))
    else:
        yield path, None if isinstance(value, Mapping) else value
