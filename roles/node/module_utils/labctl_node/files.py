"""Files: settings of the kernel, records that survive a crash whole, locks that do not survive their holder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import time
from typing import Any, Callable, Iterator, Optional

from ansible.module_utils.labctl_node.refused import Refused

BLOCK = 1 << 20


def read_text(path: str) -> Optional[str]:
    """Return a file's stripped text, None where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def last_lines(path: str, count: int = 12) -> str:
    """Return the end of a log."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-count:]).strip()


def write_text(path: str, text: str) -> None:
    """Write a text file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def remove_file(path: str) -> bool:
    """Remove a file; returns whether there was one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def sha256_of(path: str) -> str:
    """Return the sum of a file's bytes."""
    seen = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            seen.update(block)
    return seen.hexdigest()


def write_setting(path: str, value: str) -> None:
    """Write one value to a file of /proc/sys or /sys and read it back."""
    try:
        write_text(path, value)
    except OSError as refusal:
        raise Refused(f"A setting of the kernel cannot be set to {value}.", where=path, seen=str(refusal)) from refusal
    seen = read_text(path)
    if seen != value:
        raise Refused(f"A setting of the kernel does not keep the value {value}.", where=path, seen=f"{seen}")


def read_json(path: str) -> Any:
    """Return what a JSON file holds, None where there is no such file."""
    text = read_text(path)
    return None if text is None else json.loads(text)


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


def close_directory(path: str, way: bool = False) -> None:
    """Make a directory of a cache, or close one that is open: programs of old trees lie there, with all rights of root.

    Only its owner reads it. With `way` others may go through it, to a file whose name they know and that is theirs; one
    that has become such a way stays one.
    """
    os.makedirs(path, exist_ok=True)
    seen = stat.S_IMODE(os.stat(path).st_mode)
    wanted = 0o711 if way or seen == 0o711 else 0o700
    if seen != wanted:
        os.chmod(path, wanted)


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Hold the lock of a directory, waiting for whoever has it; the kernel frees it when the holder dies.

    Nobody else may open the file: reading it would be enough to hold its lock for good.
    """
    os.makedirs(directory, exist_ok=True)
    handle = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.fchmod(handle, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def seconds_to_make(path: str, make: Callable[[], None]) -> Optional[float]:
    """Make what a cache keeps at `path`, once, whoever asks at the same time. None where it was there already."""
    if os.path.exists(path):
        return None
    started = time.monotonic()
    with locked(os.path.dirname(path)):
        if os.path.exists(path):  # made by whoever held the lock
            return None
        make()
    return round(time.monotonic() - started, 1)
