"""Files of labctl's own: written whole or not at all, and read with errors that name them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import yaml

from labctl.core.documents import parse_json, read_text, shortened
from labctl.core.errors import RESTORE, LabctlError, Problem, advised
from labctl.core.records import decode, encode, schema_of

T = TypeVar("T")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one, never a part."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        try:
            with suppress(FileNotFoundError):  # of a crash; or somebody's link, which would be written through
                partial.unlink()
            with partial.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
        except OSError:
            with suppress(OSError):  # on a full disk its room is needed to say so
                partial.unlink(missing_ok=True)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What cannot be made, changed or removed inside is a LabctlError that names `path` and says what to do."""
    try:
        yield
    except OSError as error:
        hint = "make room or correct the permissions; matrix --resume goes on with a run, and loses nothing of it"
        raise LabctlError(Problem("a file cannot be written", str(path), error.strerror, hint)) from error


def write_json(path: Path, content: object) -> None:
    """Write a record, or plain data, as JSON for people too: indented, one trailing newline."""
    write_text(path, json.dumps(encode(content), indent=1) + "\n")


def read_json(path: Path) -> object:
    """The content of a JSON file. Raises LabctlError when it cannot be read or parsed."""
    return parse_json(read_text(path), path)


def require_schema(data: object, schema: str, where: Path | str) -> None:
    """Raise LabctlError unless a document is of this schema: one of another version would be misread."""
    seen = data.get("schema") if isinstance(data, Mapping) else None
    if seen != schema:
        hint = "use the labctl that wrote it (attempts/1.json says which), or measure again with this one"
        what = f"the schema is not {schema}"
        raise LabctlError(Problem(what, f"{where}:schema", shortened(json.dumps(seen)), hint))


def read_record(cls: type[T], path: Path, hint: str = RESTORE) -> T:
    """The record of a schema in a JSON file; `hint` is what to do about a damaged one.

    Raises LabctlError with everything that is wrong with the file.
    """
    with advised(hint):
        data = read_json(path)
        require_schema(data, schema_of(cls), path)
        return decode(cls, data, str(path))


def write_yaml(path: Path, content: object, head: str) -> None:
    """Write YAML below a comment that says what the file is."""
    write_text(path, f"# {head}\n---\n" + yaml.safe_dump(content, sort_keys=False))
