"""How the two ends of a proof wait for each other: by datagrams between the nodes' own addresses.

Both nodes run the same task at once. The client's traffic must not begin before the server has read its counters, nor
may the server read them again before the traffic has ended; a task of its own for each step would cost more than all
of the proof.
"""

from __future__ import annotations

import select
import socket
import time

REPEAT_S = 0.02
GOODBYE_S = 2.0
TRAFFIC_S = 60.0
HELLO, READY, DONE, GOODBYE = b"labctl hello", b"labctl ready", b"labctl done", b"labctl goodbye"


class Barrier:
    """One node's end, bound to its own address; use it in a with statement. Times are in seconds."""

    def __init__(self, own: str, peer: str, port: int) -> None:
        self.peer = (peer, port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((own, port))

    def __enter__(self) -> Barrier:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def join(self, wait: float) -> bool:
        """As the client: return once the server is ready, False when it is not in time."""
        return self._exchange(HELLO, READY, wait)

    def leave(self) -> bool:
        """As the client: tell the server that the traffic has ended."""
        return self._exchange(DONE, GOODBYE, GOODBYE_S)

    def attend(self, wait: float) -> bool:
        """As the server: answer the client until its traffic has ended; False when that does not come."""
        deadline = time.monotonic() + wait
        while True:
            said = self._hear(deadline - time.monotonic())
            if said == HELLO:
                self.socket.sendto(READY, self.peer)
                deadline = time.monotonic() + TRAFFIC_S
            elif said == DONE:
                self.socket.sendto(GOODBYE, self.peer)
                return True
            elif time.monotonic() > deadline:
                return False

    def _exchange(self, word: bytes, answer: bytes, wait: float) -> bool:
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            try:
                self.socket.sendto(word, self.peer)
            except OSError:  # no route to the peer yet: a link may come up
                self._hear(REPEAT_S)
                continue
            if self._hear(REPEAT_S) == answer:
                return True
        return False

    def _hear(self, wait: float) -> bytes | None:
        """Return the next datagram of the peer, None after `wait` seconds without one."""
        readable, _, _ = select.select([self.socket], [], [], max(wait, 0))
        if not readable:
            return None
        said, sender = self.socket.recvfrom(64)
        return said if sender == self.peer else None
