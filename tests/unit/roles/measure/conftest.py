"""What tests of the agent share: a real agent on this machine, a container for it to enter, processes that end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from labctl_agent import procfs
from labctl_measure.channel import Channel
from labctl_measure.transport import ARGUMENTS, Command, pack

AGENT = Path(__file__).parents[4] / "roles/measure/files/labctl_agent"
ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
# What an agent that sees a whole machine is told where nobody's processes are ours.
NOBODY: dict[str, Any] = {"starter": None, "server": None, "own": [], "carriers": [], "nodes": []}
Start = Callable[..., AbstractContextManager[Channel]]


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition; fail when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


@contextlib.contextmanager
def running(*argv: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, and end it."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, env={**os.environ, **variables}) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def agent(*before: str) -> Iterator[Channel]:
    """Start the agent as it travels, below a command if one is given, and end it."""
    channel = Channel("here", Command([*before, sys.executable, *ARGUMENTS]), pack(AGENT))
    try:
        yield channel
    finally:
        channel.stdin.close()
        channel.process.wait(timeout=10)
        channel.stdout.close()
        channel.stderr.close()
        for seat in Path("/run").glob("labctl-agent-*"):  # of an agent that was killed
            if seat.read_text().startswith(f"{channel.process.pid} "):
                seat.unlink()


@pytest.fixture
def lifeline() -> Iterator[int]:
    """An input that does not end."""
    reading, writing = os.pipe()
    yield reading
    os.close(reading)
    os.close(writing)


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process that does nothing."""
    with running("sleep", "60") as process:
        until(lambda: b"sleep" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        yield process.pid


@contextlib.contextmanager
def first_process(*command: str) -> Iterator[int]:
    """Run `sleep` as the first process of a process namespace, by a command that ends in `unshare`."""
    with running(*command, "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "60") as process:
        until(lambda: descendants(process.pid, b"sleep"))
        (first,) = descendants(process.pid, b"sleep")
        try:
            yield first
        finally:
            subprocess.run([*ROOT, "kill", "-KILL", str(first)], capture_output=True, check=False)


@pytest.fixture
def node() -> Iterator[tuple[str, ...]]:
    """What a node in a container is to the kernel; the command that runs others there."""
    with first_process(*ROOT, "unshare", "--net") as first:
        yield (*ROOT, "nsenter", f"--target={first}", "--net", "--pid", "--mount")


@pytest.fixture
def container(node: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """What the server of a pod on that node is: a first process, marked by the pod's uid; the uid and the process."""
    uid = f"test-{os.getpid()}"
    command = (*node, "env", f"LABCTL_POD_UID={uid}", "unshare", "--net", "--uts", "--ipc", "--cgroup")
    with first_process(*command) as first:
        yield uid, first


def descendants(pid: int, program: bytes) -> list[int]:
    """Return the processes below one that run a program."""
    below = procfs.children(pid)
    found = [each for each in below if Path(f"/proc/{each}/cmdline").read_bytes().startswith(program + b"\0")]
    return found or [one for each in below for one in descendants(each, program)]
