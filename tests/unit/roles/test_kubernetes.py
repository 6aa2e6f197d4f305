"""The role kubernetes' decisions that need no node: kernels, and what a cluster left behind."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from ansible.module_utils import kubernetes_traces as traces

from labctl.engine.events import TaskResult, TaskStart
from labctl.labs.provision import idle_cluster

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent


@pytest.fixture(scope="module")
def preflight() -> ModuleType:
    sys.path.insert(0, str(REPOSITORY / "roles/kubernetes/library"))
    try:
        return importlib.import_module("kubernetes_preflight")
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize(
    ("release", "low", "below", "fits"),
    [
        ("5.10.0-30-amd64", "5.10", None, True),
        ("5.9.16", "5.10", None, False),
        ("6.18.44-fc", "4.19", None, True),
        ("6.1.0-9", "4.19", "6.1", False),
        ("6.0.9", "4.19", "6.1", True),
        ("10.0.1", "5.10", None, True),
    ],
)
def test_kernels_are_compared_as_numbers(
    preflight: ModuleType, release: str, low: str, below: str | None, fits: bool
) -> None:
    problems = list(preflight.kernel_problems(release, low, below))
    assert (problems == []) is fits
    if problems:
        assert release in problems[0]["seen"]


def before() -> dict[str, list[str]]:
    return {"links": ["cable0", "lo"], "mounts": ["/ overlay", "/proc proc", "/proc proc"], "netfilter": []}


def test_nothing_left_is_no_difference() -> None:
    assert list(traces.differences(before(), before())) == []


def test_what_is_left_and_what_is_missing_is_named() -> None:
    after = before() | {"links": ["cni0", "lo"], "netfilter": ["table x"]}
    found = {(problem["what"], problem["seen"]) for problem in traces.differences(before(), after)}
    assert found == {
        ("The cluster is not taken away without a trace: links left behind.", "cni0"),
        ("The cluster is not taken away without a trace: links missing now.", "cable0"),
        ("The cluster is not taken away without a trace: netfilter left behind.", "table x"),
    }


def test_a_second_mount_at_the_same_place_is_one_too_many() -> None:
    after = before() | {"mounts": ["/ overlay", "/proc proc", "/proc proc", "/proc proc"]}
    (problem,) = traces.differences(before(), after)
    assert problem["seen"] == "/proc proc"


def test_a_container_that_was_started_again_is_the_one_it_was() -> None:
    once, again = ([f"/run/containerd/k8s.io/{digit * 64}/rootfs overlay"] for digit in "ab")
    assert list(traces.differences({"mounts": once}, {"mounts": again})) == []
    (problem,) = traces.differences({"mounts": once}, {"mounts": once + again})
    assert problem["seen"] == "/run/containerd/k8s.io/*/rootfs overlay"


def test_counters_and_handles_make_no_rule_another_one() -> None:
    rule = {"chain": "c", "handle": 7, "expr": [{"counter": {"packets": 1, "bytes": 60}}, {"accept": None}]}
    assert traces.plain(rule) == {"chain": "c", "expr": [{"counter": {}}, {"accept": None}]}


def test_what_an_idle_cluster_takes_is_told_by_node() -> None:
    data = {"percent": {"etcd": 1.2, "kubelet": 0.0, "kube-apiserver": 4.0}, "total": 5.2}
    event = TaskResult("kubernetes_idle", "measured", "node1", ok=True, changed=False, data=data)
    told = {"node1": "5.2 % of one CPU (etcd 1.2, kube-apiserver 4)"}
    assert idle_cluster(event) == told
    assert idle_cluster(TaskStart("play", "task")) == {}
