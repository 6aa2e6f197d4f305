"""The directory of a bundle as it is: nothing in it is reached through a link, or waited for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path, PurePosixPath

from labctl.core.errors import LabctlError, Problem

LARGEST_BYTES = 16 << 30  # of a file of a bundle
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)
PLACE = (
    "put the file or directory itself in its place, or take it away: a bundle holds nothing but files and directories"
)
CORRECT = "correct its name or its permissions, or name another directory"


@dataclass
class Tree:
    """What lies in a directory, by the path below it: regular files, directories, and what is neither with its kind."""

    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    strange: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def behind_strange(self, path: str) -> bool:
        """Whether something strange stands at a path, or on the way to it."""
        return any(str(step) in self.strange for step in (PurePosixPath(path), *PurePosixPath(path).parents))


def walk(root: Path) -> Tree:
    """Everything below a directory, without following a link."""
    tree = Tree()

    def unreadable(error: OSError) -> None:
        tree.problems.append(Problem("a directory cannot be read", error.filename, error.strerror, CORRECT))

    for above, directories, names in os.walk(root, onerror=unreadable):
        for name in (*directories, *names):
            path = Path(above, name)
            kind, below = kind_of(path), str(path.relative_to(root))
            if kind is None:
                tree.files.add(below)
            elif kind == "a directory":
                tree.directories.add(below)
            else:
                tree.strange[below] = kind
                tree.problems.append(Problem(f"there is {kind} in the bundle", str(path), hint=PLACE))
    return tree


def kind_of(path: Path) -> str | None:
    """What stands at a path where it is no regular file: "nothing", "a directory", "a symbolic link" and so on."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL in it
        return str(getattr(error, "strerror", None) or error)
    return None if stat.S_ISREG(mode) else next((words for is_it, words in _KINDS if is_it(mode)), "no file")


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file, for reading: never one behind a link, and nothing that would have to be waited for.

    Raises LabctlError where it is anything else.
    """
    try:
        kind = kind_of(path)
        if kind is not None:  # to open a device may be to do something
            raise LabctlError(Problem("a file of a bundle is no regular file", str(path), kind, PLACE))
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LabctlError(Problem("a file of a bundle cannot be read", str(path), error.strerror, CORRECT)) from error
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise LabctlError(Problem("a file of a bundle is no regular file", str(path), kind_of(path), PLACE))
        yield file
