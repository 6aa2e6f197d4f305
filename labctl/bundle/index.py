"""Bundles: everything that a lab without internet needs, in one directory with an index (docs/bundle.md).

A bundle may come from anybody. Its index is believed only as far as it can do no harm: every name in it stays what it
is (a file below the directory, a name on a node), and everything that it names is read before any of it is used.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from labctl.bundle import contents, tree
from labctl.bundle.tree import LARGEST_BYTES, Tree
from labctl.catalog.editions import NAME, REFERENCE, SHA256, Edition, Use
from labctl.core import trust
from labctl.core.documents import parse_json, read_text
from labctl.core.errors import LabctlError, Problem, UsageError, advised
from labctl.core.records import decode, suggestion

INDEX = "index.json"
WORK = ".making"  # in a bundle that is being made: what is arriving, and the index of what has arrived
LARGEST_INDEX = 4 << 20  # bytes; of an edition with the files of all variants it takes some 10,000
MOST_TOLD = 20
# What every cluster is made of, by use. crictl is installed where a bundle has it.
NEEDED: Mapping[Use, tuple[str, ...]] = {
    Use.PROGRAM: ("kubeadm", "kubelet", "kubectl", "runc"),
    Use.ARCHIVE: ("containerd", "cni-plugins"),
    Use.IMAGE: ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "pause"),
}
AGAIN = "make the bundle again with `labctl bundle create`, or put the file right and correct index.json"
SPELL = "correct it in index.json (docs/bundle.md says what may stand there), or make the bundle again"
_STEP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~%=@,-]{0,199}")
_LINE = 1000  # characters of what is for readers


@dataclass(frozen=True)
class BundleFile:
    """One file. `path` is relative to the bundle, `origin` where it was taken from, `bytes` its size.

    `reference` is the name of an image on the nodes, null for anything else; `variants` are those that need the file,
    empty where every cluster of the edition does. `pinned`: whether labctl, or whoever made the bundle, knew the
    file's checksum beforehand; false where the bundle holds what was there when it was made, null where nobody says.
    `digest` is what the registry called an image that is not pinned.
    """

    path: str
    edition: str
    name: str
    use: Use
    version: str | None
    reference: str | None
    origin: str
    sha256: str
    bytes: int
    variants: tuple[str, ...] = ()
    pinned: bool | None = None
    digest: str | None = None


@dataclass(frozen=True)
class BundleEdition:
    """What a bundle says of an edition: its Kubernetes, and the nodes that it accepts, as in the catalog."""

    kubernetes: str
    kernel_low: str
    kernel_below: str | None
    cgroups: tuple[int, ...]


@dataclass(frozen=True)
class Bundle:
    """The index of a bundle. `architecture` is Debian's name of it (amd64, arm64), `created` ISO 8601 in UTC."""

    schema: Literal["labctl.bundle/1"]
    created: str
    architecture: str
    editions: Mapping[str, BundleEdition]
    files: tuple[BundleFile, ...]

    def of(self, edition: str) -> tuple[BundleFile, ...]:
        """The files of an edition."""
        return tuple(file for file in self.files if file.edition == edition)


def described(edition: Edition) -> BundleEdition:
    """An edition of the catalog, as a bundle records it."""
    return BundleEdition(edition.kubernetes, edition.kernel.low, edition.kernel.below, edition.cgroups)


def read(directory: Path) -> Bundle:
    """The index of the bundle in `directory`. Raises LabctlError where it is none; files are not looked at."""
    index = directory / INDEX
    if tree.kind_of(index) == "nothing":
        hint = "give the directory that `labctl bundle create` made; docs/bundle.md says how to fill one by hand"
        raise LabctlError(Problem("this is no bundle: its index cannot be read", str(index), _lacking(directory), hint))
    doubt = trust.doubted(directory) or trust.doubted(index)
    if doubt is not None:
        raise UsageError(doubt.problem("the bundle"))
    return read_index(index)


def _lacking(directory: Path) -> str:
    """What there is instead of an index."""
    kind = tree.kind_of(directory)
    return (
        "there is no such file" if kind in ("a directory", "a symbolic link") else f"{directory} is {kind or 'a file'}"
    )


