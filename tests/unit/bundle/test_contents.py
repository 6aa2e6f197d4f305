"""What files of a bundle hold: archives that stay where they are unpacked, images that are the ones they should be."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile

import pytest

from labctl.bundle.contents import fault
from labctl.catalog.editions import Use
from tests.unit.bundle.loopback import image, tar

PAUSE = "registry.k8s.io/pause:3.2"
GOOD = tar({"bin/one": b"x" * 100_000, "two": b"y" * 5000})


def of(content: bytes, use: Use = Use.ARCHIVE) -> str | None:
    return fault(io.BytesIO(content), use, PAUSE if use is Use.IMAGE else None)


def named(name: str, size: int, repeated: int = 1) -> bytes:
    """The beginning of an archive with a long name of some size."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, size
    return (member.tobuf(tarfile.GNU_FORMAT) + name.encode().ljust(512, b"\0")) * repeated


@pytest.mark.parametrize("packed", [GOOD, gzip.compress(GOOD), bz2.compress(GOOD), lzma.compress(GOOD)])
def test_a_whole_archive_is_good_and_one_that_ends_early_is_not(packed: bytes) -> None:
    assert of(packed) is None
    for end in (0, 3, len(packed) // 2, len(packed) - 12_000 if packed is GOOD else len(packed) - 5):
        assert "no whole tar archive" in str(of(packed[:end])), end


def test_a_damaged_compressed_archive_is_found_by_its_own_checksum() -> None:
    assert "CRC check failed" in str(of(gzip.compress(GOOD)[:-8] + bytes(8)))
    assert "no whole tar archive" in str(of(b"\x1f\x8b" + b"junk" * 100))


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b", ".."])
def test_a_way_out_is_refused(name: str) -> None:
    assert "a way out of its directory" in str(of(tar({"good": b"1", name: b"2"})))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes) -> None:
    assert "something else than files and directories: 'bin/link'" in str(of(tar({"good": b"1"}, **{"bin/link": kind})))


def test_what_would_fill_a_machine_is_refused() -> None:
    large = tarfile.TarInfo("large")
    large.size = 1 << 50
    assert "more than" in str(of(large.tobuf(tarfile.GNU_FORMAT) + b"x" * 2000))
    assert "no whole tar archive" in str(of(named("x", 1 << 35)))
    assert of(named("x", 20, repeated=5000)) == "an archive whose names are nested"
    assert of(tar({})) == "an archive with nothing in it"


@pytest.mark.parametrize(
    "page", [b"", b"<!DOCTYPE html><html>Sign in</html>" * 50, b'{"error": "gone"}', b"Not found\n"]
)
def test_a_page_is_neither_archive_nor_image_nor_program(page: bytes) -> None:
    assert "no whole tar archive" in str(of(page))
    assert "no whole tar archive" in str(of(page, Use.IMAGE))
    assert "no program" in str(of(page, Use.PROGRAM))


def test_programs_are_what_a_kernel_starts() -> None:
    assert of(b"\x7fELF\x02\x01", Use.PROGRAM) is None
    assert of(b"#!/bin/sh\n", Use.PROGRAM) is None


def test_an_image_is_called_what_it_should_be() -> None:
    assert of(image(PAUSE), Use.IMAGE) is None
    assert (
        of(image("registry.k8s.io/pause:3.3"), Use.IMAGE) == "the archive of another image: registry.k8s.io/pause:3.3"
    )
    assert "neither manifest.json nor index.json" in str(of(GOOD, Use.IMAGE))
    short = io.BytesIO(image("docker.io/library/pause:3.2"))
    assert fault(short, Use.IMAGE, "pause:3.2") is None


def oci(manifests: object) -> bytes:
    return tar({"index.json": json.dumps({"manifests": manifests}).encode(), "blobs/sha256/ab": b"{}"})


def test_an_image_in_oci_layout_is_called_by_its_annotation() -> None:
    said = {"io.containerd.image.name": PAUSE}
    assert of(oci([{"digest": "sha256:ab", "annotations": said}]), Use.IMAGE) is None
    assert "one without a name" in str(of(oci([{"digest": "sha256:ab"}]), Use.IMAGE))
    assert "without 'blobs/sha256/cd'" in str(of(oci([{"digest": "sha256:cd", "annotations": said}]), Use.IMAGE))


@pytest.mark.parametrize(
    "words", [b"3", b"[]", b"[1]", b"null", b'[{"RepoTags": 3}]', b"{}x", b"\xff", b"[" * 100_000, b"x" * 2_000_000]
)
def test_words_about_an_image_that_are_none_are_refused(words: bytes) -> None:
    assert of(tar({"manifest.json": words}), Use.IMAGE)
    assert of(tar({"index.json": words}), Use.IMAGE)


def test_what_an_image_speaks_of_is_in_it() -> None:
    config = [{"Config": "gone.json", "RepoTags": [PAUSE], "Layers": []}]
    assert "without 'gone.json'" in str(of(tar({"manifest.json": json.dumps(config).encode()}), Use.IMAGE))
