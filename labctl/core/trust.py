"""Whose files are believed: those that nobody but root and the caller can write.

A file that decides something (an inventory, a configuration, a record) runs programs as the caller in the end. So it is
believed only if root or the caller owns it and no other user may write it, nor replace it through a directory above.
The caller is the effective user, and for root also the one who called sudo.
"""

from __future__ import annotations

import functools
import grp
import os
import pwd
import re
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from labctl.core.errors import Problem, UsageError

MAX_LINKS = 40  # as the kernel's
MAX_TOLD = 10  # doubts about one directory that are told at once
MAX_LOOKED_AT = 10_000  # entries of one directory and all below it: a home or the whole machine has more
OWN_COPY = "use a copy of your own"
ACL = "system.posix_acl_access"
_ACL_USER, _ACL_GROUP, _ACL_WRITE = 2, 8, 2
_JUDGED = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISFIFO, stat.S_ISSOCK)  # /dev/null keeps nothing that is written to it


@dataclass(frozen=True)
class Doubt:
    """Why something is not believed: the file or directory at fault, what is wrong with it, and how to mend it."""

    path: Path
    seen: str
    mend: str

    def __str__(self) -> str:
        return f"{self.path}: {self.seen}"

    def problem(self, what: str) -> Problem:
        """The refusal of `what`, a sentence's beginning such as "the lab's inventory"."""
        return Problem(
            f"{what} is not believed: others than root and you decide on it", str(self.path), self.seen, self.mend
        )


def distrusted(path: Path) -> str | None:
    """Why a file or directory is not believed; None for one that is, and where there is none."""
    doubt = doubted(path)
    return None if doubt is None else str(doubt)


def require_trusted(what: str, *paths: Path) -> None:
    """Raise UsageError with every one of some files or directories that is not believed; `what` they are."""
    _refuse(what, (doubt for path in paths if (doubt := doubted(path)) is not None))


def require_trusted_tree(what: str, path: Path) -> None:
    """Raise UsageError with what of a directory and everything in it is not believed, up to a limit."""
    _refuse(what, islice(doubts_below(path), MAX_TOLD))


def _refuse(what: str, doubts: Iterable[Doubt]) -> None:
    problems = [doubt.problem(what) for doubt in doubts]
    if problems:
        raise UsageError(*problems)


def doubted(path: Path) -> Doubt | None:
    """As `distrusted`, with the file at fault by itself.

    Symbolic links on the way are followed: whoever owns a link decides where it leads, and whoever may write a
    directory decides what is in it. In a directory like /tmp (sticky) only the owner of an entry does.
    """
    try:
        return next(_doubts(path), None)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Doubt(path, f"it cannot be looked at: {error.strerror}", OWN_COPY)
    except ValueError as error:  # what no path can have in it
        return Doubt(path, f"it cannot be looked at: {error}", OWN_COPY)


def doubts_below(path: Path) -> Iterator[Doubt]:
    """What is not believed of a file, or of a directory and everything in it; links in it are followed.

    As Ansible reads an inventory, names that begin with a dot are left out. Raises UsageError where there is no end to
    it, as below a link to the root.
    """
    doubt = doubted(path)
    if doubt is not None:
        yield doubt
        return
    known: set[Path] = set()
    looked_at = 0
    waiting = [path] if is_directory(path) else []
    while waiting:
        directory = Path(os.path.realpath(waiting.pop()))
        if directory in known:
            continue
        known.add(directory)
        try:
            entries = sorted(one for one in directory.iterdir() if not one.name.startswith("."))
            looked_at += len(entries)
            if looked_at > MAX_LOOKED_AT:
                seen = f"more than {MAX_LOOKED_AT} files and directories, links followed; the last ones in {directory}"
                hint = "name a directory that holds nothing else, and no link to a large one"
                raise UsageError(Problem("there is too much in this directory to look at", str(path), seen, hint))
            for entry in entries:
                # The way there is believed, so that only a link leads through what was not looked at.
                doubts = [found] if entry.is_symlink() and (found := doubted(entry)) else []
                doubts = doubts or ([] if entry.is_symlink() else list(_of_entry(entry, entry.lstat(), last=True)))
                yield from doubts
                waiting += [entry] if not doubts and is_directory(entry) else []
        except OSError as error:
            yield Doubt(directory, f"it cannot be looked at: {error.strerror}", OWN_COPY)


