"""Namespaces of the kernel, as the files of /proc/<pid>/ns show them."""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, TypeVar

CLONE_NEWNET = 0x40000000
CLONE_NEWPID = 0x20000000
T = TypeVar("T")
libc = ctypes.CDLL(None, use_errno=True)


def enter_opened(fd: int, what: str, kind: int = 0) -> None:
    """Move the calling thread into the namespace behind an open file."""
    if libc.setns(fd, kind) != 0:
        error = ctypes.get_errno()
        raise OSError(error, "setns %s: %s" % (what, os.strerror(error)))


def enter(path: str, kind: int = 0) -> None:
    """Move the calling thread into the namespace that `path` shows."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter_opened(fd, path, kind)
    finally:
        os.close(fd)


def same(one: str, other: str) -> bool:
    """Whether two paths show one namespace."""
    return os.path.samestat(os.stat(one), os.stat(other))


class Inside:
    """A thread that has entered another namespace and stays: it is kept for it though all of its processes end."""

    def __init__(self, enter_it: Callable[[], None]) -> None:
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.call(enter_it)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in there."""
        return self.thread.submit(function).result()
