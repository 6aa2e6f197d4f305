"""A container image from files, as an archive in OCI layout (image-spec 1.0): one layer, nothing but what is named."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

EPOCH = "1970-01-01T00:00:00Z"


def _entry(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    archive.addfile(info, io.BytesIO(data))


def _layer(files: Mapping[str, Path], links: Mapping[str, str]) -> bytes:
    """The layer: `files` by their path in the image, and symbolic `links` to their target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        directories = {str(parent) for name in (*files, *links) for parent in Path(name).parents} - {"."}
        for name in sorted({*directories, "tmp"}):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(info)
        for name, source in sorted(files.items()):
            _entry(archive, name, source.read_bytes(), 0o755)
        for name, target in sorted(links.items()):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


def write_image(
    path: Path,
    reference: str,
    files: Mapping[str, Path],
    links: Mapping[str, str],
    entrypoint: Sequence[str],
    architecture: str,
) -> None:
    """Write the archive of an image called `reference`, which holds `files` and starts `entrypoint`."""
    layer = _layer(files, links)
    packed = gzip.compress(layer, compresslevel=1, mtime=0)
    blobs: dict[str, bytes] = {}

    def add(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    config = {
        "created": EPOCH,
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Entrypoint": list(entrypoint)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": EPOCH, "created_by": "labctl's tests"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": add(json.dumps(config).encode(), "config.v1+json"),
        "layers": [add(packed, "layer.v1.tar+gzip")],
    }
    described = add(json.dumps(manifest).encode(), "manifest.v1+json")
    described["annotations"] = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    with tarfile.open(path, "w") as archive:
        _entry(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _entry(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [described]}).encode())
        for digest, data in blobs.items():
            _entry(archive, f"blobs/sha256/{digest}", data)
