"""Files of labctl's own: written whole or not at all, and read with errors that name them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

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


class Template(str):
    """A text that `write_yaml` leaves for Ansible to render: labctl's own code holds it, and nobody gave it."""

    __slots__ = ()


# What is generated for the nodes' interpreter where Ansible itself does the work, on this machine.
OWN_PYTHON = Template("{{ ansible_playbook_python }}")


def write_yaml(path: Path, content: object, head: str) -> None:
    """Write YAML for Ansible below a comment that says what the file is.

    Ansible renders what it reads from a file as a template, and so would run what a person, a bundle, a cluster or the
    name of a directory says. So each text is marked `!unsafe`, which is taken as it is. Not marked are a `Template`,
    keys, which Ansible does not render, and what without quotes would be no text: a number, a truth value, nothing.
    """
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False)
    write_text(path, f"# {head}\n---\n{text}")


def read_yaml(path: Path) -> Any:
    """What `write_yaml` wrote, its texts as they were given."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader


UNSAFE, TEXT = "!unsafe", "tag:yaml.org,2002:str"


class _Dumper(yaml.SafeDumper):
    """Marks every text that is no `Template` and no key."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        for key, _ in node.value:
            if key.tag == UNSAFE:
                key.tag = TEXT
        return node

    def text(self, value: str) -> yaml.ScalarNode:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            hint = "give the file, directory or option that it is from a name in UTF-8"
            raise LabctlError(
                Problem("a text is not UTF-8, so Ansible cannot be told it", seen=ascii(value), hint=hint)
            ) from error
        # Ansible passes over the quotes of what is marked: "5.10" would become a number. No such text is a template.
        looks_like: str = self.resolve(yaml.ScalarNode, str(value), (True, False))  # type: ignore[no-untyped-call]
        marked = looks_like == TEXT and not isinstance(value, Template)
        return self.represent_scalar(UNSAFE if marked else TEXT, str(value))

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (as every dumper has it)
        """Never an alias: a person reads the file, and what is marked once would be named twice."""
        return True


_Dumper.add_multi_representer(str, _Dumper.text)
_Dumper.add_representer(str, _Dumper.text)


class _Loader(yaml.SafeLoader):
    """Takes the mark away again."""


_Loader.add_constructor(UNSAFE, lambda _, node: node.value)
