"""Idle: whether the CPUs of captured nodes can be kept awake, and what check says of the way they sleep."""

from __future__ import annotations

from typing import Any

import pytest

from labctl.nodes.fingerprint import Fingerprint
from labctl.nodes.idle import awake_refused, no_device, sleeps
from labctl.nodes.rules import Level
from tests.unit.nodes.captured import Change, bad, put, seen

DEVICE = "/dev/cpu_dma_latency"
SERVER = [
    {"name": "POLL", "latency_us": 0, "disabled": False},
    {"name": "C1", "latency_us": 2, "disabled": False},
    {"name": "C6", "latency_us": 133, "disabled": False},
]
NONE = {"driver": "none", "governor": None, "states": None}
LACKING = "the kernel has no cpuidle driver (current_driver: none)"
ROOT = "labctl is not root on this machine"


def request(refused: str | None) -> dict[str, Any]:
    return {"requested_us": None if refused else 2_000_000_000, "refused": refused}


def both(*changes: Change) -> Change:
    def change(document: dict[str, Any]) -> None:
        for each in changes:
            each(document)

    return change


def test_a_lab_on_this_machine_asks_this_machine() -> None:
    in_a_container = seen(both=put("state.wake_latency", request("No such file or directory")))
    assert awake_refused("local", in_a_container, None) is None
    assert awake_refused("local", in_a_container, ROOT) == ROOT
    assert awake_refused("local", seen(both=put("cpu.idle", NONE)), ROOT) == LACKING


def test_machines_of_their_own_are_asked_each() -> None:
    assert awake_refused("vm", seen(both=put("state.wake_latency", request(None))), ROOT) is None
    refused = seen(
        node1=put("state.wake_latency", request("Permission denied")),
        node2=both(put("cpu.idle", NONE), put("state.wake_latency", request(None))),
    )
    assert awake_refused("metal", refused, None) == f"node1: {DEVICE}: Permission denied; node2: {LACKING}"


def test_a_kernel_that_polls_needs_no_request() -> None:
    polling = both(
        put("cpu.idle", NONE),
        put("kernel.cmdline", "quiet idle=poll"),
        put("state.wake_latency", request("Permission denied")),
    )
    assert awake_refused("vm", seen(both=polling), None) is None
    assert "idle driver" not in {finding.subject for finding in bad("vm", seen(both=polling))}


def test_a_node_that_was_not_asked_refuses_nothing() -> None:
    captured = seen()
    assert no_device(captured["node1"]) is None
    assert awake_refused("vm", captured, None) is None


def test_a_state_that_is_switched_off_is_no_sleep() -> None:
    states = [*SERVER[:2], {**SERVER[2], "disabled": True}]
    assert [each["name"] for each in sleeps(seen(node1=put("cpu.idle.states", states))["node1"])] == ["C1"]


@pytest.mark.parametrize(
    ("change", "subject", "words"),
    [
        (put("cpu.idle", NONE), "idle driver", LACKING),
        (
            both(put("cpu.idle.states", SERVER), put("state.wake_latency", request("Permission denied"))),
            "idle states",
            f"C1 2 us, C6 133 us ({DEVICE}: Permission denied)",
        ),
    ],
)
def test_check_warns_of_cpus_that_sleep_whatever_is_asked(change: Change, subject: str, words: str) -> None:
    found = [each for each in bad("vm", seen(both=change)) if each.subject.startswith("idle")]
    assert {(each.subject, each.seen, each.level) for each in found} == {(subject, words, Level.WARNING)}
    assert all(each.action for each in found)


def test_deep_states_that_a_request_keeps_the_cpus_from_are_fine() -> None:
    held = both(put("cpu.idle.states", SERVER), put("state.wake_latency", request(None)))
    assert [each for each in bad("vm", seen(both=held)) if each.subject.startswith("idle")] == []


def test_a_cluster_that_one_has_says_nothing_of_it() -> None:
    told = Fingerprint({"schema": "labctl.fingerprint/1", "identity": "x", "kernel": {"release": "6.1.0"}})
    assert awake_refused("cluster", {"node1": told}, None) is None
