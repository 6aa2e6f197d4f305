"""What the site of these tests holds, and the problems that a call ends with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from labctl.core.errors import LabctlError, Problem

FILES = ("kubeadm", "kubelet", "kubectl", "runc", "containerd", "cni-plugins")
IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "pause")


def problems(call: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(LabctlError) as raised:
        call()
    return raised.value.problems
