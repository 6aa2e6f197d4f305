"""Where the files of a run are (docs/run-folder.md)."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from labctl.core.errors import LabctlError, Problem
from labctl.core.files import writing

PROBE_BYTES = 1 << 16  # a plan and what it begins with


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

    def attempt(self, number: int) -> Path:
        """What one start of labctl on this run found."""
        return self.path / "attempts" / f"{number}.json"

    def attempts(self) -> tuple[Path, ...]:
        """Every attempt in order."""
        found = (self.path / "attempts").glob("*.json")
        return tuple(sorted((path for path in found if path.stem.isdigit()), key=lambda path: int(path.stem)))

    def visit(self, setup: str, number: int, deployment: int = 1) -> Path:
        """What belongs to one deployment of a setup; `deployment` counts those of one round."""
        name = str(number) if deployment == 1 else f"{number}.{deployment}"
        return self.path / "setups" / setup / name

    def next_deployment(self, setup: str, number: int) -> int:
        """The first deployment of a setup in a round that was not begun yet."""
        deployment = 1
        while self.visit(setup, number, deployment).exists():
            deployment += 1
        return deployment

    def sweep(self) -> None:
        """Remove what an interruption left half written."""
        for partial in self.path.rglob(".*.partial"):
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink()


def require_writable(directory: Path) -> None:
    """See that a run can be written, before hours of work are: here, or where the directory is to be made."""
    there = directory.exists() or directory.is_symlink()
    with writing(directory), tempfile.TemporaryFile(dir=directory if there else directory.parent) as probe:
        probe.write(bytes(PROBE_BYTES))
        probe.flush()


def set_aside(path: Path, why: str) -> Path:
    """Rename a file or folder of a run to `<name>.<why>-<k>`, where nothing reads it as what it was; the new path."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
    except OSError as error:
        raise LabctlError(Problem("a part of the run cannot be set aside", str(path), error.strerror)) from error
    return aside
