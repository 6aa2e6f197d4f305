"""Editions: the versions that variants on Kubernetes come in, and where their files are. Data only.

The files of `editions/` stand beside this module, and the dataclasses below are their schema: `kubernetes.yml` has what
every cluster takes, a file named after a role what the variants of that role need besides.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from labctl.core import trust
from labctl.core.errors import LabctlError, Problem, collected
from labctl.core.records import decode, load_yaml, suggestion

BASE = "kubernetes.yml"
FILES = "editions/*.yml"
# Set per file rather than under `locations`.
OWN_WORDS = ("version", "architecture")
SHA256 = re.compile(r"[0-9a-f]{64}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# A file's name, which becomes part of paths on this machine and on nodes.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
# The name of an image: registry, path, tag, digest.
REFERENCE = re.compile(
    r"(?=.{1,500}\Z)([A-Za-z0-9][A-Za-z0-9.-]{0,200}(:[0-9]{1,5})?/)?[a-z0-9]+([._/-]+[a-z0-9]+){0,40}"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_WORD = re.compile(r"\{([^{}]*)\}")
_NULLABLE = ("below", "digest", "sha256")  # null is a value of these, not the absence of an entry


class Use(StrEnum):
    """What becomes of a file on a node: installed as it is, unpacked, or imported as a container image."""

    PROGRAM = "program"
    ARCHIVE = "archive"
    IMAGE = "image"


@dataclass(frozen=True)
class KernelRange:
    """Kernels that are accepted: from `low` on, and older than `below`; "major.minor", None for no limit."""

    low: str
    below: str | None


@dataclass(frozen=True)
class EditionFile:
    """A release file. `origin` is a template of its URL, `sha256` the published checksum by architecture.

    `sha256` is None where none is known: then the index of a bundle holds what the first download gave.
    `variants` are those that need it; empty where every cluster does.
    """

    version: str
    use: Use
    origin: str
    sha256: Mapping[str, str] | None
    variants: tuple[str, ...] = ()


@dataclass(frozen=True)
class EditionImage:
    """A container image. `reference` is its name on the nodes, `origin` a template of where it comes from.

    The origin is a reference in a registry, or the URL (http, https) of an image archive. `digest` (sha256:...) pins
    what a registry gives, `sha256` by architecture the archive behind a URL, where that is known. `variants` as with
    files.
    """

    reference: str
    origin: str
    digest: str | None
    variants: tuple[str, ...] = ()
    sha256: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Edition:
    """One edition. `cgroups` are the versions of control groups (1, 2) that its kubelet runs on as it is configured."""

    name: str
    title: str
    kubernetes: str
    kernel: KernelRange
    cgroups: tuple[int, ...]
    locations: Mapping[str, str]
    files: Mapping[str, EditionFile]
    images: Mapping[str, EditionImage]

    def url(self, name: str, architecture: str) -> str:
        """Where the file `name` is downloaded from."""
        file = self.files[name]
        return _filled(file.origin, {**self.locations, "version": file.version, "architecture": architecture})

    def image_origin(self, name: str) -> str:
        """Where the image `name` comes from."""
        return _filled(self.images[name].origin, self.locations)

    def needed_by(self, variant: str) -> tuple[str, ...]:
        """The files and images that a variant needs besides what every cluster takes."""
        entries: dict[str, EditionFile | EditionImage] = {**self.files, **self.images}
        return tuple(name for name, one in entries.items() if variant in one.variants)


def _filled(template: str, words: Mapping[str, str]) -> str:
    """A template with each {word} replaced, and nothing else done to it: it may be anybody's."""
    return _WORD.sub(lambda found: words[found[1]], template)


def load_editions(
    directory: Path, variants: Mapping[str, Collection[str]], overrides: Path | None = None
) -> dict[str, Edition]:
    """The editions of a directory's files, with those of `overrides` laid over them key by key.

    `variants` are those of each role: what the file of a role adds to an edition is for them alone. Raises LabctlError
    with the problems of all files, each naming file:key.
    """
    data: object = _with_roles(directory, variants)
    if overrides is not None:
        trust.require_trusted("the file of overrides", overrides)  # what it names runs on the nodes
        own = load_yaml(overrides)
        if not isinstance(own, Mapping):
            hint = "begin it with the name of an edition; docs/bundle.md shows one"
            raise LabctlError(Problem("the overrides are no mapping", str(overrides), type(own).__name__, hint))
        data = _overlaid(data, own, overrides.name)
    try:
        return _decoded(data)
    except LabctlError as error:
        hint = f"correct it in {overrides or 'the catalog'}"
        told = (problem if problem.hint else replace(problem, hint=hint) for problem in error.problems)
        raise LabctlError(*told) from error


def _decoded(data: object) -> dict[str, Edition]:
    """The editions in the content of files. Raises LabctlError as `load_editions` does."""
    entries = decode(Mapping[str, Mapping[str, object]], data, FILES)  # type: ignore[type-abstract]
    problems: list[Problem] = []
    editions: dict[str, Edition] = {}
    for name, entry in entries.items():
        with collected(problems):
            editions[name] = decode(Edition, {**entry, "name": name}, FILES, name)
            problems.extend(_edition_problems(f"{FILES}:{name}", editions[name]))
    if problems:
        raise LabctlError(*problems)
    return editions


