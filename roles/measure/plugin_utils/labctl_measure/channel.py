"""One agent on one node: a JSON line out, a JSON line back."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from typing import Any

from labctl_measure.transport import Command

PREFIX = b"labctl:"
ANSWER_S = 30.0
LAST_WORDS_S = 2.0  # for what a node says after its output has ended
TOLD_LINES, TOLD_BYTES = 6, 4096  # of what it said last


class ChannelDied(Exception):
    """The agent on a node is gone, or does not answer."""


class Refused(Exception):
    """The agent on a node answered that it cannot do what was asked."""


class Channel:
    """A running agent; `head` is what it waits for on its standard input before requests."""

    def __init__(self, node: str, command: Command, head: bytes) -> None:
        self.node = node
        self.buffer = b""
        self.words = b""  # on standard error, the last of them
        self.banner = b""  # and elsewhere, before the first answer
        self.process = subprocess.Popen(
            command.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        if self.process.stdin is None or self.process.stdout is None or self.process.stderr is None:
            raise ChannelDied(f"{node}: no pipes to {command.argv[0]}")
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        self.open = [self.stdout, self.stderr]
        if command.become is not None:
            self.escalate(command.become)
        self.write(head)

    def escalate(self, become: Any) -> None:
        """Wait until another user is become, and answer the question for a password where there is one to give."""
        deadline, asked = time.monotonic() + ANSWER_S, False
        try:
            while not become.check_success(self.buffer):
                said = self.buffer + self.words
                if become.check_incorrect_password(said) or become.check_missing_password(said):
                    raise self.died("the escalation was refused")
                if not asked and become.expect_prompt() and become.check_password_prompt(said):
                    asked = True
                    self.write(str(become.get_option("become_pass")).encode() + b"\n")
                self.hear(deadline, f"{become.name} did not let in within {ANSWER_S:g} s")
        except ChannelDied as error:
            said = self.buffer + self.words
            if become.check_incorrect_password(said):
                raise ChannelDied(f"{error}: incorrect {become.name} password") from error
            if become.check_missing_password(said):
                raise ChannelDied(f"{error}: missing {become.name} password, use --ask-become-pass") from error
            raise

    def write(self, data: bytes) -> None:
        try:
            self.stdin.write(data)
            self.stdin.flush()
        except OSError as error:
            raise self.died(f"cannot write: {error}", LAST_WORDS_S) from error

    def send(self, op: str, **request: object) -> None:
        self.write(json.dumps({"op": op, **request}).encode() + b"\n")

    def receive(self, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        """Return the next response; other lines (a banner, sudo's own words) are passed over."""
        deadline = time.monotonic() + timeout_s
        while True:
            line, newline, rest = self.buffer.partition(b"\n")
            if newline:
                self.buffer = rest
                if line.startswith(PREFIX):
                    return self.answer(line)
                self.banner = (self.banner + line + b"\n")[-TOLD_BYTES:]
                continue
            self.hear(deadline, f"no answer within {timeout_s:g} s")

    def hear(self, deadline: float, late: str) -> None:
        """Take what the node says next; raise ChannelDied when it ends, or says nothing until the deadline."""
        ready = select.select(self.open, [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            raise self.died(late)
        if self.stderr in ready:
            self.hear_words()
        if self.stdout in ready:
            data = os.read(self.stdout.fileno(), 1 << 16)
            if not data:
                raise self.died("the connection was closed", LAST_WORDS_S)
            self.buffer += data

    def hear_words(self) -> None:
        """Take what stands on standard error."""
        data = os.read(self.stderr.fileno(), 1 << 16)
        self.words = (self.words + data)[-TOLD_BYTES:]
        if not data:
            self.open.remove(self.stderr)

    def answers_within(self, timeout_s: float) -> bool:
        """Whether there is something to receive, by then."""
        return bool(self.buffer) or bool(select.select([self.stdout], [], [], timeout_s)[0])

    def answer(self, line: bytes) -> dict[str, Any]:
        self.banner = b""
        response: dict[str, Any] = json.loads(line[len(PREFIX) :])
        if not response["ok"]:
            raise Refused(f"{self.node}: {response['error']}")
        return response

    def ask(self, op: str, timeout_s: float = ANSWER_S, **request: object) -> dict[str, Any]:
        self.send(op, **request)
        return self.receive(timeout_s)

    def close(self, patience_s: float = 0.0) -> bytes:
        """End the channel, whose far end then ends what it started; return what the node said on standard error.

        With patience, what it still has to say is waited for.
        """
        if self.stdout.closed:
            return self.words
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self.process.kill()
        rest = b""
        with contextlib.suppress(subprocess.TimeoutExpired):  # what it started may hold its output, and not end
            rest = self.process.communicate(timeout=LAST_WORDS_S)[1]
        self.words = (self.words + rest)[-TOLD_BYTES:]
        return self.words

    def died(self, seen: str, patience_s: float = 0.0) -> ChannelDied:
        """Close the channel and say what the node said last."""
        said = self.close(patience_s).strip() or (self.banner + self.buffer).strip()
        lines = said.decode(errors="replace").splitlines()
        # Of a fault of Python its last line is enough.
        words = [line for line in lines if not line.startswith(("Traceback ", " "))] or lines
        return ChannelDied(f"{self.node}: {seen}" + (f" ({'; '.join(words[-TOLD_LINES:])})" if words else ""))
