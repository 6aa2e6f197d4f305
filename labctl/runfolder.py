"""Where the files of a run are, and how they are written: whole or not at all (docs/run-folder.md)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from labctl.errors import LabctlError, Problem


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        hint = "nothing that was measured before is lost; make room or correct the permissions"
        raise LabctlError(Problem("a file of the run cannot be written", str(path), error.strerror, hint)) from error


def write_json(path: Path, content: object) -> None:
    """Write JSON for people too: indented, one trailing newline."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_yaml(path: Path, content: object, head: str) -> None:
    """Write YAML below a comment that says what the file is."""
    write_text(path, f"# {head}\n---\n" + yaml.safe_dump(content, sort_keys=False))


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def plan(self) -> Path:
        """What was to be done."""
        return self.path / "plan.json"

    @property
    def status(self) -> Path:
        """How far it got."""
        return self.path / "status.json"

    @property
    def samples(self) -> Path:
        """One folder per sample below one per cell."""
        return self.path / "samples"

    @property
    def stop(self) -> Path:
        """While this file exists, no further sample begins."""
        return self.path / "stop"

    def visit(self, setup: str, number: int) -> Path:
        """What belongs to one deployment of a setup."""
        return self.path / "setups" / setup / str(number)
