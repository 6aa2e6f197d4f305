"""What labctl wants of a program that measures: a command, its output as a Reading, and where its server is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

from labctl.core.errors import LabctlError
from labctl.tools.reading import RateUnit, Reading


class ToolError(LabctlError):
    """A program's output, or what is asked of a program, is not what it has to be."""


class Tool(Protocol):
    """A program, set up for one workload: a frozen dataclass whose fields are the workload's `settings`.

    `role` installs it and, by its entry point `serve`, runs its server, which listens on `port` for control.
    """

    name: ClassVar[str]
    role: ClassVar[str]
    port: ClassVar[int]

    @property
    def test(self) -> str:
        """What the program calls this kind of test."""

    @property
    def unit(self) -> RateUnit:
        """What its rates count."""

    @property
    def tail_s(self) -> float:
        """Seconds that a process stays after its test."""

    def length_s(self, duration_s: float, warmup_s: float) -> float:
        """Seconds that the test of a process is asked to take."""

    def argv(
        self, sample: Mapping[str, object], client_address: str, server_address: str, process: int = 0
    ) -> tuple[str, ...]:
        """The command of process number `process` of a planned sample (an item of `measure_samples`)."""

    def stdout_file(self, process: int) -> str:
        """The name of the raw file for what a process prints."""

    def parse(self, text: str, source: str) -> Reading:
        """What a process printed. Raises ToolError with all that is wrong; `source` names the raw file."""
