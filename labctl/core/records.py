"""Frozen dataclasses from plain data (YAML, JSON) and back, strictly.

The types of a dataclass are its schema: an unknown key, a missing key and a value of another type are each a
`Problem` whose `where` is file:key, and all problems of one document are raised together.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from labctl.core.documents import parse_yaml, read_text, shortened
from labctl.core.errors import RESTORE, LabctlError, Problem, advised

T = TypeVar("T")
_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    types.NoneType: "null",
}


def load_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises LabctlError when it cannot be read or parsed."""
    return parse_yaml(read_text(path), path)


def decode(cls: type[T], data: object, where: str, key: str = "") -> T:
    """`data` (dicts, lists, scalars) as a `cls`.

    `where` names the document in messages ("workloads/netperf.yml") and `key` the place of `data` inside it.
    Raises LabctlError with every unknown key, missing key and wrong value.
    """
    with advised(RESTORE):
        return typing.cast(T, _value(cls, data, where, key))


def encode(value: object) -> Any:
    """A dataclass, mapping, sequence or scalar as what `json.dumps` and `yaml.safe_dump` take."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {encode(key): encode(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    return value


def schema_of(cls: type) -> str:
    """The schema of a record that has one: the literal that is the type of its field `schema`."""
    (schema,) = typing.get_args(_hints(cls)["schema"])
    return str(schema)


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown word: the closest known one, and all of them."""
    words = list(known)
    close = difflib.get_close_matches(word, words, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}known: {', '.join(words)}"


def _value(wanted: Any, data: object, where: str, key: str) -> object:
    """`data` as the type `wanted`; the key path inside the document is `key`."""
    if wanted is object or wanted is Any:
        return data
    origin = typing.get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(wanted), data, where, key)
    if origin is typing.Literal:
        if data in typing.get_args(wanted):
            return data
        raise _wrong(where, key, data, _name(wanted))
    if dataclasses.is_dataclass(wanted):
        return _record(wanted, data, where, key)
    if origin is tuple:
        return _sequence(typing.get_args(wanted), data, where, key)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(typing.get_args(wanted), data, where, key)
    return _scalar(wanted, data, where, key)


def _scalar(wanted: Any, data: object, where: str, key: str) -> object:
    if wanted is types.NoneType and data is None:
        return None
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        try:
            return wanted(data)
        except ValueError:
            raise _wrong(where, key, data, _name(wanted)) from None
    if isinstance(data, bool):  # an int to Python, never a number here
        if wanted is bool:
            return data
    elif wanted is float and isinstance(data, (int, float)):
        return float(data)
    elif wanted in (int, str) and isinstance(data, wanted):
        return data
    raise _wrong(where, key, data, _name(wanted))


def _record(wanted: Any, data: object, where: str, key: str) -> object:
    if not isinstance(data, Mapping):
        raise _wrong(where, key, data, "a mapping")
    fields = {field.name: field for field in dataclasses.fields(wanted)}
    problems = [
        Problem("unknown key", _place(where, _below(key, name)), hint=suggestion(str(name), fields))
        for name in data
        if name not in fields
    ]
    hints = _hints(wanted)
    values: dict[str, object] = {}
    for name, field in fields.items():
        if name in data:
            try:
                values[name] = _value(hints[name], data[name], where, _below(key, name))
            except LabctlError as error:
                problems.extend(error.problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(Problem("missing key", _place(where, _below(key, name))))
    if problems:
        raise LabctlError(*problems)
    return wanted(**values)


def _mapping(args: tuple[Any, ...], data: object, where: str, key: str) -> dict[object, object]:
    if not isinstance(data, Mapping):
        raise _wrong(where, key, data, "a mapping")
    result: dict[object, object] = {}
    problems: list[Problem] = []
    for name, item in data.items():
        place = _below(key, name)
        try:
            result[_value(args[0], name, where, place)] = _value(args[1], item, where, place)
        except LabctlError as error:
            problems.extend(error.problems)
    if problems:
        raise LabctlError(*problems)
    return result


def _sequence(args: tuple[Any, ...], data: object, where: str, key: str) -> tuple[object, ...]:
    if not isinstance(data, (list, tuple)):
        raise _wrong(where, key, data, "a list")
    endless = len(args) == 2 and args[1] is Ellipsis
    wanted = (args[0],) * len(data) if endless else args
    if len(wanted) != len(data):
        raise _wrong(where, key, data, f"a list of {len(wanted)}")
    result: list[object] = []
    problems: list[Problem] = []
    for index, (one, item) in enumerate(zip(wanted, data, strict=True)):
        try:
            result.append(_value(one, item, where, f"{key}[{index}]"))
        except LabctlError as error:
            problems.extend(error.problems)
    if problems:
        raise LabctlError(*problems)
    return tuple(result)


def _union(args: tuple[Any, ...], data: object, where: str, key: str) -> object:
    others = [arg for arg in args if arg is not types.NoneType]
    if data is None and len(others) < len(args):
        return None
    if len(others) == 1:  # its own problems say more than "not one of"
        return _value(others[0], data, where, key)
    for arg in others:
        with suppress(LabctlError):  # the next alternative may fit; the last word is below
            return _value(arg, data, where, key)
    raise _wrong(where, key, data, " or ".join(_name(arg) for arg in others))


@functools.cache
def _hints(wanted: type) -> dict[str, Any]:
    return typing.get_type_hints(wanted)


def _name(wanted: Any) -> str:
    """What a type is called in a message."""
    if wanted in _NAMES:
        return _NAMES[wanted]
    if typing.get_origin(wanted) is typing.Literal:
        return " or ".join(str(word) for word in typing.get_args(wanted))
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return " or ".join(str(member.value) for member in wanted)
    return "a list" if typing.get_origin(wanted) is tuple else "a mapping"


def _wrong(where: str, key: str, data: object, wanted: str) -> LabctlError:
    return LabctlError(Problem(f"the value is not {wanted}", _place(where, key), shortened(repr(data))))


def _below(key: str, name: object) -> str:
    below = shortened(str(name))
    return f"{key}.{below}" if key else below


def _place(where: str, key: str) -> str:
    return f"{where}:{key}" if key else where
