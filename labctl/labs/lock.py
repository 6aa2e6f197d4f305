"""One writer per lab, and one measurement per machine: what a labctl uses it claims, so that every other one sees it.

A claim is a file that says whose it is, in a directory that its user alone can write: root's is /run/labctl, that of
another user lies in a directory for all. Two labctl of one user are kept apart by flock(2) on a file that nobody else
can open; those of different users see each other's claims. A claim holds while the process that it names runs and is
its user's; one that is found under a free lock was left by an owner that died. So nobody can hold, or write, a claim of
another user's, and `_counts` says whose claims count here. None of it is seen on another machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import random
import select
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from labctl.core import names, trust
from labctl.core.documents import decoded, parse_json
from labctl.core.errors import LabctlError, Problem
from labctl.core.files import writing
from labctl.core.paths import UnknownLab, state_dir
from labctl.core.records import decode, encode
from labctl.engine.inventory import Inventory, open_lab
from labctl.engine.session import Session
from labctl.labs import embedded
from labctl.labs.embedded import KINDS

SHARED = Path("/run/lock")  # of users; root's own directory is beside it
PREFIX = "labctl-locks-"
ADDRESS = ("ansible_host", "ansible_port")
OWN = "lab-{}"  # key of a lab that labctl made on this machine, by its name
NODES = "nodes-"  # key of any other lab, before a sum of its nodes' addresses
MEASURING = "measuring"  # key of this machine itself
LOOK_MS = (200, 1000)  # how long one waits before one looks again, at random: two that wait must not meet forever
MAX_BYTES = 1 << 16
PROCESSES = range(1, 1 << 22)  # the most that the kernel counts to (PID_MAX_LIMIT)
HOW_TO_WAIT = "wait for it, or end it; when it is gone the lab is free"


@dataclass(frozen=True)
class Owner:
    """Who holds a lab, since when (ISO 8601, UTC) and for what; `run` is the folder of the run, None without one.

    `ticks` is when the process was started, in clock ticks since boot: its number may be another's later. `record` is
    that of the lab, where labctl made it on this machine.
    """

    schema: Literal["labctl.lock/2"]
    lab: str
    pid: int
    ticks: int
    host: str
    command: str
    run: str | None
    started: str
    record: str | None

    def __str__(self) -> str:
        run = "" if self.run is None else f", run {self.run}"
        return f"labctl {self.command}, process {self.pid} on {self.host}{run}, since {self.started}"


@dataclass(frozen=True)
class Claim:
    """What an owner says, and the user who says it: the owner of the file that it stands in."""

    owner: Owner
    user: int

    def __str__(self) -> str:
        whose = "" if self.user == os.geteuid() else f", of {trust.user_name(self.user)}"
        return f"{self.owner}{whose}"


class LabLock:
    """A lock that is held. `dead` is the owner that died holding it before, if one did.

    What it is told, locks that are `also` held are told. `beside` are claims of other users that do not count here.
    """

    def __init__(self, fd: int, path: Path, owner: Owner) -> None:
        self._fd = fd
        self._path = path
        self._owner = owner
        found = _claim(path)
        self.dead = None if found is None else found.owner
        self.also: tuple[LabLock, ...] = ()
        self.beside: tuple[Claim, ...] = ()

    @property
    def lab(self) -> str:
        """The name of the lab that is held."""
        return self._owner.lab

    def tell(self, run: Path) -> None:
        """Let others know which run this is."""
        self._owner = replace(self._owner, run=str(run))
        self.announce()
        for lock in self.also:
            lock.tell(run)

    def announce(self) -> None:
        """Say to all users that it is held."""
        partial = self._path.with_suffix(".partial")
        with writing(self._path):
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                os.fchmod(fd, 0o644)
                file.write(json.dumps(encode(self._owner)))
            partial.rename(self._path)

    def withdraw(self) -> None:
        """Take back what was announced."""
        self._path.unlink(missing_ok=True)

    def release(self) -> None:
        """Free the lab and leave nothing."""
        self.withdraw()
        _private(self._path).unlink(missing_ok=True)
        os.close(self._fd)


def key(lab: Inventory) -> str:
    """What a lab is locked by: its name where labctl made it on this machine, else the nodes it consists of.

    UsageError for a lab of this machine whose name cannot be that of a directory.
    """
    if lab.kind in KINDS:
        return OWN.format(names.MADE_LAB.require(lab.name, f"{lab.path}: lab_name"))
    addresses = sorted([str(variables.get(word, node)) for word in ADDRESS] for node, variables in lab.ends.items())
    return NODES + hashlib.sha256(json.dumps(addresses).encode()).hexdigest()[:16]


@contextmanager
def held(lab: str, lock_key: str, command: str, waits: Callable[[str], None] | None = None) -> Iterator[LabLock]:
    """Hold the lab's lock. While somebody else does: wait for it, if `waits` is there to be told whom for.

    Else LabctlError naming the owner.
    """
    with writing(SHARED):
        path = _own_directory() / f"{lock_key}.json"
    fd = _acquire(path, lab, waits)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    me = os.getpid()
    record = state_dir() / "labs" / lab / "lab.json" if not lock_key.startswith(NODES) else None
    whose = None if record is None else str(record)
    lock = LabLock(fd, path, Owner("labctl.lock/2", lab, me, _ticks(me), platform.node(), command, None, now, whose))
    try:
        _settle(lock, lock_key, lab, waits)
        yield lock
    finally:
        lock.release()


def _settle(lock: LabLock, lock_key: str, lab: str, waits: Callable[[str], None] | None) -> None:
    """Announce a lock, and see to it that no other claim to the same counts.

    Of two that announce at once at least one sees the other, since each looks after it has said so; whoever sees
    another takes his own word back.
    """
    told = ""
    while True:
        lock.announce()
        others = [claim for claim in _claims(lock_key) if claim.owner.pid != os.getpid()]
        counting = [claim for claim in others if _counts(lock_key, claim)]
        if not counting:
            lock.beside = tuple(others)
            return
        lock.withdraw()
        if waits is None:
            raise LabctlError(Problem("another labctl uses this lab", f"lab {lab}", str(counting[0]), HOW_TO_WAIT))
        if str(counting[0]) != told:
            told = str(counting[0])
            waits(told)
        _await_end(counting[0].owner.pid)


def _counts(lock_key: str, claim: Claim) -> bool:
    """Whether another's claim keeps one from what it names.

    Root's does, and the caller's own. What labctl made on this machine took root's rights to make: so of other users
    the claims of those count to whom a lab here belongs. Who may use other nodes is not known here: any user's claim to
    those counts, except against root.
    """
    if claim.user in trust.callers():
        return True
    if lock_key.startswith(NODES):
        return os.geteuid() != 0
    record = Path(claim.owner.record or "/")
    if lock_key != MEASURING and lock_key != OWN.format(record.parent.name):
        return False
    try:
        seen = record.lstat()
        owner = record.with_name("id_ed25519").lstat().st_uid
    except OSError:
        return False
    return stat.S_ISREG(seen.st_mode) and seen.st_uid == 0 and owner == claim.user


def _await_end(pid: int) -> None:
    """Wait until a process ends, or for a moment: it may give up what it holds without."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([fd], [], [], random.randint(*LOOK_MS) / 1000)
    finally:
        os.close(fd)


