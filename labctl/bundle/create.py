"""Making a bundle: every file of the wanted editions is fetched, checked and put into the index."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from labctl import __version__
from labctl.bundle import index as bundle
from labctl.bundle.index import Bundle, BundleFile
from labctl.catalog.editions import Edition, Use
from labctl.core.errors import LabctlError, Problem, collected
from labctl.core.files import write_json

TIMEOUT_S = 60  # without a byte from the other side
BLOCK = 1 << 20
_URL = re.compile(r"https?://")
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+)(:\d+)?/")
Listener = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """One file that a bundle shall hold. `sha256` is what is published for it, None where nothing is."""

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


def wishes(edition: Edition, architecture: str, variants: Collection[str]) -> tuple[Wish, ...]:
    """Everything that an edition takes for these variants. Raises LabctlError without a checksum for a file."""
    chosen = {name: file for name, file in edition.files.items() if _wanted(file.variants, variants)}
    unknown = [name for name, file in chosen.items() if architecture not in (file.sha256 or {architecture})]
    if unknown:
        hint = f"give it with --overrides: {edition.name}.files.<name>.sha256.{architecture}"
        raise LabctlError(
            *(Problem("a file has no checksum for this architecture", name, architecture, hint) for name in unknown)
        )
    files = (
        Wish(
            path=f"{edition.name}/{file.use}s/{edition.url(name, architecture).rpartition('/')[2]}",
            edition=edition.name,
            name=name,
            use=file.use,
            version=file.version,
            reference=None,
            origin=edition.url(name, architecture),
            sha256=None if file.sha256 is None else file.sha256[architecture],
            digest=None,
            variants=file.variants,
        )
        for name, file in chosen.items()
    )
    images = (
        Wish(
            path=f"{edition.name}/{Use.IMAGE}s/{name}.tar",
            edition=edition.name,
            name=name,
            use=Use.IMAGE,
            version=image.reference.rpartition(":")[2],
            reference=image.reference,
            origin=edition.image_origin(name),
            sha256=None,
            digest=image.digest,
            variants=image.variants,
        )
        for name, image in edition.images.items()
        if _wanted(image.variants, variants)
    )
    return (*files, *images)


def _wanted(by: Collection[str], variants: Collection[str]) -> bool:
    """Whether a file that is needed `by` some variants, or by every cluster, is one for `variants`."""
    return not by or bool(set(by) & set(variants))


def create(
    directory: Path,
    editions: Collection[Edition],
    variants: Collection[str],
    architecture: str,
    listener: Listener = lambda _: None,
) -> Bundle:
    """Fill `directory` and write its index last. Files that are there and right are not fetched again.

    Raises LabctlError with every file that could not be fetched or is not what its project published.
    """
    wanted = [wish for edition in editions for wish in wishes(edition, architecture, variants)]
    if any(_registry(wish) for wish in wanted) and shutil.which("skopeo") is None:
        hint = "install the package skopeo, or give URLs of image archives with --overrides"
        raise LabctlError(Problem("images are fetched with skopeo, which is not installed", "PATH", hint=hint))
    earlier = _earlier(directory)
    problems: list[Problem] = []
    files: list[BundleFile] = []
    for wish in wanted:
        with collected(problems):
            files.append(_kept(directory, wish, earlier) or _fetch(directory, wish, architecture, listener))
    if problems:
        raise LabctlError(*problems)
    made = Bundle(
        schema="labctl.bundle/1",
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        architecture=architecture,
        editions={edition.name: bundle.described(edition) for edition in editions},
        files=tuple(files),
    )
    write_json(directory / bundle.INDEX, made)
    for path in set(earlier) - {file.path for file in files}:
        (directory / path).unlink(missing_ok=True)
    return bundle.verify(directory)


def _earlier(directory: Path) -> dict[str, BundleFile]:
    """What an earlier bundle in the directory says that it holds, by path."""
    if not (directory / bundle.INDEX).exists():
        return {}
    return {file.path: file for file in bundle.read(directory).files}


def _kept(directory: Path, wish: Wish, earlier: dict[str, BundleFile]) -> BundleFile | None:
    """The file that is wished for, where the directory has it: of this origin, unaltered, with the right checksum."""
    file, path = earlier.get(wish.path), directory / wish.path
    if file is None or file.origin != wish.origin or wish.sha256 not in (None, file.sha256) or not path.is_file():
        return None
    return _entry(wish, file.sha256, file.bytes) if bundle.digest(path) == file.sha256 else None


def _entry(wish: Wish, sha256: str, size: int) -> BundleFile:
    """The line of the index for a file that is there."""
    wished = {name: value for name, value in vars(wish).items() if name in BundleFile.__dataclass_fields__}
    return BundleFile(**wished | {"sha256": sha256, "bytes": size})


def _registry(wish: Wish) -> bool:
    return wish.use is Use.IMAGE and not _URL.match(wish.origin)


def _fetch(directory: Path, wish: Wish, architecture: str, listener: Listener) -> BundleFile:
    """Bring one file into the bundle under its name, whole and checked or not at all."""
    listener(wish.origin)
    target = directory / wish.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with _partial(target) as partial:
        if _registry(wish):
            _copy_image(wish, partial, architecture)
        else:
            _download(wish.origin, partial)
        sha256 = bundle.digest(partial)
        if wish.sha256 is not None and sha256 != wish.sha256:
            hint = "the file at its origin is not the published one: do not use it; a mirror may be damaged"
            seen = f"SHA-256 {sha256}, published {wish.sha256}"
            raise LabctlError(Problem(f"the checksum of {wish.name} is wrong", wish.origin, seen, hint))
        size = partial.stat().st_size
        partial.replace(target)
    return _entry(wish, sha256, size)


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A name beside the target; what is there at the end of a failure is removed."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _download(url: str, target: Path) -> None:
    """Raises LabctlError naming the URL and what the other side, or the way to it, said."""
    if not _URL.match(url):
        raise LabctlError(Problem("a file needs an http or https URL", url, hint="correct it with --overrides"))
    request = urllib.request.Request(url, headers={"User-Agent": f"labctl/{__version__}"})  # noqa: S310 - looked at above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, target.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(answer, file, BLOCK)
    except (OSError, ValueError) as error:
        hint = "is this machine connected? Another location can be given with --overrides"
        raise LabctlError(Problem("a file cannot be fetched", url, str(error), hint)) from error


def _copy_image(wish: Wish, target: Path, architecture: str) -> None:
    """An image out of a registry, by skopeo, as an archive under the name that the nodes know it by."""
    source = wish.origin if wish.digest is None else f"{wish.origin.rpartition(':')[0]}@{wish.digest}"
    argv = ["skopeo", "--override-os", "linux", "--override-arch", architecture, "copy", "--quiet"]
    # As everywhere in this field, a registry on this machine needs no certificate.
    argv += ["--src-tls-verify=false"] if _LOOPBACK.match(source) else []
    argv += [f"docker://{source}", f"docker-archive:{target}:{wish.reference}"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        hint = "is this machine connected? Another location can be given with --overrides"
        raise LabctlError(Problem("an image cannot be fetched", source, done.stderr.strip(), hint))
