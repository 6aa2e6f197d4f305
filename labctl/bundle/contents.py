"""What a file of a bundle holds: that it can become what it is for, and that unpacking it stays where it should.

A checksum says that a file is the one that was fetched, not that it is any good: what a server sent in place of an
image, or what somebody else packed into an archive, is found here, before anything of a bundle is used.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, cast

from labctl.catalog.editions import Use

LARGEST_BYTES = 16 << 30  # of what an archive unpacks to
MOST_MEMBERS = 50_000
LARGEST_HEADER = 1 << 20  # bytes that are read at once for a name, or for the words about an image
SHOWN = 60
_COMPRESSED: Mapping[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError, ArithmeticError)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)


def fault(file: BinaryIO, use: Use, reference: str | None) -> str | None:
    """Why a file cannot be what it is for; None where nothing is against it. The file is read from its beginning."""
    file.seek(0)
    if use is Use.PROGRAM:
        begin = file.read(4)
        return None if begin == b"\x7fELF" or begin.startswith(b"#!") else f"no program: it begins with {begin!r}"
    try:
        with _archive(file) as archive:
            found = _unwanted(archive) if use is Use.ARCHIVE else _image_fault(archive, str(reference))
            if found is None:
                _read_rest(archive)
            return found
    except RecursionError:
        return "an archive whose names are nested"
    except _DAMAGED as error:
        return f"no whole tar archive: {' '.join(str(error).split())[:SHOWN] or type(error).__name__}"


class _Careful:
    """A stream in which a tar archive is read: no header of it is larger than any that is honest."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        """The next bytes; tarfile asks for as many as a header says."""
        if not 0 <= size <= LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._stream.read(size)


@contextmanager
def _archive(file: BinaryIO) -> Iterator[tarfile.TarFile]:
    """A tar archive, whatever it is compressed with."""
    begin = file.read(8)
    file.seek(0)
    opener = next((opener for magic, opener in _COMPRESSED.items() if begin.startswith(magic)), None)
    stream = cast("IO[bytes]", _Careful(file if opener is None else opener(file)))
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        yield archive


def _read_rest(archive: tarfile.TarFile) -> None:
    """Read what follows the last member: a compressed stream has its own checksum at its end."""
    stream = cast("IO[bytes]", archive.fileobj)
    for _ in range(LARGEST_BYTES // LARGEST_HEADER):
        if not stream.read(LARGEST_HEADER):
            return
    raise tarfile.ReadError("it has no end")


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members, as long as they are no more and no larger than what a node has room for."""
    size = 0
    for count, member in enumerate(archive):
        size += member.size
        if count >= MOST_MEMBERS or size > LARGEST_BYTES:
            raise tarfile.ReadError(f"more than {MOST_MEMBERS} files, or {LARGEST_BYTES >> 30} GiB")
        yield member


def _unwanted(archive: tarfile.TarFile) -> str | None:
    """What an archive holds that is not to be unpacked: links, devices, ways out of the directory."""
    empty = True
    for member in _members(archive):
        empty = False
        if not (member.isdir() or (member.type in _FILES and not member.issparse())):
            return f"an archive with something else than files and directories: {member.name[:SHOWN]!r}"
        if leads_out(member.name):
            return f"an archive with a way out of its directory: {member.name[:SHOWN]!r}"
    return "an archive with nothing in it" if empty else None


def leads_out(name: str) -> bool:
    """Whether the name of a member stands for something outside the directory in which it is unpacked."""
    return name.startswith("/") or ".." in PurePosixPath(name).parts


def _image_fault(archive: tarfile.TarFile, reference: str) -> str | None:
    """Why an archive is not that of an image: it names none, another, or one that it does not hold."""
    names: set[str] = set()
    words: dict[str, Any] = {}
    for member in _members(archive):
        name = member.name.removeprefix("./")
        names.add(name)
        if name in ("manifest.json", "index.json") and member.isfile():
            words[name] = json.loads(cast("IO[bytes]", archive.extractfile(member)).read(LARGEST_HEADER))
    if not words:
        return "no archive of an image: it has neither manifest.json nor index.json"
    try:
        tags = {str(tag) for image in words.get("manifest.json", ()) for tag in image["RepoTags"] or ()}
        parts = [part for image in words.get("manifest.json", ()) for part in (image["Config"], *image["Layers"])]
        known = [image.get("annotations") or {} for image in words.get("index.json", {}).get("manifests", ())]
        tags |= {str(said["io.containerd.image.name"]) for said in known if "io.containerd.image.name" in said}
        parts += [
            f"blobs/{image['digest'].replace(':', '/')}" for image in words.get("index.json", {}).get("manifests", ())
        ]
    except (TypeError, KeyError, AttributeError):
        return "no archive of an image: its own description is none"
    if lacking := [part for part in parts if part not in names]:
        return f"an image without {str(lacking[0])[:SHOWN]!r}, of which it speaks"
    if full(reference) not in map(full, tags):
        return f"the archive of another image: {', '.join(sorted(tags))[: 2 * SHOWN] or 'one without a name'}"
    return None


def full(reference: str) -> str:
    """The name of an image with what is left out of a short one."""
    registry, slash, _ = reference.partition("/")
    if slash and (registry == "localhost" or "." in registry or ":" in registry):
        return reference
    return f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"
