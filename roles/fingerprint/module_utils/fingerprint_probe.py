"""Read one node: files below a root, and the output of commands that run side by side.

Everything here only reads. What cannot be read is None, never an empty string or a zero.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Dict, List, Mapping, Optional, Protocol, Sequence, Tuple

TOOL_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"

# A command that takes longer counts as not readable: a fingerprint is taken between measurements. Emulated nodes take
# seconds to load what a command asks for.
DEADLINE_S = 10.0


class Outputs(Protocol):
    """Where the output of the node's commands comes from."""

    def output(self, name: str) -> Optional[str]:
        """Standard output of the command called `name`; None where it is missing or failed."""


class Runner(Outputs, Protocol):
    """What runs the node's commands."""

    def start(self, commands: Mapping[str, Sequence[str]], stdin: Optional[str] = None) -> None:
        """Start each command of `name -> argv`."""


class Files:
    """The files of a node below `root`, which is `/` except in tests."""

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def path(self, path: str) -> str:
        """`path`, absolute on the node, as a path of this process."""
        return os.path.join(self.root, path.lstrip("/"))

    def text(self, path: str) -> Optional[str]:
        """The content without surrounding blanks; None where it cannot be read or is empty."""
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as stream:
                return stream.read().strip() or None
        except OSError:
            # Absent, not permitted, or a sysfs attribute that has no value at the moment: all are "not known".
            return None

    def words(self, path: str) -> Optional[str]:
        """The content with every run of blanks as one blank; None where it cannot be read."""
        text = self.text(path)
        return None if text is None else " ".join(text.split())

    def integer(self, path: str) -> Optional[int]:
        """The content as an integer; None where it is none or cannot be read."""
        text = self.text(path)
        return None if text is None else integer(text)

    def switch(self, path: str, on: str = "1", off: str = "0") -> Optional[bool]:
        """True or False where the content is `on` or `off`, else None."""
        return {on: True, off: False}.get(self.text(path) or "")

    def names(self, path: str) -> List[str]:
        """The sorted names in a directory; none where it cannot be read."""
        try:
            return sorted(os.listdir(self.path(path)))
        except OSError:
            return []


class Commands:
    """Commands started together, so that all of them take about as long as the slowest."""

    def __init__(self) -> None:
        self._running: Dict[str, subprocess.Popen[str]] = {}
        self._outputs: Dict[str, Optional[str]] = {}

    def start(self, commands: Mapping[str, Sequence[str]], stdin: Optional[str] = None) -> None:
        """Start each command of `name -> argv` whose program is installed; `stdin` goes to every one."""
        for name, argv in commands.items():
            program = shutil.which(argv[0], path=TOOL_PATH)
            if program is None:
                self._outputs[name] = None
                continue
            process = subprocess.Popen(
                [program, *argv[1:]],
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PATH": TOOL_PATH, "LC_ALL": "C"},
                text=True,
                errors="replace",
            )
            if stdin is not None and process.stdin is not None:
                process.stdin.write(stdin)
                process.stdin.close()
                process.stdin = None
            self._running[name] = process

    def output(self, name: str) -> Optional[str]:
        """Standard output of a started command; None where it is missing, failed or took too long."""
        process = self._running.pop(name, None)
        if process is not None:
            self._outputs[name] = _collect(process)
        return self._outputs.get(name)

    def end(self) -> None:
        """Collect what nobody asked for, so that no process is left behind."""
        for name in list(self._running):
            self.output(name)


def _collect(process: subprocess.Popen[str]) -> Optional[str]:
    try:
        text, _ = process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return text if process.returncode == 0 else None


def integer(text: Optional[str]) -> Optional[int]:
    """`text` as an integer, None where it is none, or none of 64 bits."""
    return int(text) if text and re.match(r"\s*[+-]?[0-9]{1,19}\s*\Z", text) else None


def decimal(text: str) -> Optional[float]:
    """`text` as a number, None where it is none."""
    return float(text) if re.match(r"-?[0-9]{1,19}([.][0-9]{1,19})?\Z", text) else None


def cpu_list(text: Optional[str]) -> Tuple[int, ...]:
    """The CPUs of a kernel list such as `0-3,8`; none for an empty or missing one, or what is no such list."""
    cpus: List[int] = []
    for part in (text or "").split(","):
        bounds = re.match(r"\s*([0-9]{1,5})(?:-([0-9]{1,5}))?\s*\Z", part)
        if bounds:
            cpus.extend(range(int(bounds.group(1)), int(bounds.group(2) or bounds.group(1)) + 1))
    return tuple(cpus)


def cpu_ranges(cpus: Sequence[int]) -> str:
    """CPUs in the kernel's list form, the inverse of `cpu_list`."""
    ranges: List[List[int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
