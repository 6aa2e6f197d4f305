"""One writer per lab, and one measurement per machine: locks that the kernel frees when their owner dies.

Each is in a file that says who the owner is.

The lock is flock(2) on a file in a directory that all users of this machine share, so it does not see a labctl on
another machine. Content that is found under a free lock was left by an owner that died.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.records import decode, encode
from labctl.engine.inventory import Inventory, open_lab
from labctl.engine.session import Session
from labctl.labs.embedded import KINDS

SHARED = Path("/run/lock")
ADDRESS = ("ansible_host", "ansible_port")
OWN = "lab-{}"  # key of a lab that labctl made on this machine, by its name
MEASURING = "measuring"  # key of this machine itself


@dataclass(frozen=True)
class Owner:
    """Who holds a lab, since when (ISO 8601, UTC) and for what; `run` is the folder of the run, None without one."""

    schema: Literal["labctl.lock/1"]
    lab: str
    pid: int
    host: str
    command: str
    run: str | None
    started: str

    def __str__(self) -> str:
        run = "" if self.run is None else f", run {self.run}"
        return f"labctl {self.command}, process {self.pid} on {self.host}{run}, since {self.started}"


class LabLock:
    """A lock that is held. `dead` is the owner that died holding it before, if one did.

    What it is told, locks that are `also` held are told.
    """

    def __init__(self, fd: int, path: Path, owner: Owner, dead: Owner | None) -> None:
        self._fd = fd
        self._path = path
        self._owner = owner
        self.dead = dead
        self.also: tuple[LabLock, ...] = ()
        self._write()

    @property
    def lab(self) -> str:
        """The name of the lab that is held."""
        return self._owner.lab

    def tell(self, run: Path) -> None:
        """Let others know which run this is."""
        self._owner = replace(self._owner, run=str(run))
        self._write()
        for lock in self.also:
            lock.tell(run)

    def release(self) -> None:
        """Free the lab and leave nothing."""
        try:
            self._path.unlink(missing_ok=True)
        except PermissionError:  # another user made the file in a sticky directory: empty it means free
            os.ftruncate(self._fd, 0)
        finally:
            os.close(self._fd)

    def _write(self) -> None:
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(encode(self._owner)).encode(), 0)


def key(lab: Inventory) -> str:
    """What a lab is locked by: its name where labctl made it on this machine, else the nodes it consists of."""
    if lab.kind in KINDS:
        return OWN.format(lab.name)
    addresses = sorted([str(variables.get(word, node)) for word in ADDRESS] for node, variables in lab.ends.items())
    return "nodes-" + hashlib.sha256(json.dumps(addresses).encode()).hexdigest()[:16]


@contextmanager
def held(
    lab: str,
    lock_key: str,
    command: str,
    directory: Path | None = None,
    waits: Callable[[str], None] | None = None,
) -> Iterator[LabLock]:
    """Hold the lab's lock. While somebody else does: wait for it, if `waits` is there to be told whom for.

    Else LabctlError naming the owner.
    """
    path = _path(lock_key, directory)
    fd = _acquire(path, lab, waits)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    owner = Owner("labctl.lock/1", lab, os.getpid(), platform.node(), command, None, now)
    lock = LabLock(fd, path, owner, _owner(fd, path))
    try:
        yield lock
    finally:
        lock.release()


def _path(lock_key: str, directory: Path | None = None) -> Path:
    return (directory or _directory()) / f"labctl-{lock_key}.lock"


def _directory() -> Path:
    """The same directory for every user of this machine."""
    if SHARED.is_dir() and SHARED.stat().st_mode & stat.S_IWOTH:
        return SHARED
    return Path(tempfile.gettempdir())


def _acquire(path: Path, lab: str, waits: Callable[[str], None] | None) -> int:
    """A descriptor of `path` that holds its lock."""
    while True:
        fd = _open(path, lab)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(fd, path)
            seen = "its owner has not said its name yet" if owner is None else str(owner)
            if waits is None:
                os.close(fd)
                hint = "wait for it, or end it; when it is gone the lab is free"
                raise LabctlError(Problem("another labctl uses this lab", f"lab {lab}", seen, hint)) from None
            waits(seen)
            fcntl.flock(fd, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        os.close(fd)  # its owner removed it just then: the lock is on a file that nobody finds any more


def _open(path: Path, lab: str) -> int:
    """Open the file, or make one that every user may lock."""
    while True:
        try:
            with suppress(FileNotFoundError):
                # Without O_CREAT, which the kernel refuses for somebody else's file in a sticky directory.
                return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            with suppress(FileExistsError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, 0o666)
                os.fchmod(fd, 0o666)
                return fd
        except OSError as error:
            problem = Problem("the lock of the lab cannot be opened", str(path), error.strerror, f"lab {lab}")
            raise LabctlError(problem) from error


def _owner(fd: int, path: Path) -> Owner | None:
    """Who wrote the file; None while it is empty or half written."""
    try:
        return decode(Owner, json.loads(os.pread(fd, 1 << 16, 0)), str(path))
    except (ValueError, LabctlError):
        return None


@contextmanager
def locked(lab: Inventory, command: str) -> Iterator[LabLock]:
    """Hold a lab against every other labctl of this machine. LabctlError naming the owner when one has it."""
    with held(lab.name, key(lab), command) as lock:
        yield lock


@contextmanager
def locked_to_destroy(session: Session, lab: str) -> Iterator[LabLock]:
    """As `locked`, also for a lab that is no more than a record, its inventory gone."""
    try:
        inventory = open_lab(session, lab)
    except UsageError:
        with held(lab, OWN.format(lab), "lab destroy") as lock:
            yield lock
    else:
        with locked(inventory, "lab destroy") as lock:
            yield lock


@contextmanager
def measuring(lab: Inventory, command: str, say: Callable[[str], None]) -> Iterator[tuple[LabLock, ...]]:
    """Hold this machine against other measurements, if it carries the lab's nodes: those would share its CPUs.

    Waits until nobody else measures, and says whom for. Without such nodes there is nothing to hold.
    """
    if lab.kind not in KINDS:
        yield ()
        return
    words = "waiting until nobody else measures on this machine, which two labs would share: {}"
    with held(lab.name, MEASURING, command, waits=lambda owner: say(words.format(owner))) as lock:
        yield (lock,)


def measured_by() -> Owner | None:
    """Who measures on this machine with nodes that it carries; None for nobody."""
    return _holder(MEASURING)


def used_by(lab: Inventory) -> Owner | None:
    """Who holds a lab; None for nobody."""
    return _holder(key(lab))


def _holder(lock_key: str) -> Owner | None:
    path = _path(lock_key)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner(fd, path)
    finally:
        os.close(fd)
    return None