def read_index(index: Path) -> Bundle:
    """An index, wherever it lies. Raises LabctlError with everything in it that cannot stand there."""
    with advised(AGAIN):
        data = parse_json(read_text(index, follow=False, largest=LARGEST_INDEX), index)
        bundle = decode(Bundle, data, str(index))
    problems = list(islice(_index_problems(bundle, str(index)), MOST_TOLD))
    if problems:
        raise LabctlError(*problems)
    return bundle


def verify(directory: Path) -> Bundle:
    """The bundle in `directory`, every file of it read.

    Raises LabctlError with each file that is missing, altered, unknown or needed and not there, and with each that
    cannot be what it is for.
    """
    bundle = read(directory)
    found = tree.walk(directory)
    problems = [*_shape_problems(directory, bundle), *found.problems]
    if any(path.startswith(f"{WORK}/") for path in found.files):
        hint = "give the same `labctl bundle create` again: it goes on where it was"
        problems.append(Problem("the bundle is not finished", str(directory / WORK), hint=hint))
    problems += unknown(directory, found.files - {file.path for file in bundle.files})
    problems += _file_problems(directory, bundle.files, found)
    if problems:
        raise LabctlError(*problems)
    return bundle


def unknown(directory: Path, files: Iterable[str]) -> Iterator[Problem]:
    """Files that no index names, `INDEX` and what is in `WORK` apart."""
    strange = sorted(path for path in files if path != INDEX and not path.startswith(f"{WORK}/"))
    for path in strange[:MOST_TOLD]:
        hint = "add it to index.json, or remove it"
        yield Problem("a file that the index does not name", str(directory / path), hint=hint)
    if len(strange) > MOST_TOLD:
        hint = "is this the directory of a bundle?"
        yield Problem(f"{len(strange) - MOST_TOLD} more files that the index does not name", str(directory), hint=hint)


def choose(bundle: Bundle, wanted: str | None, directory: Path) -> str:
    """The edition to install: the one asked for, else the only one. Raises LabctlError where there is none."""
    if wanted is None and len(bundle.editions) == 1:
        return next(iter(bundle.editions))
    if wanted in bundle.editions:
        return str(wanted)
    if wanted is None:
        problem = Problem("the bundle holds several editions", str(directory), hint="choose one with --edition")
    else:
        hint = suggestion(wanted, bundle.editions)
        problem = Problem("the bundle does not hold this edition", str(directory), wanted, hint)
    raise LabctlError(problem)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with tree.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _index_problems(bundle: Bundle, where: str) -> Iterator[Problem]:
    """What no index may say: names that lead elsewhere or mean something else to whoever uses them."""
    yield from _wrong(where, "created", bundle.created, _is_line)
    yield from _wrong(where, "architecture", bundle.architecture, re.compile(r"[a-z0-9]{1,20}").fullmatch)
    for name, edition in bundle.editions.items():
        place = f"editions.{name}"
        yield from _wrong(where, "editions", name, NAME.fullmatch)
        yield from _wrong(where, f"{place}.kubernetes", edition.kubernetes, NAME.fullmatch)
        for key, version in (("kernel_low", edition.kernel_low), ("kernel_below", edition.kernel_below)):
            if version is not None:
                yield from _wrong(where, f"{place}.{key}", version, re.compile(r"\d{1,4}\.\d{1,4}", re.ASCII).fullmatch)
        for number in edition.cgroups:
            yield from _wrong(where, f"{place}.cgroups", number, (1, 2).__contains__)
    for number, file in enumerate(bundle.files):
        place = f"files[{number}]"
        yield from _wrong(where, f"{place}.path", file.path, is_path, "a path that leads out of the bundle, or is none")
        for key, word in (
            ("edition", file.edition),
            ("name", file.name),
            *(("variants", one) for one in file.variants),
        ):
            yield from _wrong(where, f"{place}.{key}", word, NAME.fullmatch)
        for key, text in (("version", file.version), ("origin", file.origin), ("digest", file.digest)):
            yield from _wrong(where, f"{place}.{key}", text or "", _is_line)
        if file.reference is not None:
            yield from _wrong(where, f"{place}.reference", file.reference, REFERENCE.fullmatch)
        yield from _wrong(where, f"{place}.sha256", file.sha256, SHA256.fullmatch)
        yield from _wrong(where, f"{place}.bytes", file.bytes, range(LARGEST_BYTES + 1).__contains__)
    for what, seen in (
        ("path", Counter(file.path for file in bundle.files)),
        ("name", Counter(f"{file.edition} {file.name}" for file in bundle.files)),
    ):
        for word, count in seen.items():
            if count > 1:
                yield Problem(f"{count} files of the bundle have the same {what}", where, word, SPELL)


