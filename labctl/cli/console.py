"""The only module that prints: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

from labctl.core.errors import LabctlError

if TYPE_CHECKING:
    from labctl.core.tables import Document

CLEAR = "\r\x1b[K"


def out(text: str) -> None:
    """Print a result."""
    print(text)


def show(document: Document, style: str) -> None:
    """Print a result in a style."""
    from labctl.core.tables import render

    out(render(document, style, width()))


def width() -> int:
    """Columns that a result may take: the terminal's, within limits; where there is none, the most."""
    from labctl.core.tables import NARROW, WIDTH

    return min(max(shutil.get_terminal_size().columns, NARROW), WIDTH) if sys.stdout.isatty() else WIDTH


def note(text: str) -> None:
    """Print something about the work, not its result."""
    print(text, file=sys.stderr, flush=True)


def error(failure: LabctlError) -> None:
    """Print every problem of a failure."""
    for problem in failure.problems:
        note(f"error: {problem}")


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
            self._step = f"{self.elapsed}{left}  {text}"
            sys.stderr.write(CLEAR + self._step[:110])
            sys.stderr.flush()

    def line(self, text: str) -> None:
        """Add a line that stays."""
        self.clear()
        note(text)
        if self._terminal and self._step:
            sys.stderr.write(self._step[:110])
            sys.stderr.flush()

    def timed(self, text: str) -> None:
        """Add a line that stays, with the time since the beginning."""
        self.line(f"{self.elapsed}  {text}")

    def clear(self) -> None:
        """Take the step's line away."""
        if self._terminal:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()
