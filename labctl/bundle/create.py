"""Making a bundle: every file of the wanted editions is fetched, checked and put into the index.

What is not finished can be gone on with: what has arrived is named by an index of its own in `WORK`, which is there
only while a bundle is being made. No file is written over or removed that neither index names.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labctl.bundle import index as bundle
from labctl.bundle import registry, tree
from labctl.bundle.download import ROOM, WEB, download, require_url, writing
from labctl.bundle.index import INDEX, WORK, Bundle, BundleEdition, BundleFile
from labctl.catalog.editions import Edition, EditionFile, EditionImage, Use
from labctl.core import trust
from labctl.core.errors import LabctlError, Problem, UsageError, collected
from labctl.core.files import write_json

PART = "part"  # in `WORK`: the file that is arriving
# What is there besides while a bundle is made, and is left by one that was killed.
OWN = frozenset({INDEX, f".{INDEX}.partial", *(f"{WORK}/{name}" for name in (PART, INDEX, f".{INDEX}.partial"))})
RENEW = "--renew"
Listener = Callable[[str], None]
Place = tuple[str, str]  # what makes a file the same in two indexes: its edition, and its name there


@dataclass(frozen=True)
class Wish:
    """One file that a bundle shall hold. `sha256` and `digest` are what is published for it, None where nothing is."""

    path: str
    edition: str
    name: str
    use: Use
    version: str | None
    reference: str | None
    origin: str
    sha256: str | None
    digest: str | None
    variants: tuple[str, ...]

    @property
    def place(self) -> Place:
        """By what it is found in an index."""
        return self.edition, self.name

    @property
    def from_registry(self) -> bool:
        """Whether it is an image out of a registry, and not a file behind a URL."""
        return self.use is Use.IMAGE and not WEB.match(self.origin)

    @property
    def pinned(self) -> bool:
        """Whether it is known beforehand what its origin has to give."""
        return (self.digest if self.from_registry else self.sha256) is not None

    def entry(self, path: str, sha256: str, size: int, digest: str | None) -> BundleFile:
        """The line of the index for it, once it is there."""
        wished = {name: value for name, value in vars(self).items() if name in BundleFile.__dataclass_fields__}
        more = {"path": path, "sha256": sha256, "bytes": size, "digest": digest, "pinned": self.pinned}
        return BundleFile(**wished | more)


def wishes(edition: Edition, architecture: str, variants: Collection[str]) -> tuple[Wish, ...]:
    """Everything that an edition takes for these variants.

    Raises LabctlError with each file that has no checksum for the architecture, or an origin that is none.
    """
    entries: dict[str, EditionFile | EditionImage] = {**edition.files, **edition.images}
    chosen = {name: one for name, one in entries.items() if not one.variants or set(one.variants) & set(variants)}
    problems: list[Problem] = []
    found = []
    for name, one in chosen.items():
        if architecture not in (one.sha256 or {architecture}):
            section = "images" if isinstance(one, EditionImage) else "files"
            hint = f"give it with --overrides: {edition.name}.{section}.{name}.sha256.{architecture}"
            problems.append(Problem("a file has no checksum for this architecture", name, architecture, hint))
            continue
        with collected(problems):
            found.append(_wish(edition, name, one, architecture))
    if problems:
        raise LabctlError(*problems)
    return tuple(found)


def _wish(edition: Edition, name: str, one: EditionFile | EditionImage, architecture: str) -> Wish:
    """One of the files of an edition. Raises LabctlError where its origin is none."""
    common: dict[str, Any] = {
        "edition": edition.name,
        "name": name,
        "sha256": None if one.sha256 is None else one.sha256[architecture],
        "variants": one.variants,
    }
    if isinstance(one, EditionFile):
        url = edition.url(name, architecture)
        require_url(url, f"{edition.name}.files.{name}.origin")
        more: dict[str, Any] = {
            "use": one.use,
            "version": one.version,
            "reference": None,
            "origin": url,
            "digest": None,
        }
        return Wish(path=f"{edition.name}/{one.use}s/{name}", **common, **more)
    origin = edition.image_origin(name)
    version = one.reference.rpartition(":")[2]
    more = {"use": Use.IMAGE, "version": version, "reference": one.reference, "origin": origin, "digest": one.digest}
    wish = Wish(path=f"{edition.name}/{Use.IMAGE}s/{name}.tar", **common, **more)
    require = registry.require_reference if wish.from_registry else require_url
    require(origin, f"{edition.name}.images.{name}.origin")
    return wish


def create(
    directory: Path,
    editions: Collection[Edition],
    variants: Collection[str],
    architecture: str,
    listener: Listener = lambda _: None,
    renew: bool = False,
) -> Bundle:
    """Fill `directory` and write its index last. Files that are there, right and pinned are not fetched again.

    Others are looked up again, and refused where their content is not what it was when the bundle was made; with
    `renew` the new one is taken. Raises LabctlError with every file that could not be fetched or is not what its
    project published.
    """
    problems: list[Problem] = []
    wanted: list[Wish] = []
    for edition in editions:
        with collected(problems):
            wanted += wishes(edition, architecture, variants)
    if problems:
        raise LabctlError(*problems)
    if any(wish.from_registry for wish in wanted):
        registry.require_program()
    described = {edition.name: bundle.described(edition) for edition in editions}
    with _making(directory) as earlier:
        maker = _Maker(directory, architecture, described, earlier, listener, renew)
        for wish in wanted:
            with collected(problems):
                maker.add(wish, {other.path for other in wanted if other is not wish})
        if problems:
            raise LabctlError(*problems)
        maker.finish()
    return bundle.verify(directory)


@contextmanager
def _making(directory: Path) -> Iterator[dict[Place, BundleFile]]:
    """A directory in which a bundle can be made, with what earlier ones say that it holds.

    Raises LabctlError where it is none, holds what no index names, or another `bundle create` is at work there.
    """
    kind = tree.kind_of(directory)
    if kind not in ("nothing", "a directory") and not os.path.isdir(directory):  # noqa: PTH112 - for any name at all
        hint = "name a directory, or one that is not there yet"
        raise LabctlError(Problem("a bundle cannot be made here", str(directory), kind or "a file", hint))
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    doubt = trust.doubted(directory)
    if doubt is not None:
        raise UsageError(doubt.problem("the directory of a bundle"))
    earlier = _earlier(directory)
    found = tree.walk(directory)
    strange = found.files - {file.path for file in earlier.values()} - OWN
    problems = [*found.problems, *bundle.unknown(directory, strange)]
    if problems:
        raise LabctlError(*problems)
    with _working(directory):
        try:
            yield earlier
        finally:
            with suppress(OSError):  # what has arrived is still to be gone on with
                (directory / WORK / PART).unlink(missing_ok=True)
                (directory / WORK).rmdir()
                if kind == "nothing":
                    directory.rmdir()


@contextmanager
def _working(directory: Path) -> Iterator[None]:
    """Have a directory in which files arrive. Raises LabctlError where another process has it."""
    work = directory / WORK
    with writing(work):
        work.mkdir(exist_ok=True)
        handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        what, hint = "another `labctl bundle create` is at work in this directory", "wait for it, or end it"
        raise LabctlError(Problem(what, str(directory), error.strerror, hint)) from error
    finally:
        os.close(handle)


def _earlier(directory: Path) -> dict[Place, BundleFile]:
    """What the directory holds, as its index says, and that of a `bundle create` which did not come to its end."""
    files: dict[Place, BundleFile] = {}
    for index in (directory / INDEX, directory / WORK / INDEX):
        if tree.kind_of(index.parent) == "a directory" and tree.kind_of(index) != "nothing":
            found = bundle.read(index.parent)
            files |= {(file.edition, file.name): file for file in found.files}
    return files


@dataclass
class _Maker:
    """Fetches files into a directory, one after the other, and keeps the index of those that are there."""

    directory: Path
    architecture: str
    editions: dict[str, BundleEdition]
    earlier: dict[Place, BundleFile]
    listener: Listener
    renew: bool

    def __post_init__(self) -> None:
        self.files: dict[Place, BundleFile] = {}

    def add(self, wish: Wish, taken: Collection[str]) -> None:
        """Have a file in the bundle; no file of another is to lie at the paths that are `taken`."""
        digest = None
        if wish.from_registry:
            digest = wish.digest or registry.digest(wish.origin)
        known = self.earlier.get(wish.place)
        if known is not None and known.origin != wish.origin:
            known = None
        # What no checksum is known for, and no digest, is the same only if it is fetched and looked at.
        same = known is not None and (known.digest == digest if digest else wish.sha256 == known.sha256)
        if known is not None and same and known.path not in taken and self._is_intact(known):
            self.files[wish.place] = wish.entry(known.path, known.sha256, known.bytes, digest)
        else:
            self._fetch(wish, known, digest)

    def finish(self) -> None:
        """Write the index of the bundle, and take away what only an earlier one names."""
        self._write(self.directory / INDEX, self.files)
        with writing(self.directory):
            paths = {file.path for file in self.files.values()}
            for file in self.earlier.values():
                if file.path not in paths and self._is_intact(file):
                    (self.directory / file.path).unlink()
            (self.directory / WORK / INDEX).unlink(missing_ok=True)

    def _fetch(self, wish: Wish, known: BundleFile | None, digest: str | None) -> None:
        """Bring one file into the bundle under its name, whole and checked or not at all."""
        part = self.directory / WORK / PART
        with writing(part):
            part.unlink(missing_ok=True)
        self.listener(wish.origin)
        if wish.from_registry:
            registry.copy(wish.origin, digest, str(wish.reference), part, self.architecture)
        else:
            download(wish.origin, part, checked=wish.sha256 is not None)
        sha256, size = bundle.digest(part), part.lstat().st_size
        entry = wish.entry(wish.path, sha256, size, digest)
        self._require_right(wish, known, part, entry)
        if known is not None and (known.path, known.sha256) == (wish.path, sha256) and self._is_intact(known):
            self.files[wish.place] = entry
        else:
            self._keep(part, entry)

    def _require_right(self, wish: Wish, known: BundleFile | None, part: Path, entry: BundleFile) -> None:
        """Raise LabctlError for a file that is not the published one, is of no use, or changed at its origin."""
        if not wish.from_registry and wish.sha256 not in (None, entry.sha256):
            hint = "the file at its origin is not the published one: do not use it; a mirror may be damaged"
            seen = f"SHA-256 {entry.sha256}, published {wish.sha256}"
            raise LabctlError(Problem(f"the checksum of {wish.name} is wrong", wish.origin, seen, hint))
        # A program that is the published one is what its project says, whatever its form.
        fault = None if wish.use is Use.PROGRAM and wish.pinned else bundle.fault_of(part, wish.use, wish.reference)
        if fault is not None:
            hint = "look at what its origin gives, or give another location with --overrides"
            raise LabctlError(Problem(f"what was fetched for {wish.name} is of no use", wish.origin, fault, hint))
        if wish.pinned or known is None or self.renew:
            return
        now, then = (entry.digest, known.digest) if entry.digest and known.digest else (entry.sha256, known.sha256)
        if now != then:
            hint = f"nothing says which is the right one: take the new one with {RENEW}, or pin it with --overrides"
            seen = f"now {now}, in the bundle {then}"
            raise LabctlError(Problem(f"{wish.name} changed at its origin", wish.origin, seen, hint))

    def _keep(self, part: Path, entry: BundleFile) -> None:
        """Put a file that has arrived under its name. It is in an index before it is there."""
        target = self.directory / entry.path
        kind = tree.kind_of(target)
        if kind not in (None, "nothing"):
            hint = "take it away, or name another directory"
            raise LabctlError(Problem("something stands where a file of the bundle belongs", str(target), kind, hint))
        self.files[entry.edition, entry.name] = entry
        self._write(self.directory / WORK / INDEX, self.earlier | self.files)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)

    def _is_intact(self, file: BundleFile) -> bool:
        """Whether a file is there as an index says."""
        path = self.directory / file.path
        if tree.kind_of(path) is not None or path.lstat().st_size != file.bytes:
            return False
        return bundle.digest(path) == file.sha256

    def _write(self, path: Path, files: Mapping[Place, BundleFile]) -> None:
        created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        made = Bundle("labctl.bundle/1", created, self.architecture, self.editions, tuple(files.values()))
        try:
            write_json(path, made)
        except LabctlError as error:
            raise LabctlError(*(replace(problem, hint=ROOM) for problem in error.problems)) from error
