"""The only module that prints: results on standard output, progress and errors on standard error.

Everything that it prints is escaped here (labctl.core.printable): no node, cluster or run folder talks to the terminal.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, TextIO

from labctl.core.errors import LabctlError
from labctl.core.printable import cut, one_line, printable, wrapped

if TYPE_CHECKING:
    from labctl.core.tables import Document

CLEAR = "\r\x1b[K"
UNKNOWN = 80  # columns of a terminal that does not say
LEAST = 20
SHOWN = 50  # problems of one failure


def out(text: str) -> None:
    """Print a result."""
    print(_encodable(printable(text)))


def show(document: Document, style: str) -> None:
    """Print a result in a style: as wide as the terminal at most; elsewhere nothing has to be broken."""
    from labctl.core.tables import WIDTH, render

    most = columns(sys.stdout)
    out(render(document, style, WIDTH if most is None else min(most, WIDTH), most))


def columns(stream: TextIO) -> int | None:
    """Columns of the terminal that a stream goes to, or as COLUMNS says; None where it goes elsewhere."""
    if not stream.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and told.isascii() and len(told) < 6:
        found = int(told)
    else:
        try:
            found = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError):  # a stream that stands for a terminal
            found = 0
    return max(found, LEAST) if found else UNKNOWN


def _encodable(text: str) -> str:
    """The text as standard output can have it: not every locale knows every letter."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def note(text: str) -> None:
    """Print something about the work, not its result."""
    print(printable(text), file=sys.stderr, flush=True)


def error(failure: LabctlError) -> None:
    """Print every problem of a failure; of very many the first, and how many more there are."""
    for problem in failure.problems[:SHOWN]:
        note(f"error: {problem}")
    if more := len(failure.problems[SHOWN:]):
        note(f"error: {more} more problems like these: mend the first, and try again")


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 02:03."""
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


class Live:
    """Progress: lines that stay, and on a terminal one line that shows the step in hand. Its clock begins now."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._step = ""

    @property
    def elapsed(self) -> str:
        """Time since the beginning."""
        return clock(time.monotonic() - self._started)

    def step(self, text: str, left_s: float | None = None) -> None:
        """Show what is being done; on anything but a terminal nothing is shown."""
        if self._terminal:
            left = "" if left_s is None else f", {clock(left_s)} left"
            self._step = f"{self.elapsed}{left}  {one_line(text)}"
            sys.stderr.write(CLEAR + self._fitting())
            sys.stderr.flush()

    def line(self, text: str) -> None:
        """Add a line that stays."""
        self.clear()
        width = columns(sys.stderr)
        note(text if width is None else wrapped(printable(text), width))
        if self._terminal and self._step:
            sys.stderr.write(self._fitting())
            sys.stderr.flush()

    def timed(self, text: str) -> None:
        """Add a line that stays, with the time since the beginning."""
        self.line(f"{self.elapsed}  {text}")

    def _fitting(self) -> str:
        """The step in hand in the terminal's line: what is cut off has a sign, and a line that wraps stays there."""
        return cut(self._step, (columns(sys.stderr) or UNKNOWN) - 1)

    def clear(self) -> None:
        """Take the step's line away."""
        if self._terminal:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()
