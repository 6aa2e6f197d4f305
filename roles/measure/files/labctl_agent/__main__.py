"""One JSON request a line on standard input, one JSON response a line on standard output, until the input ends.

Every response carries `ok`; a refused request carries `error`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from typing import IO, Any, Mapping

from labctl_agent.agent import Agent, Operation

PREFIX = "labctl:"  # what else comes out of the connection, a banner say, is no response


def say(responses: IO[str], response: Mapping[str, Any]) -> None:
    responses.write(PREFIX + json.dumps(dict({"ok": True}, **response)) + "\n")
    responses.flush()


def serve(operations: Mapping[str, Operation], requests: IO[bytes], responses: IO[str]) -> None:
    """Answer until the requests end. `op` names the operation; the rest of a request are its arguments."""
    for line in iter(requests.readline, b""):
        request = json.loads(line.decode())
        try:
            say(responses, operations[request.pop("op")](**request))
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            say(responses, {"ok": False, "error": "%s: %s" % (type(error).__name__, error)})


def main() -> None:
    # Who became root by su has the search path of the user before, without the tools that are root's.
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    agent = Agent(partial(say, sys.stdout))
    try:
        serve(agent.operations(), sys.stdin.buffer, sys.stdout)
    finally:
        agent.seat.leave()


if __name__ == "__main__":
    main()