def _wrong(
    where: str, key: str, value: object, fits: Callable[..., object], what: str = "this cannot stand here"
) -> Iterator[Problem]:
    """A value that does not fit, shown so that nothing in it does anything to a terminal."""
    if not fits(value):
        seen = ascii(value)
        shown = seen if len(seen) <= _LINE // 10 else f"{seen[: _LINE // 10]}... ({len(seen)} characters)"
        yield Problem(what, f"{where}:{ascii(key)[1:-1]}", shown, SPELL)


def _is_line(text: str) -> bool:
    return len(text) <= _LINE and text.isprintable()


def is_path(path: str) -> bool:
    """Whether a path is one of a file in a bundle: below it, in words that every system and program takes alike."""
    return len(path) <= _LINE and path != INDEX and all(_STEP.fullmatch(step) for step in path.split("/"))


def _shape_problems(directory: Path, bundle: Bundle) -> Iterator[Problem]:
    """What the index lacks, and what of it does not fit together."""
    where = str(directory / INDEX)
    for edition in bundle.editions:
        held = {(file.use, file.name) for file in bundle.of(edition)}
        for use, names in NEEDED.items():
            for name in names:
                if (use, name) not in held:
                    what = f"the bundle has no {'image' if use is Use.IMAGE else 'file'} {name} for edition {edition}"
                    yield Problem(what, where, hint=AGAIN)
    for file in bundle.files:
        if file.edition not in bundle.editions:
            what = "a file belongs to no edition of the bundle"
            yield Problem(what, f"{where}: {file.path}", file.edition, SPELL)
        if (file.reference is None) == (file.use is Use.IMAGE):
            what = "an image has no reference" if file.use is Use.IMAGE else "only images have a reference"
            yield Problem(what, f"{where}: {file.path}", file.reference, SPELL)


def _file_problems(directory: Path, files: Iterable[BundleFile], found: Tree) -> Iterator[Problem]:
    """Files that are not there, not what the index says, or no good. What is `found` strange has been told."""
    for file in files:
        path = directory / file.path
        altered = f"a file of the bundle was altered: {file.path}"
        if file.path not in found.files:
            if not found.behind_strange(file.path):
                seen = "a directory of that name" if file.path in found.directories else None
                yield Problem(f"a file of the bundle is missing: {file.path}", str(directory), seen, AGAIN)
        elif (size := path.lstat().st_size) != file.bytes:
            yield Problem(altered, str(path), _not(size, file.bytes), AGAIN)
        elif (seen := digest(path)) != file.sha256:
            yield Problem(altered, str(path), _not(seen, file.sha256), AGAIN)
        elif _is_packed(file) and (fault := fault_of(path, file.use, file.reference)):
            yield Problem(f"a file of the bundle is of no use: {file.path}", str(path), fault, AGAIN)


def _is_packed(file: BundleFile) -> bool:
    """Whether it is known what a file has to hold. A program is whatever its checksum says."""
    return file.use is Use.ARCHIVE or (file.use is Use.IMAGE and file.reference is not None)


def fault_of(path: Path, use: Use, reference: str | None) -> str | None:
    """Why a file cannot be what it is for; None where nothing is against it."""
    with tree.opened(path) as file:
        return contents.fault(file, use, reference)


def _not(seen: object, wanted: object) -> str:
    kind = "bytes" if isinstance(seen, int) else "SHA-256"
    return f"{kind} {seen}, in the index {wanted}"
