"""Namespaces of the kernel that this process goes into: another network for a while, mounts of its own for good."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import Iterator

from ansible.module_utils.labctl_node.refused import Refused

NAMED = "/run/netns"
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
# A directory that every system has; only this process sees what is mounted there.
SYSFS_AT = "/mnt"


@contextmanager
def inside(netns: str) -> Iterator[None]:
    """Be in the network namespace of this name for a while, with whatever is started meanwhile; "" for where it is.

    /proc/net, /proc/sys/net and new sockets are that namespace's then.
    """
    if not netns:
        yield
        return
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(f"{NAMED}/{netns}")
        try:
            yield
        finally:
            _set(own)
    finally:
        os.close(own)


def _enter(path: str) -> None:
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as absent:
        hint = "Did somebody remove the endpoint's pod? Deploy the setup again."
        raise Refused("The network namespace of the endpoint is not there.", where=path, hint=hint) from absent
    try:
        _set(there)
    finally:
        os.close(there)


def _set(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with refused_as("The network namespace of the endpoint cannot be entered."):
        _done(libc.setns(descriptor, CLONE_NEWNET))


@contextmanager
def interfaces_in_sysfs() -> Iterator[str]:
    """Have sysfs as this network namespace sees it, and return where its interfaces are.

    /sys is of the namespace that mounted it. The mount is in a mount namespace that this process keeps.
    """
    what = "The interfaces of a network namespace cannot be seen in sysfs."
    libc = ctypes.CDLL(None, use_errno=True)
    with refused_as(what):
        mount_privately("sysfs", SYSFS_AT)
    try:
        yield f"{SYSFS_AT}/class/net"
    finally:
        with refused_as(what):
            _done(libc.umount2(SYSFS_AT.encode(), 0))


@contextmanager
def refused_as(what: str, hint: str = "") -> Iterator[None]:
    """Tell what the kernel refuses in these words."""
    try:
        yield
    except OSError as refusal:
        raise Refused(what, seen=refusal.strerror or str(refusal), hint=hint) from refusal


def mount_privately(kind: str, at: str) -> None:
    """Go into a mount namespace of one's own, with a new file system of this kind; raise OSError where refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    _done(libc.unshare(CLONE_NEWNS))
    _done(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    _done(libc.mount(kind.encode(), at.encode(), kind.encode(), 0, None))


def _done(answer: int) -> None:
    if answer:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
