"""Commands, processes and waiting: what the modules of the labs ask of the host."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

PROBE_INTERVAL_S = 0.02


class Failed(Exception):
    """An action on the host failed; the problems say what, where, seen and next, each a text."""

    def __init__(self, *problems: Mapping[str, str]) -> None:
        super().__init__(*problems)
        self.problems = problems

    def result(self) -> dict[str, object]:
        """The arguments of fail_json: `msg` for people, `problems` for labctl."""
        return {"msg": "\n".join(map(_text, self.problems)), "problems": list(self.problems)}


def _text(problem: Mapping[str, str]) -> str:
    names = (("where", "where"), ("seen", "seen"), ("next", "hint"))
    rest = [f"  {name}: {problem[key]}" for name, key in names if problem.get(key)]
    return "\n".join([problem["what"], *rest])


def run(argv: Sequence[str], stdin: str | None = None) -> str:
    """Run a command and return its standard output. Raises Failed with its standard error unless it exits 0."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Failed({"what": f"The command {argv[0]} is not on this host.", "hint": f"Install {argv[0]}."}) from None
    if done.returncode != 0:
        raise Failed(
            {
                "what": f"`{' '.join(argv)}` failed with exit code {done.returncode}.",
                "where": "this host",
                "seen": (done.stderr or done.stdout).strip()[-2000:],
            }
        )
    return done.stdout


def wait_until(condition: Callable[[], bool], timeout_s: float, interval_s: float = PROBE_INTERVAL_S) -> bool:
    """Ask again until the condition holds. False once the time is over: the caller says what that means."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(interval_s)
    return True


@dataclass(frozen=True)
class Process:
    """A process told apart from a later one with its number by its start (clock ticks since boot)."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return process(self.pid) == self


def process(pid: int) -> Process | None:
    """The process of a pid, or None when there is none or only its remains (a zombie)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]))


def pids() -> list[int]:
    """The numbers of all processes of the host."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def processes_in_namespace(path: str) -> list[int]:
    """The processes whose network namespace is the one mounted at `path`; none when nothing is."""
    try:
        wanted = os.stat(path)
    except FileNotFoundError:
        return []
    found = []
    for pid in pids():
        try:
            seen = os.stat(f"/proc/{pid}/ns/net")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or is closed even to root, which nothing in a node is
        if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(pid)
    return found


def kill(numbers: Iterable[int], timeout_s: float = 10.0) -> int:
    """End processes at once and wait for their ends. Returns how many there were; raises Failed for a survivor."""
    deadline = time.monotonic() + timeout_s
    with contextlib.ExitStack() as stack:
        handles: dict[int, int] = {}
        for pid in set(numbers):
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                continue  # gone already, which is what we want
            stack.callback(os.close, handle)
            handles[handle] = pid
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        count = len(handles)
        poll = select.poll()
        for handle in handles:
            poll.register(handle, select.POLLIN)
        while handles:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                survivors = ", ".join(str(pid) for pid in sorted(handles.values()))
                raise Failed({"what": "Processes of a node do not end.", "seen": f"pid {survivors}"})
            for handle, _ in ready:
                poll.unregister(handle)
                del handles[handle]
    return count
