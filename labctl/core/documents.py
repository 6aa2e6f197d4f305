"""What others may have written: text, JSON and YAML of files, read so that nothing in them can do harm.

A run folder comes from a colleague, a kubeconfig from a download, an index from a mirror. Whatever stands there ends
as data with which labctl can reckon and which it can print, or as a LabctlError that names the file: nothing waits for
a FIFO, opens a device, nests deeper than can be walked, or holds a number or a text that breaks whoever uses it later.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Collection, Hashable
from pathlib import Path
from typing import Any, NoReturn

from labctl.core.errors import RESTORE, LabctlError, Problem

LARGEST = 1 << 29  # bytes of a file: an hour of CPU readings of 256 threads is a fifth of it
LARGEST_YAML = 1 << 22  # characters, for which PyYAML takes a minute
LARGEST_WHOLE = 1 << 24  # characters of a document of YAML with what its aliases name in their place
DEEPEST = 50  # containers within containers; what labctl writes has ten
LONGEST = 200  # characters of a value in a message
# Whole numbers that a counter of the kernel can have, and what no measured number is beyond: reckoning with such ones
# overflows nowhere.
WHOLE = range(-(2**63), 2**64)
LARGE = 1e25
_PIECE = 1 << 20
_CONTAINERS = (dict, list, tuple, set)
_HALF = re.compile("[\ud800-\udfff]")  # half of a pair of UTF-16: no text can be encoded with it
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO (named pipe)"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a symbolic link"),
)
READABLE = "let this user read it, or put it back from a copy"


def read_text(path: Path, follow: bool = True, largest: int = LARGEST) -> str:
    """The content of a file of UTF-8. Raises LabctlError where it is no regular file, too large or no such text.

    Without `follow` a symbolic link is none either: for files of which somebody else chose the name.
    """
    return decoded(read_bytes(path, follow, largest), path)


def read_bytes(path: Path, follow: bool = True, largest: int = LARGEST) -> bytes:
    """The content of a regular file. Raises LabctlError as `read_text` does."""
    try:
        irregular = kind(path.stat(follow_symlinks=follow).st_mode)
        if irregular:  # opening a device may already do something, and a FIFO waits for a writer
            _refuse("this is no regular file", path, irregular, "put a regular file in its place, or take it away")
        return _content(path, follow, largest)
    except FileNotFoundError as error:
        raise LabctlError(Problem("a file cannot be read", str(path), error.strerror, RESTORE)) from error
    except OSError as error:
        raise LabctlError(Problem("a file cannot be read", str(path), error.strerror, READABLE)) from error
    except (ValueError, MemoryError) as error:  # a NUL in the name; more than this machine has room for
        raise LabctlError(Problem("a file cannot be read", str(path), str(error) or "no memory", RESTORE)) from error


def _content(path: Path, follow: bool, largest: int) -> bytes:
    """What is in a file that was a regular one when it was looked at, as far as `largest`."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    content = bytearray()
    fd = os.open(path, flags)
    try:
        state = os.fstat(fd)
        if irregular := kind(state.st_mode):
            raise OSError(0, f"it became {irregular}")
        if state.st_size <= largest:
            while len(content) <= largest and (piece := os.read(fd, _PIECE)):
                content += piece
    finally:
        os.close(fd)
    if max(state.st_size, len(content)) > largest:
        _refuse("a file is larger than any of its kind", path, f"more than {largest} bytes", RESTORE)
    return bytes(content)


def kind(mode: int) -> str | None:
    """What a file is by its mode; None for a regular one."""
    return None if stat.S_ISREG(mode) else next((words for is_a, words in _KINDS if is_a(mode)), "no file")


