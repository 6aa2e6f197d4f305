"""Modules that Ansible packed for one playbook serve the next one of its session."""

from __future__ import annotations

from pathlib import Path

from labctl.engine.session import Session
from tests.unit.engine.play import Run

PING = "- name: It answers\n  ansible.builtin.ping:"


def packed(session: Session) -> dict[str, int]:
    """When each packed module was written, by its file's name."""
    directory = Path(session.scratch.packed)
    return {path.name: path.stat().st_mtime_ns for path in directory.iterdir() if path.suffix != ".lock"}


def test_a_module_is_packed_once_in_a_session(play: Run, session: Session) -> None:
    assert packed(session) == {}
    assert play(PING)[0].ok
    first = packed(session)
    assert [name.partition("-")[0] for name in first] == ["ansible.modules.ping"]
    assert play(PING)[0].ok
    assert packed(session) == first
