"""The only module that prints: results on standard output, progress and errors on standard error.

What cannot be said on standard error is lost, and nothing else with it: a terminal that was closed must not keep labctl
from cleaning up. A result that cannot be printed is a failure.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from labctl.core.ending import Ended
from labctl.core.errors import LabctlError, Problem

if TYPE_CHECKING:
    from labctl.core.tables import Document

CLEAR = "\r\x1b[K"


def require_output() -> None:
    """See that a result can be printed before there is one: a full device and a reader that is gone say so at once.

    Standard streams that are closed are opened on nothing, so that no file of ours takes their numbers.
    """
    for number in (0, 2):
        with suppress(OSError):
            os.fstat(number)
            continue
        _nowhere(number)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    with _printing():
        os.write(1, b"")
        reader = select.poll()
        reader.register(1, 0)
        if any(event & select.POLLERR for _, event in reader.poll(0)):
            raise Ended(signal.SIGPIPE)


@contextmanager
def _printing() -> Iterator[None]:
    """A reader of standard output that is gone ends labctl as the signal would; what else cannot be printed fails."""
    try:
        yield
    except OSError as error:
        forget_output()
        if error.errno == errno.EPIPE:
            raise Ended(signal.SIGPIPE) from None
        hint = "send it elsewhere; what was measured is in the run folder: labctl report prints it again"
        raise LabctlError(Problem("the result cannot be printed", "standard output", error.strerror, hint)) from None


def forget_output() -> None:
    """Let what still waits to be printed go nowhere, so that Python does not try it again at its end."""
    with suppress(OSError):
        _nowhere(1)


def _nowhere(number: int) -> None:
    """Let a standard stream lead to nothing, also for what is started."""
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)
    os.set_inheritable(number, True)


def out(text: str) -> None:
    """Print a result."""
    with _printing():
        print(text, flush=True)


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
    _tell(f"{text}\n")


def at_once(text: str) -> None:
    """Say something in the middle of anything, even of printing: a signal came."""
    clear = CLEAR if sys.stderr.isatty() else ""
    with suppress(OSError):
        os.write(2, f"{clear}{text}\n".encode(errors="replace"))


def _tell(text: str) -> None:
    """Write to standard error, if there is one."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


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
            _tell(CLEAR + self._step[:110])

    def line(self, text: str) -> None:
        """Add a line that stays."""
        self.clear()
        note(text)
        if self._terminal and self._step:
            _tell(self._step[:110])

    def timed(self, text: str) -> None:
        """Add a line that stays, with the time since the beginning."""
        self.line(f"{self.elapsed}  {text}")

    def clear(self) -> None:
        """Take the step's line away."""
        if self._terminal:
            _tell(CLEAR)
