"""Namespaces: told apart, and entered by a thread that stays there."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest
from labctl_agent import namespaces

from tests.unit.roles.measure.conftest import running, until


def test_two_namespaces_are_told_apart() -> None:
    with running("unshare", "--user", "--map-root-user", "--net", "sleep", "60") as other:
        own, theirs = "/proc/self/ns/net", f"/proc/{other.pid}/ns/net"
        until(lambda: not namespaces.same(own, theirs))
        assert namespaces.same(own, f"/proc/{os.getppid()}/ns/net")


def test_what_is_no_namespace_is_named() -> None:
    with pytest.raises(OSError, match=r"setns /proc/self/status: Invalid argument"):
        namespaces.enter("/proc/self/status")


def test_calls_happen_in_one_other_thread_that_has_entered_before() -> None:
    entered: list[int] = []
    inside = namespaces.Inside(lambda: entered.append(threading.get_ident()))
    assert [inside.call(threading.get_ident) for _ in range(2)] == entered * 2
    assert entered[0] != threading.get_ident()


def test_what_cannot_be_entered_is_said_at_once() -> None:
    with pytest.raises(FileNotFoundError, match="/run/netns/nowhere"):
        namespaces.Inside(lambda: namespaces.enter("/run/netns/nowhere"))


@pytest.mark.lab
def test_a_namespace_is_there_for_who_is_inside_though_its_processes_have_ended() -> None:
    process = subprocess.Popen(["unshare", "--net", "sleep", "60"])
    path = f"/proc/{process.pid}/ns/net"
    until(lambda: not namespaces.same(path, "/proc/self/ns/net"))
    inside = namespaces.Inside(lambda: namespaces.enter(path, namespaces.CLONE_NEWNET))
    process.kill()
    process.wait()
    assert inside.call(lambda: Path("/proc/thread-self/net/dev").read_text()).count(":") == 1  # lo alone
