"""The only module that prints: results on standard output, progress and errors on standard error.

Everything that it prints is escaped here (labctl.core.printable): no node, cluster or run folder talks to the terminal.
What cannot be said on standard error is lost, and nothing else with it: a terminal that was closed must not keep labctl
from cleaning up. A result that cannot be printed is a failure.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from labctl.core.ending import Ended
from labctl.core.errors import LabctlError, Problem
from labctl.core.printable import cut, one_line, printable, wrapped

if TYPE_CHECKING:
    from labctl.core.tables import Document

CLEAR = "\r\x1b[K"
UNKNOWN = 80  # columns of a terminal that does not say
LEAST = 20
SHOWN = 50  # problems of one failure


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
    """Print a result, where a step in hand may stand."""
    clear()
    with _printing():
        print(_encodable(printable(text)), flush=True)


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
    """Print something about the work, not its result, where a step in hand may stand."""
    clear()
    _tell(f"{printable(text)}\n")


def clear() -> None:
    """Take away the step in hand, which stands in the terminal's last line."""
    if sys.stderr.isatty():
        _tell(CLEAR)


def at_once(text: str) -> None:
    """Say something in the middle of anything, even of printing: a signal came."""
    clear = CLEAR if sys.stderr.isatty() else ""
    with suppress(OSError):
        os.write(2, f"{clear}{printable(text)}\n".encode(errors="replace"))


def _tell(text: str) -> None:
    """Write to standard error, if there is one."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


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
            _tell(CLEAR + self._fitting())

    def line(self, text: str) -> None:
        """Add a line that stays."""
        width = columns(sys.stderr)
        note(text if width is None else wrapped(printable(text), width))
        if self._terminal and self._step:
            _tell(self._fitting())

    def timed(self, text: str) -> None:
        """Add a line that stays, with the time since the beginning."""
        self.line(f"{self.elapsed}  {text}")

    def _fitting(self) -> str:
        """The step in hand in the terminal's line: what is cut off has a sign, and a line that wraps stays there."""
        return cut(self._step, (columns(sys.stderr) or UNKNOWN) - 1)
