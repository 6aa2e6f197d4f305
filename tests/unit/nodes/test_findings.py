"""The preflight's findings: of nodes, of their host, of both ends compared, and of nodes that did not answer."""

from __future__ import annotations

from typing import Any

import pytest

from labctl.catalog import CLUSTER
from labctl.core.errors import Problem
from labctl.engine.outcome import Failure, hint_for
from labctl.nodes import findings as check
from labctl.nodes.rules import Level
from tests.unit.nodes.captured import bad, inventory, only, put, seen


def test_idle_local_lab_has_nothing_to_say_and_says_what_it_looked_at() -> None:
    found = check.findings(inventory("local"), seen(), ())
    assert {finding.level for finding in found} == {Level.OK}
    assert not check.failed(found)
    assert all(finding.action == "" for finding in found)
    assert {finding.node for finding in found} == {"node1", "node2", "host", "both"}
    by_subject = {(finding.node, finding.subject): finding.seen for finding in found}
    assert by_subject["node1", "netperf"] == "2.7.0"
    assert by_subject["node1", "network card"] == "no NIC (veth)"
    assert by_subject["host", "conntrack table"] == "262144 entries, 262144 buckets"
    assert by_subject["host", "CPU accounting"] == "sampled by the tick, HZ 250"
    assert by_subject["both", "kernel"] == "6.18.44-fc-v669"
    assert by_subject["both", "MTU"] == "1500"


@pytest.mark.parametrize(
    ("path", "value", "subject", "words"),
    [
        (
            "cpu.frequency.governors",
            {"performance": "0", "powersave": "1"},
            "governor",
            "performance on 0, powersave on 1",
        ),
        ("network.conntrack.nf_conntrack_max", 65536, "conntrack table", "65536 entries, 262144 buckets"),
        ("kernel.config.KASAN", "y", "debugging kernel", "built with KASAN"),
        ("kernel.config.NET_CLS_BPF", "n", "kernel for veth-ebpf", "without NET_CLS_BPF"),
        ("kernel.release", "5.9.16", "kernel for veth-ebpf", "5.9.16"),
        ("kernel.config.NF_NAT", "n", "kernel for veth-iptables", "without NF_NAT"),
        ("state.steal_pct_since_boot", 4.25, "stolen CPU time", "4.2 % since boot"),
        ("state.load", [3.5, 1.0, 1.0], "load", "3.50 on 2 threads"),
    ],
)
def test_what_belongs_to_the_machine_is_the_hosts_on_a_local_lab(
    path: str, value: object, subject: str, words: str
) -> None:
    finding = only("local", both=put(path, value))
    assert (finding.node, finding.subject, finding.level) == ("host", subject, Level.WARNING)
    assert words in finding.seen
    assert "host's, not changed" in finding.seen
    on_metal = [each for each in bad("metal", seen(both=put(path, value))) if each.subject == subject]
    assert [each.node for each in on_metal] == ["node1", "node2"]
    assert not any("host's" in each.seen for each in on_metal)


@pytest.mark.parametrize(
    ("path", "value", "subject", "level", "words"),
    [
        ("link.mtu", 9000, "MTU", "error", "link.mtu: 1500 / 9000"),
        ("versions.netperf", "2.7.1", "netperf version", "error", "versions.netperf: 2.7.0 / 2.7.1"),
        ("kernel.release", "6.1.0-30", "kernel", "warning", "kernel.release: 6.18.44-fc-v669 / 6.1.0-30"),
        ("cpu.microcode", "0x2", "CPU", "warning", "cpu.microcode: 0x1000065 / 0x2"),
        ("cpu.mitigations.retbleed", "Vulnerable", "mitigations", "warning", "Not affected / Vulnerable"),
        ("nic.firmware", "4.20", "card and its settings", "warning", "nic.firmware: none / 4.20"),
        ("versions.python", "3.13.1", "versions", "warning", "versions.python: 3.11.2 / 3.13.1"),
        ("sysctl.namespace.net.ipv4.tcp_rmem", None, "settings", "warning", "tcp_rmem"),
        ("network.netfilter", {"ip left-over": 3}, "netfilter and tc", "warning", "network.netfilter.ip left-over"),
    ],
)
def test_ends_that_differ_are_told_by_the_narrowest_subject(
    path: str, value: object, subject: str, level: str, words: str
) -> None:
    change = put(path, value)
    if path.startswith("sysctl."):  # a name with dots

        def change(document: dict[str, Any]) -> None:
            document["sysctl"]["namespace"]["net.ipv4.tcp_rmem"] = "4096 1 2"

    both = [finding for finding in bad("local", seen(node2=change)) if finding.node == "both"]
    assert [(finding.subject, finding.level) for finding in both] == [(subject, level)]
    assert words in both[0].seen


