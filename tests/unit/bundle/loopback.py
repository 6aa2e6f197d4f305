"""The site of these tests, which is on the loopback, and the problems that a call ends with."""

from __future__ import annotations

import hashlib
import io
import json
import socketserver
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import pytest
import yaml

from labctl import catalog
from labctl.catalog.editions import Edition
from labctl.core.errors import LabctlError, Problem

Answer = bytes | Callable[[BinaryIO], object]
ARCHIVES = ("containerd", "cni-plugins")
FILES = ("kubeadm", "kubelet", "kubectl", "runc", "containerd", "cni-plugins")
IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "pause")


def fill(root: Path) -> None:
    """A file per name: programs hold it, archives have a member of it, images are called by it."""
    root.mkdir()
    for name in FILES:
        (root / name).write_bytes(tar({f"bin/{name}": b"x"}) if name in ARCHIVES else program(name))
    for name in IMAGES:
        (root / name).write_bytes(image(reference(name), name))


def program(name: str) -> bytes:
    """What a kernel would start."""
    return f"#!/bin/{name}\n".encode()


def tar(members: Mapping[str, bytes], **special: bytes) -> bytes:
    """An archive of files, and of members of a `special` type by their name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, kind in special.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc"
            archive.addfile(member)
    return buffer.getvalue()


def image(called: str, content: str = "") -> bytes:
    """The archive of an image, as docker makes them."""
    config = {"Config": "config.json", "RepoTags": [called], "Layers": ["layer.tar"]}
    return tar({"config.json": b"{}", "layer.tar": content.encode(), "manifest.json": json.dumps([config]).encode()})


@contextmanager
def misbehaving(answers: Mapping[str, Answer]) -> Iterator[str]:
    """A web server that says what it is told, byte for byte, or does what it is told; the URL of it."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            path = self.rfile.readline().split()[1].decode()
            while self.rfile.readline().strip():
                pass
            answer = answers[path]
            with suppress(OSError):  # the other side had enough
                answer(cast("BinaryIO", self.wfile)) if callable(answer) else self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def reference(name: str) -> str:
    """What an image of the edition 2021 is called on the nodes."""
    return catalog.load().editions["2021"].images[name].reference


def of_site(root: Path, url: str) -> Edition:
    """The edition 2021 with its files in `root`, served at `url`: what `overrides` say of it."""
    shipped = catalog.load().editions["2021"]
    files = {
        name: replace(shipped.files[name], origin=f"{{site}}/{name}", sha256={"amd64": sha256(root / name)})
        for name in FILES
    }
    images = {name: replace(shipped.images[name], origin=f"{{site}}/{name}") for name in IMAGES}
    return replace(shipped, locations={"site": url}, files=files, images=images)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def overrides(root: Path, url: str) -> str:
    """What says of the edition 2021 that its files are those in `root`, served at `url`."""
    entries: dict[str, object] = {
        name: {
            "origin": f"{{site}}/{name}",
            "sha256": {"amd64": sha256(root / name)},
        }
        for name in FILES
    }
    images = {name: {"origin": f"{{site}}/{name}"} for name in IMAGES}
    edition = {"locations": {"site": url}, "files": {**entries, "crictl": None}, "images": images}
    return yaml.safe_dump({"2021": edition})


def problems(call: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(LabctlError) as raised:
        call()
    return raised.value.problems
