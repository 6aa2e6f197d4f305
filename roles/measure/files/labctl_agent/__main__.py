"""One JSON request a line on standard input, one JSON response a line on standard output, until the input ends."""

from __future__ import annotations

import sys

from labctl_agent.agent import Agent
from labctl_agent.protocol import serve


def main() -> None:
    agent = Agent()
    try:
        serve(agent.operations(), sys.stdin.buffer, sys.stdout)
    finally:
        agent.seat.leave()


if __name__ == "__main__":
    main()
