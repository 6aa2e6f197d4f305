"""How the two ends of a proof wait for each other: by datagrams between the nodes' own addresses.

Both nodes run the same task at once. The client's traffic must not begin before the server has read its counters, nor
may the server read them again before the traffic has ended; a task of its own for each step would cost more than all
of the proof. Where either end lost frames of what it watched, the traffic is sent once more: that is another attempt,
and every word is said with its number.
"""

from __future__ import annotations

import select
import socket
import time

REPEAT_S = 0.02
GOODBYE_S = 10.0  # the server reads what its tap holds meanwhile
TRAFFIC_S = 60.0
HELLO, READY, DONE, AGAIN, GOODBYE = "hello", "ready", "done", "again", "goodbye"
# What the client adds to DONE: whether it saw all of its traffic.
WHOLE, LOST = "whole", "lost"


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

    def join(self, attempt: int, wait: float) -> bool:
        """As the client: return once the server is ready for an attempt, False when it is not in time."""
        return self._exchange((HELLO,), attempt, (READY,), wait) is not None

    def leave(self, attempt: int, lost: bool) -> bool:
        """As the client: tell the server that the traffic has ended, and whether all was seen.

        Return whether the server wants it again.
        """
        said = (DONE, LOST if lost else WHOLE)
        return self._exchange(said, attempt, (AGAIN, GOODBYE), GOODBYE_S) == AGAIN

    def attend(self, attempt: int, wait: float) -> bool | None:
        """As the server: answer the client until its traffic has ended.

        Return whether the client lost something of it, None when the end does not come. The client then waits for
        `answer`.
        """
        deadline = time.monotonic() + wait
        while True:
            words = self._hear(deadline - time.monotonic())
            if words == [HELLO, str(attempt)]:
                self._say(READY, attempt)
                deadline = time.monotonic() + TRAFFIC_S
            elif words in ([DONE, WHOLE, str(attempt)], [DONE, LOST, str(attempt)]):
                return words[1] == LOST
            elif words and words[0] == DONE:  # the answer to the attempt before was lost
                self._say(AGAIN, attempt - 1)
            elif time.monotonic() > deadline:
                return None

    def answer(self, attempt: int, again: bool) -> None:
        """As the server: tell the client whether it has to send its traffic once more."""
        self._say(AGAIN if again else GOODBYE, attempt)

    def _say(self, *words: object) -> None:
        self.socket.sendto(" ".join(("labctl", *map(str, words))).encode(), self.peer)

    def _exchange(self, words: tuple[str, ...], attempt: int, answers: tuple[str, ...], wait: float) -> str | None:
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            try:
                self._say(*words, attempt)
            except OSError:  # no route to the peer yet: a link may come up
                self._hear(REPEAT_S)
                continue
            heard = self._hear(REPEAT_S)
            if heard and heard[0] in answers and heard[1:] == [str(attempt)]:
                return heard[0]
        return None

    def _hear(self, wait: float) -> list[str] | None:
        """Return the words of the peer's next datagram, None after `wait` seconds without one."""
        readable, _, _ = select.select([self.socket], [], [], max(wait, 0))
        if not readable:
            return None
        said, sender = self.socket.recvfrom(64)
        words = said.decode(errors="replace").split()
        return words[1:] if sender == self.peer and words[:1] == ["labctl"] else None
