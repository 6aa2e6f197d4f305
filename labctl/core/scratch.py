"""Temporary files of one labctl: private directories of ansible-runner and sockets of SSH connections that stay open.

A directory belongs to whoever holds its lock (flock), which the kernel frees at the owner's death. So the next labctl
knows what dead ones left, and ends the SSH connections that live on in it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from labctl.core import trust
from labctl.core.errors import LabctlError, Problem, UsageError

PREFIX = "labctl-session-"
EXIT_S = 5.0


class Scratch:
    """A directory that is gone when it is closed. Short, since sockets live in it."""

    def __init__(self, directory: Path | None = None) -> None:
        try:
            # Under another name until it is locked, or another labctl could take it for one of the dead.
            made = Path(tempfile.mkdtemp(prefix=".labctl-", dir=directory))
            try:
                trust.require_trusted("the directory for temporary files (TMPDIR)", made)
            except UsageError:
                made.rmdir()
                raise
            self._lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self.path = made.rename(made.with_name(PREFIX + made.name.removeprefix(".labctl-")))
            self.sockets.mkdir()
        except OSError as error:
            hint = "make room there, or name another directory with TMPDIR"
            where = error.filename or "TMPDIR, /tmp, /var/tmp"
            problem = Problem("there is no room for temporary files", str(where), error.strerror, hint)
            raise LabctlError(problem) from None

    @property
    def sockets(self) -> Path:
        """For SSH's control sockets."""
        return self.path / "s"

    def close(self) -> None:
        """End the SSH connections and remove everything."""
        _remove(self.path)
        os.close(self._lock)


def sweep(directory: Path | None = None) -> tuple[Path, ...]:
    """Remove what labctls of this user left that are gone, and return it."""
    try:
        root = directory or Path(tempfile.gettempdir())
    except FileNotFoundError:  # there is none: whoever needs one says so
        return ()
    return tuple(path for path in sorted(root.glob(f"{PREFIX}*")) if _is_dead(path) and _remove(path))


def _is_dead(path: Path) -> bool:
    """Whether the directory is ours and nobody holds it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # somebody else's, or removed meanwhile
        return False
    try:
        if os.fstat(fd).st_uid != os.geteuid():
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _remove(path: Path) -> bool:
    """End the SSH connections whose sockets are in a directory, and remove it."""
    sockets = path / "s"
    for socket in sockets.iterdir() if sockets.is_dir() else ():
        command = ["ssh", "-F", "none", "-O", "exit", "-o", f"ControlPath={socket}", "labctl"]
        with suppress(subprocess.TimeoutExpired):  # a master that hangs ends by its own ServerAlive
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=EXIT_S)
    shutil.rmtree(path, ignore_errors=True)  # a sweep may meet another one
    return True
