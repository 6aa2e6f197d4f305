"""Where the files of a run are (docs/run-folder.md)."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from labctl.core.documents import READABLE
from labctl.core.errors import LabctlError, Problem
from labctl.core.files import read_json, writing
from labctl.core.names import RUN

ID = re.compile(r"\d{8}-\d{6}-.+")  # as a plan names its run
SCHEMAS = ("labctl.plan/", "labctl.status/", "labctl.attempt/")
PARTS = ("plan.json", "status.json", "attempts", "samples", "setups")
NUMBER = re.compile("[1-9][0-9]{0,8}")  # of an attempt
ASIDE = re.compile(r"[^.].*\..*-.*")  # of a sample
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
        found = [path for path in entries(self.path / "attempts") if path.suffix == ".json"]
        return tuple(sorted((path for path in found if NUMBER.fullmatch(path.stem)), key=lambda path: int(path.stem)))

    def visit(self, setup: str, number: int, deployment: int = 1) -> Path:
        """What belongs to one deployment of a setup; `deployment` counts those of one round."""
        name = str(number) if deployment == 1 else f"{number}.{deployment}"
        return self.path / "setups" / setup / name

    def of_visits(self, name: str, setup: str | None = None) -> Iterator[Path]:
        """The file of this name of every deployment, or of those of a setup."""
        for own in entries(self.path / "setups"):
            for visit in entries(own) if setup in (None, own.name) else ():
                yield from (path for path in entries(visit) if path.name == name)

    def set_aside(self) -> tuple[Path, ...]:
        """The folders of samples that were set aside: `<round>-<n>.<why>-<k>`."""
        found = (path for cell in entries(self.samples) for path in entries(cell))
        return tuple(path for path in found if ASIDE.fullmatch(path.name) and path.is_dir())

    def next_deployment(self, setup: str, number: int) -> int:
        """The first deployment of a setup in a round that was not begun yet."""
        deployment = 1
        while self.visit(setup, number, deployment).exists():
            deployment += 1
        return deployment

    def seems_a_run(self) -> bool:
        """Whether it is called and made like a run, damaged or not. A link is none, wherever it leads."""
        if RUN.problem(self.path.name, "") or self.path.is_symlink() or not self.path.is_dir():
            return False
        return any(os.path.lexists(self.path / part) for part in PARTS[:3]) or bool(ID.fullmatch(self.path.name))

    def proves_a_run(self) -> bool:
        """Whether it holds a record that says what it is, or is called as labctl calls a run and holds parts of one."""
        if not self.seems_a_run():
            return False
        if any(_says_run(record) for record in (self.plan, self.status, *self.attempts())):
            return True
        inside = {path.name for path in self.path.iterdir()}
        return bool(ID.fullmatch(self.path.name)) and (not inside or not inside.isdisjoint(PARTS))

    def sweep(self) -> None:
        """Remove what an interruption left half written."""
        for partial in list(self.path.rglob(".*.partial")):
            with writing(partial):
                if partial.is_dir() and not partial.is_symlink():
                    shutil.rmtree(partial)
                else:
                    partial.unlink(missing_ok=True)  # what lay in another one is gone with it


def entries(directory: Path) -> list[Path]:
    """What is in a directory of a run, sorted; nothing where there is none.

    Raises LabctlError where it cannot be listed: what is in it must not pass for what is not there.
    """
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise LabctlError(
            Problem("a directory of the run cannot be read", str(directory), error.strerror, READABLE)
        ) from error


def _says_run(record: Path) -> bool:
    """Whether a file is a record of a run, of whatever version."""
    with suppress(LabctlError):
        data = read_json(record) if record.is_file() else None
        return isinstance(data, Mapping) and str(data.get("schema")).startswith(SCHEMAS)
    return False


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
        what, hint = "a part of the run cannot be set aside", "correct the permissions of the run's folder"
        raise LabctlError(Problem(what, str(path), error.strerror, hint)) from error
    return aside
