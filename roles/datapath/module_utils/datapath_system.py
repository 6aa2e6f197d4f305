"""How the datapath modules run tools, read settings, and remember what they found on a node."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

RECORD = "/run/labctl/datapath.json"
SCHEMA = "labctl.datapath/2"
TOOL_TIMEOUT_S = 30
POLL_S = 0.01


class Refused(Exception):
    """The node is in a state in which this must not go on; the text says what was seen and what to do."""


class ToolFailed(Exception):
    """A tool of the node ended with an error."""

    def __init__(self, argv: list[str], code: int, output: str) -> None:
        super().__init__(f"`{' '.join(argv)}` ended with {code}: {output.strip()}")
        self.argv = argv
        self.code = code
        self.output = output


def run_bytes(argv: list[str], stdin: bytes = b"") -> bytes:
    """Return the standard output of a tool. Raise ToolFailed for a non-zero exit, Refused if there is no such tool."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=TOOL_TIMEOUT_S)
    except FileNotFoundError as absent:
        raise Refused(f"{argv[0]} is not installed on this node: run playbooks/provision.yml first") from absent
    if done.returncode != 0:
        raise ToolFailed(argv, done.returncode, (done.stderr or done.stdout).decode(errors="replace"))
    return done.stdout


def run(argv: list[str], stdin: str = "") -> str:
    """Return the standard output of a tool as text; raises as `run_bytes` does."""
    return run_bytes(argv, stdin.encode()).decode(errors="replace")


def spawn(argv: list[str]) -> subprocess.Popen[bytes]:
    """Start a tool of which only the exit code is wanted."""
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run_json(argv: list[str]) -> Any:
    """Return what a tool prints as JSON; no output at all reads as an empty list."""
    printed = run(argv)
    return json.loads(printed) if printed.strip() else []


def read_text(path: str) -> str | None:
    """Return a file's stripped text, None when there is no such file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return None


def write_setting(path: str, value: str) -> None:
    """Write one value to a file of /proc/sys or /sys and read it back."""
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(value)
    except OSError as refusal:
        raise Refused(f"{path} cannot be set to {value}: {refusal.strerror}") from refusal
    seen = read_text(path)
    if seen != value:
        raise Refused(f"{path} was set to {value} and reads {seen}")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until it is so; False when it is not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def digest(value: object) -> str:
    """Return a short stable fingerprint of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def load_record() -> dict[str, Any] | None:
    """Return what the last deploy wrote down, None when nothing is deployed."""
    text = read_text(RECORD)
    if text is None:
        return None
    record: dict[str, Any] = json.loads(text)
    if record.get("schema") != SCHEMA:
        raise Refused(
            f"{RECORD} has schema {record.get('schema')}, not {SCHEMA}: another labctl wrote it, undeploy with that one"
        )
    return record


def save_record(record: dict[str, Any]) -> None:
    """Write the record whole and on disk before the change that it describes is made."""
    os.makedirs(os.path.dirname(RECORD), exist_ok=True)
    draft = f"{RECORD}.new"
    with open(draft, "w", encoding="utf-8") as stream:
        json.dump(record, stream, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, RECORD)


def remove_record() -> None:
    """Forget the record: the very last step of an undeploy."""
    os.remove(RECORD)
    if not os.listdir(os.path.dirname(RECORD)):
        os.rmdir(os.path.dirname(RECORD))
