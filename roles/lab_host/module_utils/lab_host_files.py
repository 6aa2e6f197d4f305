"""Files that survive a crash whole, and locks that do not survive their holder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator


def write_json(path: str, data: object, mode: int = 0o644) -> None:
    """Write a JSON file so that after a crash it is there whole or not at all."""
    temporary = path + ".tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(data, file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.rename(temporary, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Hold the lock of a directory, waiting for whoever has it; the kernel frees it when the holder dies."""
    os.makedirs(directory, exist_ok=True)
    handle = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
