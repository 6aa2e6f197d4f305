"""One JSON request a line on standard input, one JSON response a line on standard output, until the input ends.

Every response carries `ok`; a refused request carries `error`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import IO, Mapping

from labctl_agent.agent import Agent, Operation

PREFIX = "labctl:"  # what else comes out of the connection, a banner say, is no response


def serve(operations: Mapping[str, Operation], requests: IO[bytes], responses: IO[str]) -> None:
    """Answer until the requests end. `op` names the operation; the rest of a request are its arguments."""
    for line in iter(requests.readline, b""):
        request = json.loads(line.decode())
        try:
            response = dict(operations[request.pop("op")](**request), ok=True)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            response = {"ok": False, "error": "%s: %s" % (type(error).__name__, error)}
        responses.write(PREFIX + json.dumps(response) + "\n")
        responses.flush()


def main() -> None:
    agent = Agent()
    try:
        serve(agent.operations(), sys.stdin.buffer, sys.stdout)
    finally:
        agent.seat.leave()


if __name__ == "__main__":
    main()
