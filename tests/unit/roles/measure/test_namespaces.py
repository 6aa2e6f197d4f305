"""Namespaces: told apart, and entered by a thread that ends with its call."""

from __future__ import annotations

import os
import threading

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


def test_a_call_happens_in_another_thread_after_it_has_entered() -> None:
    entered: list[int] = []
    called = namespaces.call_within(lambda: entered.append(threading.get_ident()), threading.get_ident)
    assert entered == [called]
    assert called != threading.get_ident()


def test_what_cannot_be_entered_fails_the_call() -> None:
    with pytest.raises(FileNotFoundError, match="/run/netns/nowhere"):
        namespaces.call_within(lambda: namespaces.enter("/run/netns/nowhere"), lambda: pytest.fail("called"))
