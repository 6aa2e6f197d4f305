"""Being asked to end: SIGINT (Ctrl-C), SIGTERM, SIGHUP (the terminal is gone) and SIGQUIT all mean the same.

Work that can end in order says so (`answered`), and is told; anything else is left by an exception, `Ended`, that
passes every clean-up on its way. Whoever catches it last ends the process with 128 + the signal's number.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
LAST = 3  # that many signals end even a clean-up: what is left then is found by the next labctl

# Told how often it was asked; returns what is said to the user.
Answer = Callable[[int], str]


class Ended(BaseException):
    """The process was asked to end. `left` says what there is now and what to do next, for the user."""

    def __init__(self, number: int, left: str | None = None) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)
        self.left = left

    @property
    def exit_code(self) -> int:
        """What a shell says of a process that the signal ended."""
        return 128 + self.number


@dataclass
class Requests:
    """The signals so far: the first, and how many. `leaving` once the work was left, and only clean-ups run."""

    say: Callable[[str], None]
    first: signal.Signals | None = None
    count: int = 0
    leaving: bool = False
    answers: list[Answer] = field(default_factory=list)

    def take(self, number: int, _frame: FrameType | None = None) -> None:
        """Take a signal: tell the work in hand, or leave it."""
        self.first = self.first or signal.Signals(number)
        self.count += 1
        if self.answers:
            words = [answer(self.count) for answer in self.answers]
            self.say(f"{self.first.name}: {words[0]}")
        elif not self.leaving:
            self.leaving = True
            raise Ended(self.first)
        elif self.count < LAST:
            self.say(f"{self.first.name}: cleaning up; once more ends that, too")
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def leave(self) -> None:
        """Leave the work now that it has come to an end in order."""
        if self.first is not None and not self.leaving:
            self.leaving = True
            raise Ended(self.first)


_heard: list[Requests] = []


@contextmanager
def heard(say: Callable[[str], None]) -> Iterator[Requests]:
    """Hear the signals inside; `say` must work in the middle of anything.

    What the caller of this process had ignored stays ignored: nohup, and jobs in the background of a script.
    """
    requests = Requests(say)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, requests.take)
    _heard.append(requests)
    try:
        yield requests
    finally:
        _heard.pop()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def answered(answer: Answer) -> Iterator[None]:
    """Inside, `answer` is told of signals, and nothing is raised; the outermost one's words are said.

    At the end of the outermost one the work is left if there was a signal, unless it is `kept`.
    """
    with kept(answer):
        yield
    for requests in _heard[-1:]:
        if not requests.answers:
            requests.leave()


@contextmanager
def kept(answer: Answer) -> Iterator[None]:
    """As `answered`, for work that ends by itself in order: the caller goes on after it, to say how it ended."""
    for requests in _heard[-1:]:
        requests.answers.append(answer)
    try:
        yield
    finally:
        for requests in _heard[-1:]:
            requests.answers.remove(answer)


@contextmanager
def leaves(left: str) -> Iterator[None]:
    """Say what there is and what to do next, if the work inside is left."""
    try:
        yield
    except Ended as ended:
        ended.left = ended.left or left
        raise