def decoded(content: bytes, where: Path | str) -> str:
    """Bytes as text. Raises LabctlError where they are no UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LabctlError(Problem("a file is not text in UTF-8", str(where), str(error), RESTORE)) from error


def parse_json(text: str, where: Path | str) -> Any:
    """The data in a text of JSON; `where` names it. Raises LabctlError where it is none that labctl can use."""
    try:
        data = json.loads(text, parse_constant=_no_number)
        problem = unusable(data)
    except RecursionError:
        problem = f"more than {DEEPEST} values within each other"
    except (ValueError, MemoryError) as error:
        seen = str(error) or "more than there is memory for"
        raise LabctlError(Problem("a file is not valid JSON", str(where), seen, RESTORE)) from error
    if problem:
        _refuse("a file holds what no record has", where, problem, RESTORE)
    return data


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def parse_yaml(text: str, where: Path | str) -> Any:
    """The data in a text of YAML; `where` names it. Raises LabctlError where it is none that labctl can use.

    A key that is written twice is an error: PyYAML alone would keep the last one in silence.
    """
    import yaml  # `labctl --help` reads no file

    class UniqueKeyLoader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            seen: set[object] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if isinstance(key, Hashable) and key in seen:  # the other kind is refused below
                    what = f"the key {shortened(repr(key))} is written twice"
                    raise yaml.constructor.ConstructorError(None, None, what, key_node.start_mark)
                seen.add(key if isinstance(key, Hashable) else id(key))
            return super().construct_mapping(node, deep)

    if len(text) > LARGEST_YAML or _flow_depth(text) > DEEPEST:
        seen = f"{len(text)} characters, {_flow_depth(text)} brackets within each other"
        _refuse("a file of YAML is larger or deeper than any that labctl reads", where, seen, RESTORE)
    try:
        loader = UniqueKeyLoader(text)
        try:
            node = loader.get_single_node()
            problem = repeated(node)
            data = None if node is None or problem else loader.construct_document(node)
        finally:
            loader.dispose()
        problem = problem or unusable(data)
    except RecursionError:
        problem = f"more than {DEEPEST} values within each other"
    except yaml.YAMLError as error:
        raise LabctlError(Problem("a file is not valid YAML", str(where), str(error), RESTORE)) from error
    # A tag that does not fit its value (!!int x, !!bool x, a date in a thirteenth month) fails in PyYAML itself.
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError) as error:
        seen = f"a value that is not what its tag or its form says ({shortened(str(error))})"
        raise LabctlError(Problem("a file is not valid YAML", str(where), seen, RESTORE)) from error
    if problem:
        _refuse("a file holds what no record has", where, problem, RESTORE)
    return data


def repeated(node: Any) -> str | None:
    """What is wrong with the aliases of a document, by its root as PyYAML composes it; None where nothing is.

    A few lines of them stand for a whole that no machine could print, or hold once somebody copies it.
    """
    if node is None:
        return None
    sizes: dict[int, int] = {}

    def size(one: Any) -> int:
        known = sizes.get(id(one))
        if known is None:
            sizes[id(one)] = LARGEST_WHOLE + 1  # one that contains itself has no end
            parts = one.value if isinstance(one.value, list) else ()
            below = sum(size(part) for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,)))
            known = sizes[id(one)] = min((below or len(one.value)) + 1, LARGEST_WHOLE + 1)
        return known

    return f"aliases that stand for more than {LARGEST_WHOLE} characters" if size(node) > LARGEST_WHOLE else None


def _flow_depth(text: str) -> int:
    """How many brackets stand within each other: PyYAML takes minutes for some thousands of them."""
    depth = most = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1 if depth else 0
        most = max(most, depth)
    return most


def unusable(data: object) -> str | None:
    """What in data of JSON or YAML nobody could reckon with, walk through or print; None where nothing is.

    What an alias of YAML names counts once.
    """
    level: list[object] = [[data]]
    seen: set[int] = set()
    for _ in range(DEEPEST + 1):
        below: list[object] = []
        for container in level:
            if id(container) not in seen:
                seen.add(id(container))
                values = [*container, *container.values()] if isinstance(container, dict) else container
                if (wrong := _wrong(values)) is not None:  # type: ignore[arg-type]
                    return wrong
                below += [value for value in values if isinstance(value, _CONTAINERS)]  # type: ignore[attr-defined]
        if not below:
            return None
        level = below
    return f"more than {DEEPEST} values within each other"


def _wrong(values: Collection[object]) -> str | None:
    """What is wrong with one of the scalars among values. Thousands of numbers stand in a file: those are quick."""
    kinds = set(map(type, values))
    numbers: Collection[Any] = values if kinds <= {int} else [value for value in values if type(value) is int]
    for number in (min(numbers, default=0), max(numbers, default=0)):
        if number not in WHOLE:
            return f"a whole number of about {math.ceil(number.bit_length() * math.log10(2))} digits"
    if float in kinds:
        for value in values:
            if isinstance(value, float) and not abs(value) <= LARGE:  # NaN is not below anything
                return f"a number that nothing measures: {value!r}"
    if str in kinds:
        for value in values:
            if isinstance(value, str) and not value.isascii() and _HALF.search(value):
                return f"half a character: {shortened(ascii(value))}"
    return None


def shortened(text: str, limit: int = LONGEST) -> str:
    """A text for a message, cut where it is too long, which is said."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def _refuse(what: str, where: Path | str, seen: str, hint: str) -> NoReturn:
    raise LabctlError(Problem(what, str(where), seen, hint))