def _with_roles(directory: Path, variants: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """What every cluster takes, and what the files of roles add to it."""
    data = _sections(directory / BASE)
    problems: list[Problem] = []
    for path in sorted(directory.glob("*.yml")):
        where = f"editions/{path.name}"
        if path.name == BASE:
            continue
        if path.stem not in variants:
            what = "no role of this name has variants"
            problems.append(Problem(what, where, hint=suggestion(path.stem, variants)))
            continue
        for edition, sections in _sections(path).items():
            if edition not in data:
                problems.append(Problem("unknown edition", f"{where}:{edition}", hint=suggestion(edition, data)))
                continue
            for section, entries in sections.items():
                own = {} if section == "locations" else {"variants": list(variants[path.stem])}
                below = data[edition].setdefault(section, {})
                for name, entry in entries.items():
                    if name in below:
                        place = f"{where}:{edition}.{section}.{name}"
                        hint = "give it another name: the other is needed by others"
                        problems.append(Problem("another file has an entry of this name", place, hint=hint))
                    below[name] = {**entry, **own} if isinstance(entry, Mapping) else entry
    if problems:
        raise LabctlError(*problems)
    return data


def _sections(path: Path) -> dict[str, Any]:
    """Edition to section to entry, of a file."""
    return decode(dict[str, dict[str, Any]], load_yaml(path), f"editions/{path.name}")


def _overlaid(below: object, above: object, where: str, key: str = "") -> object:
    """`above` laid over `below`: mappings are merged, null takes an entry away, anything else replaces.

    An unknown edition is refused.
    """
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    if not key and (unknown := [name for name in above if name not in below]):
        known = ", ".join(map(str, below))
        raise LabctlError(*(Problem("unknown edition", f"{where}:{name}", hint=f"known: {known}") for name in unknown))
    merged = {**below}
    for name, value in above.items():
        merged[name] = _overlaid(below[name], value, where, f"{key}.{name}") if name in below else value
    return {name: value for name, value in merged.items() if value is not None or name in _NULLABLE}


def _edition_problems(where: str, edition: Edition) -> Iterator[Problem]:
    """What the types of an edition cannot say."""
    entries: dict[str, EditionFile | EditionImage] = {f"files.{name}": file for name, file in edition.files.items()}
    entries |= {f"images.{name}": image for name, image in edition.images.items()}
    for key, entry in entries.items():
        if not NAME.fullmatch(key.partition(".")[2]):
            hint = "letters, digits, '.', '_', '+' and '-', 100 at most, and a letter or digit first"
            yield Problem("this cannot be the name of a file", f"{where}.{key.partition('.')[0]}", ascii(key), hint)
        known = {*edition.locations, *(OWN_WORDS if isinstance(entry, EditionFile) else ())}
        for word in sorted(set(_WORD.findall(entry.origin)) - known):
            hint = f"add it under {where}.locations"
            yield Problem("a location that the edition does not have", f"{where}.{key}.origin", f"{{{word}}}", hint)
        if set(_WORD.sub("", entry.origin)) & {"{", "}"}:
            hint = "braces stand around the name of a location, and nowhere else"
            yield Problem("a brace without its other", f"{where}.{key}.origin", entry.origin, hint)
        for architecture, sha256 in (entry.sha256 or {}).items():
            if not SHA256.fullmatch(sha256):
                yield Problem("not a SHA-256", f"{where}.{key}.sha256.{architecture}", sha256, "write 64 hex digits")
    for name, file in edition.files.items():
        if file.use is Use.IMAGE:
            yield Problem("an image stands among the files", f"{where}.files.{name}.use", hint="move it to images")
    for name, image in edition.images.items():
        if name in edition.files:
            yield Problem("a file has the same name", f"{where}.images.{name}", hint="give it another name")
        if not REFERENCE.fullmatch(image.reference):
            hint = "write REGISTRY/PATH:TAG, as in registry.k8s.io/pause:3.2"
            yield Problem("not the name of an image", f"{where}.images.{name}.reference", image.reference, hint)
        if image.digest is not None and not DIGEST.fullmatch(image.digest):
            hint = "write sha256: and 64 hex digits, or null"
            yield Problem("not a digest", f"{where}.images.{name}.digest", image.digest, hint)
    for limit, value in (("low", edition.kernel.low), ("below", edition.kernel.below)):
        if value is not None and not re.fullmatch(r"\d{1,4}\.\d{1,4}", value, re.ASCII):
            yield Problem("not a kernel version", f"{where}.kernel.{limit}", value, "write major.minor, as in '5.10'")
    if not set(edition.cgroups) <= {1, 2} or not edition.cgroups:
        yield Problem("not versions of control groups", f"{where}.cgroups", str(edition.cgroups), "write [1, 2] or [2]")