def test_many_differences_are_cut_to_a_readable_number() -> None:
    def change(document: dict[str, Any]) -> None:
        document["sysctl"]["namespace"] |= {f"net.ipv4.tcp_{number}": "1" for number in range(7)}

    (finding,) = bad("local", seen(node2=change))
    assert finding.seen.endswith("; 4 more")


# Messages as ansible-core 2.19 and OpenSSH 9.2 wrote them about a lab broken on purpose.
SENT = (
    'Task failed: Data could not be sent to remote host "198.18.252.12". Make sure this host can be reached over ssh: '
)
MESSAGES = {
    SENT + "root@198.18.252.12: Permission denied (publickey,password).": "SSH key",
    SENT + "No ED25519 host key is known for 198.18.252.12 and you have requested strict checking.\r\n"
    "Host key verification failed.": "host key",
    SENT + "ssh: connect to host 198.18.252.12 port 2223: Connection refused": "answer",
    SENT + "Connection timed out during banner exchange": "answer",
    "The module interpreter '/usr/bin/python9' was not found.\n/bin/sh: 1: /usr/bin/python9: not found": "python",
}


@pytest.mark.parametrize("message", MESSAGES, ids=list(MESSAGES.values()))
def test_node_that_gives_no_fingerprint_is_an_error_that_says_why(message: str) -> None:
    fingerprints = seen()
    del fingerprints["node2"]
    failure = Failure("check.yml", "The node's fingerprint is known", "node2", message, hint_for(message))
    (finding,) = bad("local", fingerprints, [failure], ["node2"])
    assert (finding.level, finding.node, finding.subject) == (Level.ERROR, "node2", MESSAGES[message])
    assert " ".join(message.split()) == finding.seen
    assert finding.action
    assert check.failed([finding])


def test_node_nobody_asked_is_an_error() -> None:
    fingerprints = seen()
    del fingerprints["node2"]
    (finding,) = bad("local", fingerprints, limited=True)
    assert (finding.node, finding.seen, finding.action) == ("node2", "not asked", "leave out --limit")
    (finding,) = bad("local", fingerprints)
    assert (finding.node, finding.seen, finding.action) == ("node2", "not asked: the look ended before", check.AGAIN)


def test_a_node_that_answers_and_cannot_be_looked_at_is_told_without_ssh_each_problem_by_itself() -> None:
    problems = (Problem("no ethtool", "node2, /usr/sbin", "no such file", "install it"), Problem("no tc", "node2"))
    failures = [Failure("check.yml", "Look", "node2", "no ethtool\nno tc", problems=problems)]
    fingerprints = seen()
    del fingerprints["node2"]
    told = [(each.node, each.subject, each.seen, each.action) for each in bad("local", fingerprints, failures)]
    assert told == [
        ("node2", "look", "no ethtool (/usr/sbin): no such file", "install it"),
        ("node2", "look", "no tc", check.AGAIN),
    ]
    (plain,) = bad("local", fingerprints, [Failure("check.yml", "Look", "node2", "it broke")])
    assert (plain.subject, plain.wanted, plain.action) == ("look", check.NOTHING, check.FOLLOW)


def test_what_ends_the_look_at_a_cluster_is_all_that_is_told_of_it() -> None:
    problems = tuple(Problem("not Ready", f"node {name}", "no CNI", f"describe {name}") for name in ("node1", "node2"))
    failures = [Failure("check.yml", "Look", "node1", "not Ready\nnot Ready", problems=problems)]
    told = [(each.node, each.seen, each.action) for each in bad(CLUSTER, {}, failures)]
    assert told == [(CLUSTER, f"not Ready (node {name}): no CNI", f"describe {name}") for name in ("node1", "node2")]
    assert [each.seen for each in bad(CLUSTER, {}, limited=True)] == ["not asked", "not asked"]


def test_rows_come_worst_first() -> None:
    found = check.findings(inventory("local"), seen(node2=put("link.mtu", 9000)), ())
    rows = check.records(found)
    assert len(rows) == len(found)
    levels = [row["level"] for row in rows]
    assert levels == sorted(levels, key=["error", "warning", "ok"].index)
    assert [tuple(row.values()) for row in rows if row["level"] == "error"] == [
        ("error", "both", "MTU", "the same at both ends", "link.mtu: 1500 / 9000", check.PAIRS[0].action),
    ]
