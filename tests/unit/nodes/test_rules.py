"""What a node should be: each fault that is put into a captured fingerprint is named, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from labctl.nodes import findings as check
from labctl.nodes.rules import CRR_PORTS, Level
from tests.unit.nodes.captured import bad, inventory, only, put, seen


@pytest.mark.parametrize(
    ("path", "value", "subject", "level", "words"),
    [
        ("link", None, "cable", "error", "no such interface"),
        ("link.up", False, "cable", "error", "down"),
        ("link.carrier", False, "cable", "error", "up, no carrier"),
        ("link.addresses", ["198.18.9.9/25", "fe80::1/64"], "cable address", "error", "198.18.9.9/25"),
        (
            "nic.features.tcp-segmentation-offload",
            True,
            "segmentation offload",
            "error",
            "on: tcp-segmentation-offload",
        ),
        ("nic.features.generic-receive-offload", True, "segmentation offload", "error", "on: generic-receive-offload"),
        ("versions.nft", None, "tools", "warning", "missing: nft"),
        ("services.irqbalance", {"active": True, "enabled": True}, "irqbalance", "warning", "running, enabled"),
        ("services.irqbalance", {"active": False, "enabled": True}, "irqbalance", "warning", "stopped, enabled"),
        ("congestion_control.available", ["bbr", "reno"], "congestion control", "warning", "bbr, reno (default bbr)"),
    ],
)
def test_each_fault_of_a_node_is_named(path: str, value: object, subject: str, level: str, words: str) -> None:
    found = bad("local", seen(node2=put(path, value)))
    own = [finding for finding in found if finding.node == "node2"]
    assert [(finding.subject, finding.level) for finding in own] == [(subject, level)]
    assert own[0].seen == words
    assert own[0].action
    # The other end differs now; that is told as well, and no other node is blamed.
    assert {finding.node for finding in found} <= {"node2", "both"}


def test_conntrack_table_holds_every_tuple_that_crr_can_walk() -> None:
    entries = CRR_PORTS * 2  # two threads, one process each
    assert bad("local", seen(both=put("network.conntrack.nf_conntrack_max", entries))) == []
    finding = only("local", both=put("network.conntrack.nf_conntrack_max", entries - 1))
    assert finding.wanted == ">= 121072 entries (60536 per process)"
    assert bad("local", seen(both=put("network.conntrack", None))) == []


def test_kernel_whose_options_cannot_be_read_is_not_blamed() -> None:
    assert bad("local", seen(both=put("kernel.config", None))) == []


def test_lab_without_netperf_is_told_to_be_provisioned_and_has_no_error() -> None:
    found = bad("local", seen(both=put("versions.netperf", None)))
    assert [(each.node, each.subject, each.level, each.seen) for each in found] == [
        ("node1", "netperf", Level.WARNING, "not installed"),
        ("node2", "netperf", Level.WARNING, "not installed"),
    ]
    assert found[0].action == "run `labctl provision`"
    one_sided = bad("local", seen(node2=put("versions.netperf", None)))
    assert not check.failed(one_sided)


def test_real_machines_are_asked_for_more() -> None:
    def machine(document: dict[str, Any]) -> None:
        document["machine"] |= {"vm": None, "container": None}
        document["cpu"]["flags"].remove("hypervisor")
        document["nic"] |= {"hardware": True, "driver": "ice", "firmware": "4.40", "speed_mbps": 100000}
        document["nic"]["pause"] = {"Autonegotiate": False, "RX": True, "TX": True}
        document["state"]["clock_synchronized"] = False
        document["cpu"]["frequency"] |= {"driver": "acpi-cpufreq", "boost": True, "governors": {"schedutil": "0-1"}}

    found = [(each.subject, each.seen) for each in bad("metal", seen(both=machine)) if each.node == "node1"]
    assert found == [
        ("pause frames", "on: RX, TX"),
        ("clock", "not synchronised"),
        ("governor", "schedutil on 0-1 (acpi-cpufreq)"),
    ]
    said = {each.subject: each.seen for each in check.findings(inventory("metal"), seen(both=machine), ())}
    assert said["network card"] == "ice, 4.40, 100000 Mbit/s"
    assert said["boost"] == "on"


def test_lab_of_real_machines_that_is_virtual_is_noticed() -> None:
    subjects = {each.subject for each in bad("metal", seen()) if each.node == "node1"}
    assert {"virtual machine", "network card"} <= subjects


def test_emulated_guests_are_told_and_others_are_not() -> None:
    emulated = [
        finding for finding in bad("vm", seen(both=put("machine.vm", "qemu"))) if finding.subject == "virtual machine"
    ]
    assert [(finding.node, finding.level) for finding in emulated] == [
        ("node1", Level.WARNING),
        ("node2", Level.WARNING),
    ]
    assert "without KVM" in emulated[0].seen
    kvm = bad("vm", seen(both=put("machine.vm", "kvm")))
    assert [finding for finding in kvm if finding.subject == "virtual machine"] == []
    assert not any(fingerprint.emulated for fingerprint in seen().values())
