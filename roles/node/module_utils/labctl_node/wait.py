"""Waiting until something is so: asked again and again, never slept for."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

T = TypeVar("T")
INTERVAL_S = 0.02


def wait_until(look: Callable[[], T], timeout_s: float, interval_s: float = INTERVAL_S) -> T:
    """Look until what is seen is true, and return it; once the time is over the last thing seen, whatever that is.

    So a caller gets True or False, or a process's number or 0, and says itself what it means that time is over.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen or time.monotonic() > deadline:
            return seen
        time.sleep(interval_s)
