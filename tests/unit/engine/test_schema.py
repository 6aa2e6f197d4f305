"""The schema of an inventory: what is wrong with values, all at once."""

from __future__ import annotations

from typing import Any

import pytest

from labctl.core.errors import Problem
from labctl.engine import schema
from labctl.engine.schema import Host

SOUND: dict[str, Any] = {
    "lab_name": "mine",
    "lab_kind": "metal",
    "cable_interface": "enp1s0f0",
    "cable_address": "192.0.2.1",
    "pod_network": "198.51.100.0/26",
}
OTHER = SOUND | {"cable_address": "192.0.2.2", "pod_network": "198.51.100.64/26"}


def host(name: str, values: dict[str, Any], **places: str) -> Host:
    return Host(name, values, {}, places, values)


def problems(values: dict[str, Any], other: dict[str, Any] | None = None) -> list[Problem]:
    ends = host("a", SOUND | values), host("b", OTHER | (values if other is None else other))
    return schema.problems(ends[0].values["lab_kind"], *ends, [], "LAB")


def test_a_sound_lab_has_no_problems() -> None:
    assert problems({}) == []
    usual = {
        "ansible_host": "fe80::1%eth0",
        "ansible_port": "2222",
        "kernel_line": "6.12",
        "kernel_cmdline": ["memmap=4G$12G", "isolcpus=2-5"],
        "kernel_managed": "yes",
        "lab_cables": 3,
        "kernel_source_fragment": ["CONFIG_X=y"],
        "measure_rest_limit_s": 0,
    }
    assert problems(usual) == []


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"lab_kind": "bare-metal"}, "none of the values"),
        ({"lab_kind": "mettal"}, "none of the values"),
        ({"lab_kind": ["metal"]}, "none of the values"),
        ({"lab_name": "a/b"}, "cannot be the name of a lab"),
        ({"lab_name": ""}, "cannot be the name of a lab"),
        ({"lab_name": None}, "cannot be the name of a lab"),
        ({"lab_name": "x" * 5000}, "cannot be the name of a lab"),
        ({"lab_kind": "local", "lab_name": "Upper"}, "cannot be the name of a lab on this machine"),
        ({"cable_interface": "eth0; id"}, "no interface can have this name"),
        ({"cable_interface": ".."}, "no interface can have this name"),
        ({"cable_interface": "a" * 16}, "no interface can have this name"),
        ({"ansible_port": 0}, "out of range"),
        ({"ansible_port": 65536}, "out of range"),
        ({"ansible_port": "ssh"}, "no whole number"),
        ({"ansible_port": True}, "no whole number"),
        ({"ansible_host": "a b"}, "neither an address nor the name of a machine"),
        ({"tunnel_mtu": 100}, "out of range"),
        ({"local_lab_index": 255}, "out of range"),
        ({"local_lab_index": -1}, "out of range"),
        ({"kernel_line": 5.1}, "not what it can be"),
        ({"kernel_cmdline": "quiet"}, "no list"),
        ({"kernel_cmdline": ["a b"]}, "not one word"),
        ({"kernel_cmdline": ["a\nb"]}, "line break"),
        ({"kernel_preempt": "rt"}, "none of the values"),
        ({"kernel_managed": "perhaps"}, "neither true nor false"),
        ({"netperf_port": 70000}, "out of range"),
        ({"vm_lab_mirror": "http://a b"}, "no URI"),
        ({"vm_lab_mirror": "[trusted=yes] http://a"}, "no URI"),
        ({"local_lab_release": "bookworm main\ndeb x"}, "line break"),
        ({"local_lab_packages": ["a,b"]}, "no package"),
        ({"vm_lab_cache_dir": "/a,b"}, "cannot name this directory"),
        ({"local_lab_state_dir": "/a:b"}, "cannot name this directory"),
        ({"local_lab_state_dir": "relative"}, "cannot name this directory"),
        ({"local_lab_nspawn_options": ["--x\u2028y"]}, "line break"),
        ({"netperf_pods_image": "a b"}, "names no image"),
        ({"cni_cilium_values": []}, "no mapping"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_can(values: dict[str, Any], why: str) -> None:
    found = [problem for problem in problems(values) if why in problem.what]
    assert found
    assert all(problem.hint for problem in found)
    assert all(len(str(problem.seen)) < 200 for problem in found)


def test_ipv6_is_refused_by_saying_so() -> None:
    (found,) = problems({"cable_address": "::1"}, {})
    assert found.where == "LAB: cable_address of a"
    assert "IPv6 is not measured yet" in found.what


def test_what_is_missing_is_told_with_what_was_meant_perhaps() -> None:
    def end(name: str, values: dict[str, Any]) -> Host:
        given = {("cable_adress" if key == "cable_address" else key): value for key, value in values.items()}
        return host(name, given, cable_adress=f"LAB/hosts.yml: {name}")

    problems = schema.problems("metal", end("a", SOUND), end("b", OTHER), [], "LAB")
    found = [(problem.what, problem.where) for problem in problems]
    assert found == [
        ("labctl reads no variable cable_adress", "LAB/hosts.yml: a: cable_adress"),
        ("labctl reads no variable cable_adress", "LAB/hosts.yml: b: cable_adress"),
        ("the lab does not set cable_address", "LAB: host a"),
        ("the lab does not set cable_address", "LAB: host b"),
    ]


def test_a_variable_of_the_users_own_is_none_of_ours() -> None:
    assert problems({"kernel_lines": 1, "x": "{{ kernel_lines }}"}) == []
    (found, _) = problems({"kernel_lines": 1})
    assert "did you mean kernel_line?" in str(found.hint)


def test_a_cluster_needs_no_cable_and_its_nodes_other_names() -> None:
    values = {"lab_name": "x", "lab_kind": "cluster", "netperf_pods_kubeconfig": "/k"}
    ends = host("a.example", values), host("b.example", values)
    assert schema.problems("cluster", *ends, [], "LAB") == []
    (found, *_) = schema.problems("local", host("a.example", SOUND), host("b", OTHER), [], "LAB")
    assert found.what == "this cannot be the name of a node on this machine"


def test_two_ends_are_held_against_each_other() -> None:
    def what(**values: Any) -> list[str]:
        return [problem.what for problem in problems({}, values)]

    assert what(cable_address="192.0.2.1") == ["both ends have the same cable_address"]
    assert what(pod_network="198.51.100.0/25") == ["the nodes' pod networks overlap"]
    assert what(pod_network="192.0.2.0/26") == ["a cable's address lies in a pod network"] * 2
    assert what(lab_name="other") == ["the two ends have different values of lab_name"]


def test_a_secret_is_not_shown() -> None:
    (found,) = problems({"kernel_keyring": "relative"}, {})
    assert found.seen == "'relative'"
    assert schema._shown("my_password", "x") == "(not shown)"


def test_every_variable_of_the_table_is_read_by_somebody(repository: Any) -> None:
    """A variable that nothing reads would be allowed, and do nothing."""
    texts = [
        path.read_text()
        for top in ("roles", "playbooks", "inventories", "labctl/engine")
        for path in (repository / top).rglob("*.*")
        if path.suffix in (".yml", ".py", ".j2") and path.name != "schema.py"
    ]
    ansible = {"ansible_host", "ansible_port"}
    assert {name for name in schema.VARIABLES if not any(name in text for text in texts)} <= ansible


@pytest.mark.parametrize("name", ["lab_name", "lab_kind"])
def test_what_labctl_itself_has_to_know_is_not_kept_in_a_vault(name: str) -> None:
    raw = SOUND | {name: {"__ansible_vault": "$ANSIBLE_VAULT"}}
    values = {one: value for one, value in SOUND.items() if one != name}
    one, other = (Host(node, values, {}, {}, raw) for node in ("a", "b"))
    found = {problem.what for problem in schema.problems(values.get("lab_kind"), one, other, [], "LAB")}
    assert f"{name} is kept by Ansible Vault" in found


@pytest.mark.parametrize(
    ("name", "value"), [("ansible_port", "\u0663"), ("measure_rest_limit_s", "\u0663"), ("kernel_line", "6.\u0663")]
)
def test_digits_are_those_that_every_program_reads(name: str, value: str) -> None:
    assert {problem.seen for problem in problems({name: value})} == {ascii(value)}
