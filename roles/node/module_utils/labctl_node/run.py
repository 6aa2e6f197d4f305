"""Tools of the machine: run to their end, their words taken."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from typing import IO, Any, Optional, Sequence

from ansible.module_utils.labctl_node.refused import Refused

# Bounds what hangs, and is more than the slowest takes: an emulated node that installs a kernel.
TIMEOUT_S = 1800.0
MOST_WORDS = 2000
WANTED_POLL_S = 1.0
END_S = 10.0


class CommandFailed(Refused):
    """A tool ended with an error, or not in time. `output` is what it said."""

    def __init__(self, argv: Sequence[str], how: str, output: str = "") -> None:
        super().__init__(f"`{' '.join(argv)}` {how}.", seen=output.strip()[-MOST_WORDS:])
        self.output = output


def attempt(
    argv: Sequence[str], stdin: bytes = b"", timeout_s: Optional[float] = TIMEOUT_S
) -> subprocess.CompletedProcess[bytes]:
    """Run a tool, whatever its exit code. Raise Refused where there is none, CommandFailed where it does not end."""
    try:
        return subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=timeout_s)
    except FileNotFoundError:
        hint = f"Install {argv[0]}; `labctl provision` installs what the nodes of a lab need."
        raise Refused(f"The command {argv[0]} is not installed.", hint=hint) from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(argv, f"did not end within {timeout_s:g} s") from None


def run_bytes(argv: Sequence[str], stdin: bytes = b"", timeout_s: Optional[float] = TIMEOUT_S) -> bytes:
    """Return the standard output of a tool. Raise as `attempt` does, and CommandFailed for an exit code but 0."""
    done = attempt(argv, stdin, timeout_s)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace")
        raise CommandFailed(argv, f"failed with exit code {done.returncode}", words)
    return done.stdout


def run(argv: Sequence[str], stdin: str = "", timeout_s: Optional[float] = TIMEOUT_S) -> str:
    """Return the standard output of a tool as text; raises as `run_bytes` does."""
    return run_bytes(argv, stdin.encode(), timeout_s).decode(errors="replace")


def run_json(argv: Sequence[str]) -> Any:
    """Return what a tool prints as JSON; no output at all reads as an empty list."""
    printed = run(argv)
    return json.loads(printed) if printed.strip() else []


def run_while_wanted(argv: Sequence[str], log: IO[Any]) -> int:
    """Run what takes minutes, its words to `log`; return its exit code.

    Ansible that was ended does not end a module. So this ends its program when nobody is left who reads the module's
    own output, and raises CommandFailed.
    """
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    reader = select.poll()
    reader.register(1, 0)
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(WANTED_POLL_S)
            if any(event & select.POLLERR for _, event in reader.poll(0)):
                raise CommandFailed(argv[:1], "was ended: nobody waits for it any more")
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(END_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def spawn(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a tool of which only the exit code is wanted."""
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
