"""Reading a lab with Ansible, and refusing one that lacks something, by file and line."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from labctl.core.errors import Problem, UsageError
from labctl.engine import inventory
from labctl.engine.inventory import open_lab
from labctl.engine.session import Session

ENDS = """\
all:
  vars: {{lab_name: x, lab_kind: metal, cable_interface: eth1, mine: !unsafe "{{{{ 1/0 }}}}"{more}}}
  children:
    client: {{hosts: {{a: {{cable_address: "{{{{ '192.0.2.' ~ 1 }}}}", pod_network: 198.51.100.0/26}}}}}}
    server: {{hosts: {{b: {{cable_address: {address}, pod_network: 198.51.100.64/26}}}}}}
"""


def lab_at(directory: Path, address: str = "192.0.2.2", more: str = "") -> Path:
    (directory / "hosts.yml").write_text(ENDS.format(address=address, more=more))
    return directory


def refused(session: Session, lab: Path) -> tuple[Problem, ...]:
    with pytest.raises(UsageError) as raised:
        open_lab(session, str(lab))
    return raised.value.problems


def test_a_lab_is_read_with_its_ends_and_its_values_as_they_are_written(session: Session, tmp_path: Path) -> None:
    lab = open_lab(session, str(lab_at(tmp_path)))
    assert (lab.name, lab.kind, lab.client, lab.server) == ("x", "metal", "a", "b")
    assert lab.hosts["a"]["mine"] == "{{ 1/0 }}"
    assert lab.hosts["a"]["cable_address"] == "{{ '192.0.2.' ~ 1 }}"


def test_values_are_held_against_the_schema_as_ansible_renders_them_by_file_and_line(
    session: Session, tmp_path: Path
) -> None:
    lab = lab_at(tmp_path, "\"{{ hostvars['a'].cable_address }}\"", ", kernel_line: '{{ nowhere }}', cable_mtu: 1")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "b.yml").write_text("# of b alone\nansible_port: 0\n")
    found = {problem.what: problem for problem in refused(session, lab)}
    assert list(found) == [
        "kernel_line (the kernel that the lab wants) cannot be rendered",
        "ansible_port (the port of its SSH server): the number is out of range",
        "both ends have the same cable_address",
    ]
    places = [str(problem.where).removeprefix(f"{lab}/") for problem in found.values()]
    assert places == ["hosts.yml:2: kernel_line", "host_vars/b.yml:2: ansible_port", "hosts.yml:5: cable_address"]


class Listed(Session):
    """A session in which Ansible lists what it is told."""

    def __init__(self, listed: Mapping[str, Any]) -> None:
        super().__init__()
        self._listed = listed

    def inventory(self, *_: Path) -> Mapping[str, Any]:
        return self._listed


@pytest.mark.parametrize(
    ("groups", "what", "seen"),
    [
        ({"client": ["a"]}, "the lab needs exactly one host in group 'server'", "no host"),
        ({"client": ["a"], "server": ["b", "c"]}, "the lab needs exactly one host in group 'server'", "b, c"),
        ({"client": ["a"], "server": ["a"]}, "client and server are the same host", "a"),
        ({"client": ["a"], "server": ["p"]}, "the lab has several pairs of nodes", "node_pair: none, q"),
        ({}, "the lab needs exactly one host in group 'client'", "no host"),
        ({"client": ["a"], "server": ["b"], "others": ["x/y"]}, "this cannot be the name of a node", "'x/y'"),
        ({"client": ["a"], "server": ["b"], "others": ["::1"]}, "this cannot be the name of a node", "'::1'"),
        ({"client": ["a"], "server": ["fe80::1"]}, "a host cannot be called by an IPv6 address", None),
    ],
)
def test_a_lab_has_one_client_and_one_server(
    tmp_path: Path, groups: Mapping[str, list[str]], what: str, seen: str | None
) -> None:
    (tmp_path / "hosts.yml").write_text("{}")
    listed = {
        "_meta": {"hostvars": {"p": {"node_pair": "q"}}},
        "all": {"children": [*groups]},
        **{group: {"hosts": hosts} for group, hosts in groups.items()},
    }
    with Listed(listed) as session:
        problems = refused(session, tmp_path)
    (found,) = [problem for problem in problems if problem.what == what]
    assert found.seen == seen
    assert str(tmp_path) in str(found.where)
    assert found.hint


def test_a_directory_of_the_environment_that_mount_and_ssh_cannot_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts.yml").write_text("{}")
    same = {"lab_name": "x", "lab_kind": "local", "cable_interface": "cable0"}
    ends = {
        name: {**same, "cable_address": f"192.0.2.{number}", "pod_network": f"198.51.100.{64 * number}/26"}
        for number, name in enumerate(("a", "b"), start=1)
    }
    groups = {"client": {"hosts": ["a"]}, "server": {"hosts": ["b"]}, "all": {"children": ["client", "server"]}}
    with Listed({"_meta": {"hostvars": ends}, **groups}) as session:
        monkeypatch.setenv("LABCTL_STATE_DIR", "/a,b")
        monkeypatch.setenv("LABCTL_CACHE_DIR", "/a:b")
        found = refused(session, tmp_path)
        assert [problem.seen for problem in found] == ["'/a,b'", "'/a:b'"]
        monkeypatch.setenv("LABCTL_STATE_DIR", "/var/lib/labctl")
        monkeypatch.delenv("LABCTL_CACHE_DIR")
        assert open_lab(session, str(tmp_path)).kind == "local"


def test_a_link_back_is_not_gone_round(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a", "b", "below/c"):
        (tmp_path / name).symlink_to(tmp_path)
    with Listed({}) as session:
        found = refused(session, tmp_path)
    assert {(problem.where, problem.seen) for problem in found} == {
        (str(tmp_path / name), "a directory") for name in ("a", "b", "below/c")
    }


def test_a_group_may_have_any_name(session: Session, tmp_path: Path) -> None:
    groups: Mapping[str, Any] = {"failed": {"hosts": {"a": {}}}, "labctl": {"hosts": {"b": {}}}}
    (lab_at(tmp_path) / "more.json").write_text(json.dumps(groups))
    assert open_lab(session, str(tmp_path)).name == "x"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("all: [\n", 2, "While parsing a flow node did not find expected node content."),
        ("all:\n  children:\n    client:\n    client:\n", 4, "Found duplicate mapping key 'client'."),
    ],
)
def test_a_file_that_does_not_parse_is_named_with_its_line_and_one_reason(
    session: Session, tmp_path: Path, text: str, line: int, reason: str
) -> None:
    (tmp_path / "hosts.yml").write_text(text)
    (problem,) = refused(session, tmp_path)
    assert (problem.what, problem.where) == ("the lab's inventory cannot be read", f"{tmp_path}/hosts.yml:{line}")
    assert problem.seen == f"YAML parsing failed: {reason}"
    assert "name a lab (local, vm)" in str(problem.hint)


def test_a_directory_that_is_no_inventory_is_refused_before_anything_in_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "MAX_SOURCES", 5)
    with Listed({}) as session:
        (problem,) = refused(session, tmp_path)
        assert (problem.what, problem.seen) == ("there is no inventory in this directory", "no file to read")
        (tmp_path / "below").mkdir()
        os.mkfifo(tmp_path / "below" / "hosts")
        (tmp_path / "group_vars").mkdir()
        (tmp_path / "group_vars" / "all.yml").symlink_to("nowhere")
        (tmp_path / "program").write_bytes(b"\x7fELF\0")
        (tmp_path / "log").symlink_to("/proc/kmsg")  # a regular file, which waits for the kernel to say more
        (tmp_path / "large").touch()
        os.truncate(tmp_path / "large", 1 << 40)
        (tmp_path / "notes.md").write_bytes(b"\0")  # which Ansible passes over
        found = refused(session, tmp_path)
        wrong = {str(problem.where).removeprefix(f"{tmp_path}/"): problem.seen for problem in found}
        assert wrong.pop("log") in ("Resource temporarily unavailable", "Operation not permitted")
        assert wrong == {
            "below/hosts": "a FIFO (named pipe)",
            "large": "more than 4194304 bytes",
            "group_vars/all.yml": "No such file or directory",
            "program": "not a text",
        }
        (tmp_path / "more").write_text("")
        (problem,) = refused(session, tmp_path)
        assert (problem.what, problem.where) == ("this directory is no inventory", str(tmp_path))
        odd = tmp_path / "a\nb"
        odd.mkdir()
        (problem,) = refused(session, odd)
        assert problem.what == "the path of a lab cannot hold such characters"


def test_a_terminal_that_another_ssh_made_non_blocking_does_no_harm(session: Session, tmp_path: Path) -> None:
    lab_at(tmp_path)
    reading, writing = os.pipe()
    kept = os.dup(0)
    try:
        os.dup2(reading, 0)
        os.set_blocking(0, False)
        assert open_lab(session, str(tmp_path)).client == "a"
        assert os.fstat(0) == os.fstat(reading)
    finally:
        os.dup2(kept, 0)
        for descriptor in (reading, writing, kept):
            os.close(descriptor)


@pytest.mark.parametrize("name", ["hosts.yml", "group_vars/all.yml"])
def test_aliases_that_multiply_are_refused_before_ansible_reads_them(
    session: Session, tmp_path: Path, name: str
) -> None:
    lab_at(tmp_path)
    lines = ["a0: &a0 [x]"] + [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(10)]
    (tmp_path / "group_vars").mkdir()
    (tmp_path / name).write_text("\n".join(lines))
    (problem,) = refused(session, tmp_path)
    assert problem.where == str(tmp_path / name)
    assert problem.seen == "aliases that stand for more than 16777216 characters"


def test_a_file_that_is_no_inventory_is_not_blamed_for_being_no_plugin(session: Session, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {children: {a: {children: {b: {children: {a: {}}}}}}}\n")
    (problem,) = refused(session, tmp_path)
    assert "plugin" not in str(problem.seen)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_reads_an_inventory_ends_with_labctl(tmp_path: Path, number: signal.Signals) -> None:
    script, told = tmp_path / "hosts.sh", tmp_path / "pid"
    script.write_text(f"#!/bin/sh\necho $PPID > {told}.new; mv {told}.new {told}\nexec sleep 1000\n")
    script.chmod(0o755)
    read = "import sys; from labctl.cli.app import main; sys.argv[1:] = ['plan', '-i', sys.argv[1]]; main()"
    with subprocess.Popen([sys.executable, "-c", read, str(tmp_path)], stderr=subprocess.PIPE) as labctl:
        while not told.exists():
            assert labctl.poll() is None
            time.sleep(0.05)
        reader = os.pidfd_open(int(told.read_text()))
        labctl.send_signal(number)
        assert labctl.wait() == (128 + number if number is signal.SIGTERM else -number)
        assert select.select([reader], [], [], 60)[0]
    os.close(reader)


def test_a_kubeconfig_that_others_may_write_is_not_believed(session: Session, tmp_path: Path) -> None:
    """It may name a program that logs in."""
    kubeconfig = tmp_path / "config"
    kubeconfig.touch()
    kubeconfig.chmod(0o666)
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / "hosts.yml").write_text(
        f"all: {{vars: {{lab_name: x, lab_kind: cluster, netperf_pods_kubeconfig: {kubeconfig}}}, "
        "children: {client: {hosts: {a: {}}}, server: {hosts: {b: {}}}}}\n"
    )
    (problem,) = refused(session, lab)
    assert problem.what == "the kubeconfig is not believed: others than root and you decide on it"
    assert problem.where == str(kubeconfig)
    kubeconfig.chmod(0o600)
    assert open_lab(session, str(lab)).kind == "cluster"
