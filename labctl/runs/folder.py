"""Where the files of a run are, and how they are written: whole or not at all (docs/run-folder.md)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from labctl.core.errors import LabctlError, Problem


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one, never a part."""
    make_directory(path.parent)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        with suppress(OSError):  # on a full disk its room is needed to say so
            partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def make_directory(path: Path) -> None:
    """Make a directory, and those above it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> LabctlError:
    hint = "nothing that was measured before is lost; make room or correct the permissions, then matrix --resume"
    return LabctlError(Problem("a file of the run cannot be written", str(path), error.strerror, hint))


def write_json(path: Path, content: object) -> None:
    """Write JSON for people too: indented, one trailing newline."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path) -> object:
    """The content of a JSON file. Raises LabctlError when it cannot be read or parsed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabctlError(Problem("a file of the run cannot be read", str(path), error.strerror)) from error
    except ValueError as error:
        raise LabctlError(Problem("a file of the run is not valid JSON", str(path), str(error))) from error


def require_schema(data: object, schema: str, where: Path | str) -> None:
    """Raise LabctlError unless a document is of this schema: one of another version would be misread."""
    seen = data.get("schema") if isinstance(data, Mapping) else None
    if seen != schema:
        hint = "use the labctl that wrote it (attempts/1.json says which), or measure again with this one"
        raise LabctlError(Problem(f"the schema is not {schema}", f"{where}:schema", json.dumps(seen), hint))


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
