"""An OCI image out of files of this machine: one layer, written as an archive that any runtime can import.

The format is the OCI image layout (image-spec 1.0): a tar with `oci-layout`, `index.json` and the blobs. The same files
give the same bytes, and so the same digest: names sorted, owners root, times zero.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from typing import Dict, Iterable, List, Mapping, Tuple

MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TYPE = "application/vnd.oci.image."


def directories_of(paths: Iterable[str]) -> List[str]:
    """Every directory above these absolute paths, without the root, parents first."""
    found = set()
    for path in paths:
        while path.strip("/"):
            path = os.path.dirname(path)
            found.add(path.strip("/"))
    return sorted(found - {""})


def layer(files: Mapping[str, str]) -> bytes:
    """A tar of regular files: path in the image to path on this machine, whose links are followed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in [*directories_of(files), "tmp"]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name, source in sorted(files.items()):
            with open(source, "rb") as stream:
                content = stream.read()
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.size = len(content)
            entry.mode = 0o755 if os.access(source, os.X_OK) else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def describe(kind: str, content: bytes) -> Dict[str, object]:
    """A content descriptor."""
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    return {"mediaType": TYPE + kind, "digest": digest, "size": len(content)}


def text_of(value: object) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def image(files: Mapping[str, str], machine: str, entrypoint: List[str]) -> Tuple[Dict[str, bytes], Dict[str, object]]:
    """The blobs of an image by digest, and the descriptor of its manifest."""
    content = layer(files)
    layers = describe("layer.v1.tar", content)
    config = text_of(
        {
            "architecture": MACHINES.get(machine, machine),
            "os": "linux",
            "config": {"Env": ["PATH=" + PATH], "Entrypoint": entrypoint},
            "rootfs": {"type": "layers", "diff_ids": [layers["digest"]]},
        }
    )
    manifest = text_of(
        {
            "schemaVersion": 2,
            "mediaType": TYPE + "manifest.v1+json",
            "config": describe("config.v1+json", config),
            "layers": [layers],
        }
    )
    descriptors = [(layers, content), (describe("config.v1+json", config), config)]
    blobs = {str(descriptor["digest"]): blob for descriptor, blob in descriptors}
    found = describe("manifest.v1+json", manifest)
    blobs[str(found["digest"])] = manifest
    return blobs, found


def write(path: str, name: str, blobs: Mapping[str, bytes], manifest: Mapping[str, object]) -> None:
    """Write the archive; `name` is the whole reference under which a runtime is to know the image."""
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    entries = {
        "oci-layout": text_of({"imageLayoutVersion": "1.0.0"}),
        "index.json": text_of({"schemaVersion": 2, "manifests": [dict(manifest, annotations=annotations)]}),
        **{"blobs/" + digest.replace(":", "/"): blob for digest, blob in blobs.items()},
    }
    draft = path + ".new"
    with tarfile.open(draft, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry_name, content in sorted(entries.items()):
            entry = tarfile.TarInfo(entry_name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    os.replace(draft, path)
