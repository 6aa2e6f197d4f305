"""What went wrong, said so that a person can act on it.

Every error carries one or more problems: what failed, where, what was seen, and what to do next. A stage
collects all of its problems before it raises, so that a user mends them in one go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from labctl.core.printable import one_line

RESTORE = "correct the file, or put it back from a copy"  # what can be said of any file


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `what` states the failure, `where` is file:key, node or task, `seen` is what was found there, and `hint`
    is the next thing to do.
    """

    what: str
    where: str | None = None
    seen: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {one_line(self.where)}")
        if self.seen:
            seen = self.seen.strip().replace("\n", "\n         ")
            lines.append(f"  seen:  {seen}")
        if self.hint:
            lines.append(f"  next:  {self.hint}")
        return "\n".join(lines)


class LabctlError(Exception):
    """A stage failed. `exit_code` is what the process ends with."""

    exit_code = 1

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class UsageError(LabctlError):
    """The command line, a lab or a file given by the user does not make sense."""

    exit_code = 2


@contextmanager
def collected(problems: list[Problem]) -> Iterator[None]:
    """What goes wrong inside is added to `problems`, and the stage goes on to find what else is."""
    try:
        yield
    except LabctlError as error:
        problems.extend(error.problems)


@contextmanager
def advised(hint: str) -> Iterator[None]:
    """What goes wrong inside gets this next step, where it has none but RESTORE: who reads a file knows its use."""
    try:
        yield
    except LabctlError as error:
        problems = (replace(one, hint=hint) if one.hint in (None, RESTORE) else one for one in error.problems)
        raise type(error)(*problems) from error