def _claims(lock_key: str) -> list[Claim]:
    """All claims to the same that hold, whoever made them."""
    found = (_claim(directory / f"{lock_key}.json") for directory in _directories())
    return [claim for claim in found if claim is not None and _holds(claim)]


def _claim(path: Path) -> Claim | None:
    """What stands in a file; None where nothing does, or nothing that is understood."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with suppress(LabctlError), os.fdopen(fd, "rb") as file:
        seen = os.fstat(fd)
        if stat.S_ISREG(seen.st_mode):
            owner = decode(Owner, parse_json(decoded(file.read(MAX_BYTES), path), path), str(path))
            # Another user may have written anything: no process has such a number, no file such a name.
            if owner.pid in PROCESSES and "\0" not in (owner.record or ""):
                return Claim(owner, seen.st_uid)
    return None


def _holds(claim: Claim) -> bool:
    """Whether the process that a claim names runs, and is that of the user who makes it."""
    pid = claim.owner.pid
    try:
        return Path(f"/proc/{pid}").stat().st_uid == claim.user and _ticks(pid) == claim.owner.ticks
    except OSError:
        return pid > 0 and _is_hidden(pid)


def _is_hidden(pid: int) -> bool:
    """Whether there is a process that /proc does not show us (its option hidepid)."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def _ticks(pid: int) -> int:
    """When a process was started, in clock ticks since boot; -1 for one that is dead and not buried yet."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])


def _directories() -> Iterator[Path]:
    """The directories of claims, each of a user who alone can write it."""
    places = dict.fromkeys((_common(), SHARED))
    for path in (_roots(), *(found for place in places for found in sorted(place.glob(f"{PREFIX}*")))):
        with suppress(OSError):
            if _is_private(path) and (path != _roots() or path.lstat().st_uid == 0):
                yield path


def _is_private(path: Path) -> bool:
    seen = path.lstat()
    return stat.S_ISDIR(seen.st_mode) and not seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _roots() -> Path:
    return SHARED.parent / "labctl"


def _common() -> Path:
    """A directory in which every user can make one."""
    if SHARED.is_dir() and SHARED.stat().st_mode & stat.S_IWOTH:
        return SHARED
    return Path(tempfile.gettempdir())


def _own_directory() -> Path:
    """The directory of the caller's claims, made where there is none; a name that another user took is passed over."""
    user, number = os.geteuid(), 0
    while True:
        path = _roots() if user == 0 else _common() / f"{PREFIX}{user}{f'-{number}' if number else ''}"
        with suppress(FileExistsError):
            path.mkdir(mode=0o755)
            path.chmod(0o755)
        if path.lstat().st_uid == user and _is_private(path):
            return path
        if user == 0:
            hint = f"see what it is, and remove it: rm -r {path}"
            raise LabctlError(Problem("the directory of root's locks is not root's alone", str(path), hint=hint))
        number += 1