def is_directory(path: Path) -> bool:
    """Whether a path leads to a directory; of one that cannot be looked at it is not known, so it is none."""
    return os.path.isdir(path)  # noqa: PTH112  (pathlib raises for what cannot be a path, or is closed to us)


def _doubts(path: Path) -> Iterator[Doubt]:
    """What is wrong on the way to a file, beginning at the root; OSError where the way ends."""
    here, links = Path("/"), 0
    ahead = list(reversed((path if path.is_absolute() else Path.cwd() / path).parts[1:]))
    yield from _of_entry(here, here.lstat(), last=not ahead)
    while ahead:
        name = ahead.pop()
        entry = here.parent if name == os.pardir else here / name
        seen = entry.lstat()
        if not stat.S_ISLNK(seen.st_mode):
            here = entry
            yield from _of_entry(here, seen, last=not ahead)
            continue
        links += 1
        if links > MAX_LINKS:
            yield Doubt(path, "its symbolic links lead nowhere", "name the file that is meant")
            return
        yield from _of_owner(entry, seen, "a link of")
        target = entry.readlink()
        ahead += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        here = Path("/") if target.is_absolute() else here


def _of_entry(path: Path, seen: os.stat_result, last: bool) -> Iterator[Doubt]:
    """What is wrong with one file or directory; `last`: with itself, else with the way through it."""
    yield from _of_owner(path, seen, "it belongs to")
    through_sticky = not last and seen.st_mode & stat.S_ISVTX
    if through_sticky or not any(judged(seen.st_mode) for judged in _JUDGED):
        return
    mode = f"mode {stat.S_IMODE(seen.st_mode):04o}"
    if seen.st_mode & stat.S_IWOTH:
        yield Doubt(path, f"every user may write it ({mode})", f"chmod o-w {path}")
    elif seen.st_mode & stat.S_IWGRP:
        others = _others_of(path, seen)
        if others:
            who = ", ".join(sorted(map(user_name, others))[:3])
            yield Doubt(path, f"{who} may write it (group {_group_name(seen.st_gid)}, {mode})", f"chmod g-w {path}")


def _of_owner(path: Path, seen: os.stat_result, how: str) -> Iterator[Doubt]:
    if seen.st_uid not in callers():
        who = f"{how} {user_name(seen.st_uid)}, who is neither root nor you (mode {stat.S_IMODE(seen.st_mode):04o})"
        take = f"use a copy of your own; or look at what it says, then: chown -h root {path}"
        yield Doubt(path, who, take if os.geteuid() == 0 else OWN_COPY)


def callers() -> frozenset[int]:
    """The users whose files are believed: root, the effective user, and for root the one who called sudo."""
    user = os.geteuid()
    behind = os.environ.get("SUDO_UID", "") if user == 0 else ""
    return frozenset({0, user, *([int(behind)] if re.fullmatch(r"[0-9]{1,10}", behind) else [])})


def _others_of(path: Path, seen: os.stat_result) -> set[int]:
    """The users besides `callers` that the bits of its group (with access lists: their mask) let write a file."""
    users, groups = _named_writers(path)
    found = users.union(*(_members(group) for group in (seen.st_gid, *groups)))
    return found - callers()


def _named_writers(path: Path) -> tuple[set[int], set[int]]:
    """The users and groups that a file's access list (acl(5)) names as writers."""
    try:
        entries = os.getxattr(path, ACL)[4:]
    except OSError:  # none, or a file system without any
        return set(), set()
    found = [(tag, who) for tag, rights, who in struct.iter_unpack("<HHI", entries) if rights & _ACL_WRITE]
    return {who for tag, who in found if tag == _ACL_USER}, {who for tag, who in found if tag == _ACL_GROUP}


@functools.lru_cache
def _members(group: int) -> frozenset[int]:
    """The users in a group, by their own entry or by the group's."""
    own = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == group}
    try:
        named = set(grp.getgrgid(group).gr_mem)
    except KeyError:
        return frozenset(own)
    return frozenset(own | {user.pw_uid for user in pwd.getpwall() if user.pw_name in named})


def user_name(user: int) -> str:
    """A user for people: name and number."""
    try:
        return f"{pwd.getpwuid(user).pw_name} ({user})"
    except KeyError:
        return f"user {user}"


def _group_name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
