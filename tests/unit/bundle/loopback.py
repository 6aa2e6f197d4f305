"""The site of these tests, which is on the loopback, and the problems that a call ends with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from labctl.core.errors import LabctlError, Problem

FILES = ("kubeadm", "kubelet", "kubectl", "runc", "containerd", "cni-plugins")
IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "pause")


def fill(root: Path) -> None:
    """A file per name, which holds its name."""
    root.mkdir()
    for name in (*FILES, *IMAGES):
        (root / name).write_text(f"{name}\n")


def overrides(root: Path, url: str) -> str:
    """What says of the edition 2021 that its files are those in `root`, served at `url`."""
    entries: dict[str, object] = {
        name: {
            "origin": f"{{site}}/{name}",
            "sha256": {"amd64": hashlib.sha256((root / name).read_bytes()).hexdigest()},
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
