"""What labctl wants of a program that measures: a command, its output as a Reading, and where its server is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from labctl.core.errors import LabctlError
from labctl.tools.reading import RateUnit, Reading


class ToolError(LabctlError):
    """A program's output, or what is asked of a program, is not what it has to be."""


@dataclass(frozen=True)
class Server:
    """The other end of a program: run by the entry point `serve` of `role`, as process `name` of systemd's `unit`.

    It listens for control on `port`.
    """

    role: str
    name: str
    unit: str
    port: int


class Tool(Protocol):
    """A program, set up for one workload: a frozen dataclass whose fields are the workload's `settings`."""

    name: ClassVar[str]
    server: ClassVar[Server]

    @property
    def test(self) -> str:
        """What the program calls this kind of test."""

    @property
    def unit(self) -> RateUnit:
        """What its rates count."""

    @property
    def tail_s(self) -> float:
        """Seconds that a process stays after its test."""

    @property
    def ends_server(self) -> int | None:
        """The signal by which what the server runs for a test ends its waiting, once the time of all clients is over.

        None where it ends by itself.
        """

    @property
    def local_ports(self) -> int | None:
        """How many ports a client process takes one after the other for its connections, before it takes them again.

        None where it keeps its connections.
        """

    def length_s(self, duration_s: float, warmup_s: float) -> float:
        """Seconds that the test of a process is asked to take."""

    def argv(
        self,
        sample: Mapping[str, object],
        client_address: str,
        server_address: str,
        process: int = 0,
        server_cpu: int | None = None,
    ) -> tuple[str, ...]:
        """The command of process number `process` of a planned sample (an item of `measure_samples`).

        What the server runs for it is to run on `server_cpu`, if the program can tell the server so.
        """

    def stdout_file(self, process: int) -> str:
        """The name of the raw file for what a process prints."""

    def complaint(self, stdout: str) -> str:
        """What a process that failed said of it in its output, line by line; empty for nothing."""

    def parse(self, text: str, source: str) -> Reading:
        """What a process printed. Raises ToolError with all that is wrong; `source` names the raw file."""