def _private(path: Path) -> Path:
    """The file that keeps two labctl of one user apart, beside their claim."""
    return path.with_suffix(".lock")


def _acquire(path: Path, lab: str, waits: Callable[[str], None] | None) -> int:
    """A descriptor of the user's own lock beside a claim."""
    private = _private(path)
    while True:
        with writing(private):
            fd = os.open(private, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = _claim(path)
            seen = "its owner has not said its name yet" if found is None else str(found)
            if waits is None:
                os.close(fd)
                raise LabctlError(Problem("another labctl uses this lab", f"lab {lab}", seen, HOW_TO_WAIT)) from None
            waits(seen)
            fcntl.flock(fd, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), private.stat()):
                return fd
        os.close(fd)  # its owner removed it just then: the lock is on a file that nobody finds any more


@contextmanager
def locked(lab: Inventory, command: str) -> Iterator[LabLock]:
    """Hold a lab against every other labctl of this machine. LabctlError naming the owner when one has it.

    UsageError for a lab of this machine that is another user's, and for places that are not believed.
    """
    embedded.require_believed_places()
    lock_key = key(lab)
    if lab.kind in KINDS:
        embedded.require_ones_own(lab.name)
    with held(lab.name, lock_key, command) as lock:
        yield lock


@contextmanager
def locked_to_destroy(session: Session, lab: str) -> Iterator[LabLock]:
    """As `locked`, also for a lab that is no more than a record, its inventory gone; root destroys any user's."""
    try:
        inventory = open_lab(session, lab)
        name, lock_key = inventory.name, key(inventory)
    except UnknownLab:
        if not embedded.is_known(lab):
            raise
        name, lock_key = lab, OWN.format(lab)
    if lock_key == OWN.format(name):
        embedded.require_ones_own(name, to_destroy=True)
    with held(name, lock_key, "lab destroy") as lock:
        yield lock
        _sweep()


def _sweep() -> None:
    """Take away what the caller's own labctl left that died while it measured on this machine."""
    found = _claim(_own_directory() / f"{MEASURING}.json")
    if found is not None and not _holds(found):
        with suppress(LabctlError), held(found.owner.lab, MEASURING, "lab destroy"):
            pass


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


def measured_by() -> Claim | None:
    """Who measures on this machine with nodes that it carries; None for nobody."""
    return _claimed(MEASURING)


def used_by(lab: Inventory) -> Claim | None:
    """Who holds a lab; None for nobody."""
    return _claimed(key(lab))


def _claimed(lock_key: str) -> Claim | None:
    return next((claim for claim in _claims(lock_key) if _counts(lock_key, claim)), None)
