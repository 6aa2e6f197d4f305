"""Reading a lab with Ansible, and refusing one that lacks something."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labctl.core.errors import UsageError
from labctl.engine.inventory import open_lab
from labctl.engine.session import Session

LAB = "all: {vars: {lab_name: x, lab_kind: vm}, children: {client: {hosts: {a: }}, server: {hosts: {b: {k: 1}}}}}"


def test_a_lab_is_read_with_its_ends(session: Session, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(LAB)
    lab = open_lab(session, str(tmp_path))
    assert (lab.name, lab.kind, lab.client, lab.server, lab.hosts["b"]["k"]) == ("x", "vm", "a", "b", 1)


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("all: [", "the lab's inventory cannot be read"),
        (
            "all: {vars: {lab_name: x, lab_kind: vm}, children: {client: {hosts: {a: }}}}",
            "exactly one host in group 'server'",
        ),
        (
            "all: {vars: {lab_name: x, lab_kind: vm}, children: {client: {hosts: {a: }}, server: {hosts: {b: , c: }}}}",
            "seen:  b, c",
        ),
        (
            "all: {vars: {lab_name: x, lab_kind: vm}, children: {client: {hosts: {a: }}, server: {hosts: {a: }}}}",
            "client and server are the same host",
        ),
        (
            "all: {vars: {lab_kind: vm}, children: {client: {hosts: {a: }}, server: {hosts: {b: }}}}",
            "does not set lab_name",
        ),
        (
            "all: {children: {client: {hosts: {a: {node_pair: p}, c: {node_pair: q}}},"
            " server: {hosts: {b: {node_pair: p}, d: {node_pair: q}}}}}",
            "seen:  node_pair: p, q",
        ),
    ],
)
def test_a_broken_lab_is_refused_by_what_is_wrong_with_it(
    session: Session, tmp_path: Path, hosts: str, message: str
) -> None:
    (tmp_path / "hosts.yml").write_text(hosts)
    with pytest.raises(UsageError) as refused:
        open_lab(session, str(tmp_path))
    assert message in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_a_terminal_that_another_ssh_made_non_blocking_does_no_harm(session: Session, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(LAB)
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
