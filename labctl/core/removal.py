"""Directories that are removed by name, in one place: nothing but what was named, and never half of it in silence.

What goes is a direct child of the directory that is named, and has proved to be what it should. It is renamed first, so
that a removal that is cut short leaves nothing that looks whole, and is found and finished by the next one.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labctl.core.documents import READABLE
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.names import Kind

ASIDE = ".removing-"  # before the name of what is being removed
MOUNTS = Path("/proc/self/mountinfo")


def remove(parent: Path, name: str, kind: Kind, prove: Callable[[Path], Problem | None], again: str) -> None:
    """Remove the directory `name` in `parent`, or what an earlier removal of it left.

    `prove` says why it is not what it should be, None where it is; `again` is the command that goes on with it. Raises
    UsageError for what is not to be removed, LabctlError for what cannot be.
    """
    kind.require(name, str(parent))
    parent = Path(os.path.realpath(parent))  # a way to it through what is removed leads nowhere afterwards
    path, aside = parent / name, parent / f"{ASIDE}{name}"
    if os.path.lexists(path):
        left = _not_a_directory(aside) if os.path.lexists(aside) else None
        problem = left or _not_a_directory(path) or prove(path)
        if problem is not None:
            raise UsageError(problem)
        _tree(aside, again)
        with _removing(path, again):
            path.rename(aside)
    _tree(aside, again)


def cut_short(parent: Path) -> tuple[str, ...]:
    """The names of what was being removed from a directory when the removal ended."""
    return tuple(name.removeprefix(ASIDE) for name in names_in(parent) if name.startswith(ASIDE))


def names_in(parent: Path) -> list[str]:
    """What is in a directory of what can be removed, sorted; nothing where there is none.

    Raises LabctlError where that cannot be seen: it must not pass for nothing.
    """
    try:
        return sorted(os.listdir(parent))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise LabctlError(Problem("a directory cannot be listed", str(parent), error.strerror, READABLE)) from error


def _not_a_directory(path: Path) -> Problem | None:
    """Why a path is no plain directory: a link is not followed, and other file systems in it are somebody else's."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        seen = f"it leads to {path.readlink()}"
        hint = f"rm {path} takes the link away"
        return Problem("this is a symbolic link, which is not followed", str(path), seen, hint)
    if not stat.S_ISDIR(mode):
        return Problem("this is no directory", str(path), hint="remove it by hand if it is not wanted")
    mounts = mounts_in(path)
    if mounts:
        return Problem("something is mounted in it", str(path), ", ".join(map(str, mounts)), f"umount {mounts[-1]}")
    return None


def mounts_in(path: Path) -> tuple[Path, ...]:
    """Where something is mounted on a directory or below it."""
    real = path.resolve()
    fields = (line.split(" ")[4] for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
    points = (Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)) for field in fields)
    return tuple(sorted(point for point in points if point.is_relative_to(real)))


def _tree(aside: Path, again: str) -> None:
    """Remove what was set aside."""
    if os.path.lexists(aside):
        with _removing(aside, again):
            shutil.rmtree(aside)


@contextmanager
def _removing(path: Path, again: str) -> Iterator[None]:
    """What cannot be removed inside is a LabctlError that names it and says how to go on."""
    try:
        yield
    except OSError as error:
        seen = f"{error.filename}: {error.strerror}"
        raise LabctlError(Problem("it cannot be removed", str(path), seen, f"correct that, then: {again}")) from error
