"""Bundles: everything that a lab without internet needs, in one directory with an index (docs/bundle.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labctl.catalog.editions import Edition, Use
from labctl.core.errors import LabctlError, Problem
from labctl.core.records import decode, suggestion

INDEX = "index.json"
# What every cluster is made of, by use. crictl is installed where a bundle has it.
NEEDED: Mapping[Use, tuple[str, ...]] = {
    Use.PROGRAM: ("kubeadm", "kubelet", "kubectl", "runc"),
    Use.ARCHIVE: ("containerd", "cni-plugins"),
    Use.IMAGE: ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "pause"),
}
AGAIN = "make the bundle again with `labctl bundle create`, or put the file right and correct index.json"


@dataclass(frozen=True)
class BundleFile:
    """One file. `path` is relative to the bundle, `origin` where it was taken from, `bytes` its size.

    `reference` is the name of an image on the nodes, null for anything else; `variants` are those that need the file,
    empty where every cluster of the edition does.
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
    try:
        data = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        hint = "give the directory that `labctl bundle create` made; docs/bundle.md says how to fill one by hand"
        raise LabctlError(
            Problem("this is no bundle: its index cannot be read", str(index), str(error), hint)
        ) from error
    except ValueError as error:
        raise LabctlError(
            Problem("the index of the bundle is not valid JSON", str(index), str(error), AGAIN)
        ) from error
    return decode(Bundle, data, str(index))


def verify(directory: Path) -> Bundle:
    """The bundle in `directory`, every file of it read.

    Raises LabctlError with each file that is missing, altered, unknown or needed and not there.
    """
    bundle = read(directory)
    problems = [*_shape_problems(directory, bundle), *_file_problems(directory, bundle.files)]
    if problems:
        raise LabctlError(*problems)
    return bundle


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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shape_problems(directory: Path, bundle: Bundle) -> Iterator[Problem]:
    """What is wrong with the index itself, and what it lacks or does not name."""
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
            yield Problem("a file belongs to no edition of the bundle", f"{where}: {file.path}", file.edition)
        if (file.reference is None) == (file.use is Use.IMAGE):
            what = "an image has no reference" if file.use is Use.IMAGE else "only images have a reference"
            yield Problem(what, f"{where}: {file.path}", file.reference)
    known = {file.path for file in bundle.files} | {INDEX}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_file() and name not in known:
            yield Problem("a file that the index does not name", str(path), hint="add it to index.json, or remove it")


def _file_problems(directory: Path, files: Iterable[BundleFile]) -> Iterator[Problem]:
    """Files that are not there, or not what the index says."""
    root = directory.resolve()
    for file in files:
        path = directory / file.path
        if root not in path.resolve().parents:
            yield Problem("a path that leads out of the bundle", str(directory / INDEX), file.path)
        elif not path.is_file():
            yield Problem(f"a file of the bundle is missing: {file.path}", str(directory), hint=AGAIN)
        elif (size := path.stat().st_size) != file.bytes:
            yield Problem(f"a file of the bundle was altered: {file.path}", str(path), _not(size, file.bytes), AGAIN)
        elif (seen := digest(path)) != file.sha256:
            yield Problem(f"a file of the bundle was altered: {file.path}", str(path), _not(seen, file.sha256), AGAIN)


def _not(seen: object, wanted: object) -> str:
    kind = "bytes" if isinstance(seen, int) else "SHA-256"
    return f"{kind} {seen}, in the index {wanted}"
