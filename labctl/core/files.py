"""Files of labctl's own: written whole or not at all, and read with errors that name them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
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


def touch(path: Path) -> None:
    """Make an empty file, unless it is there."""
    try:
        path.touch()
    except OSError as error:
        raise _unwritable(path, error) from error


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> LabctlError:
    hint = "make room or correct the permissions; matrix --resume goes on with a run, and loses nothing of it"
    return LabctlError(Problem("a file cannot be written", str(path), error.strerror, hint))


def write_json(path: Path, content: object) -> None:
    """Write JSON for people too: indented, one trailing newline."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path) -> object:
    """The content of a JSON file. Raises LabctlError when it cannot be read or parsed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabctlError(Problem("a file cannot be read", str(path), error.strerror)) from error
    except ValueError as error:
        raise LabctlError(Problem("a file is not valid JSON", str(path), str(error))) from error


def require_schema(data: object, schema: str, where: Path | str) -> None:
    """Raise LabctlError unless a document is of this schema: one of another version would be misread."""
    seen = data.get("schema") if isinstance(data, Mapping) else None
    if seen != schema:
        hint = "use the labctl that wrote it (attempts/1.json says which), or measure again with this one"
        raise LabctlError(Problem(f"the schema is not {schema}", f"{where}:schema", json.dumps(seen), hint))


def write_yaml(path: Path, content: object, head: str) -> None:
    """Write YAML below a comment that says what the file is."""
    write_text(path, f"# {head}\n---\n" + yaml.safe_dump(content, sort_keys=False))
