"""One agent on one node: a JSON line out, a JSON line back."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from typing import Any

PREFIX = b"labctl:"
ANSWER_S = 30.0


class ChannelDied(Exception):
    """The agent on a node is gone, or does not answer."""


class Refused(Exception):
    """The agent on a node answered that it cannot do what was asked."""


class Channel:
    """A running agent; `head` is what it waits for on its standard input before requests."""

    def __init__(self, node: str, argv: Sequence[str], head: bytes) -> None:
        self.node = node
        self.buffer = b""
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.process.stdin is None or self.process.stdout is None:
            raise ChannelDied(f"{node}: no pipes to {argv[0]}")
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.write(head)

    def write(self, data: bytes) -> None:
        try:
            self.stdin.write(data)
            self.stdin.flush()
        except OSError as error:
            raise self.died(f"cannot write: {error}") from error

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
                continue
            if not select.select([self.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise self.died(f"no answer within {timeout_s:g} s")
            data = os.read(self.stdout.fileno(), 1 << 16)
            if not data:
                raise self.died("the connection was closed")
            self.buffer += data

    def answers_within(self, timeout_s: float) -> bool:
        """Whether there is something to receive, by then."""
        return bool(self.buffer) or bool(select.select([self.stdout], [], [], timeout_s)[0])

    def answer(self, line: bytes) -> dict[str, Any]:
        response: dict[str, Any] = json.loads(line[len(PREFIX) :])
        if not response["ok"]:
            raise Refused(f"{self.node}: {response['error']}")
        return response

    def ask(self, op: str, timeout_s: float = ANSWER_S, **request: object) -> dict[str, Any]:
        self.send(op, **request)
        return self.receive(timeout_s)

    def close(self) -> bytes:
        """End the channel, whose far end then ends what it started; return what the node said on standard error."""
        self.process.kill()
        return b"" if self.stdout.closed else self.process.communicate()[1]

    def died(self, seen: str) -> ChannelDied:
        """Close the channel and say what the node said last."""
        words = self.close().decode(errors="replace").strip().splitlines()
        return ChannelDied(f"{self.node}: {seen}" + (f" ({words[-1]})" if words else ""))
