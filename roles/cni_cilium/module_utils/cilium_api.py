"""Asking a node's Cilium agent: HTTP over its socket, and its program itself for what no answer holds."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
from typing import Any, Optional

from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import CommandFailed, run

ANSWER_S = 10
PROGRAM = "cilium-agent"


class _Agent(http.client.HTTPConnection):
    """HTTP over the agent's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self._path)


def ask(path: str, what: str) -> Any:
    """Return the agent's answer. Raises Refused where it gives none."""
    agent = _Agent(path)
    try:
        agent.request("GET", f"/v1/{what}")
        answer = agent.getresponse()
        body = answer.read()
    except OSError as error:
        raise Refused(
            "The Cilium agent does not answer.", where=path, seen=str(error), hint="Does its pod run on this node?"
        ) from error
    finally:
        agent.close()
    if answer.status != http.client.OK:
        raise Refused(f"The Cilium agent answers {what} with {answer.status}.", where=path, seen=f"{body[:300]!r}")
    return json.loads(body)


def program_version(path: str) -> Optional[str]:
    """Return the version that the agent's own program names; None where it names none.

    The agent is the process at the other end of its socket, and its program is in its own root.
    """
    agent = _Agent(path)
    try:
        agent.connect()
        told = agent.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError as error:
        raise Refused("The Cilium agent does not answer.", where=path, seen=str(error)) from error
    finally:
        agent.close()
    process = struct.unpack("3i", told)[0]
    if not os.path.isdir(f"/proc/{process}/root"):
        return None
    try:
        printed = run(["chroot", f"/proc/{process}/root", PROGRAM, "--version"])
    except CommandFailed:  # it is another program, or a stub of one, and names nothing
        return None
    named = re.match(r"Cilium: (\d+\.\d+\S*)", printed)
    return named and named[1]
