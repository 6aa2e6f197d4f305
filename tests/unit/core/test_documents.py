"""Files that others may have written: data that can be used comes of them, or a refusal, and nothing is waited for."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from labctl.core import documents
from labctl.core.errors import LabctlError, Problem


def problem(act: Callable[[], object]) -> Problem:
    """The one problem that something raises, which says what to do."""
    with pytest.raises(LabctlError) as raised:
        act()
    (found,) = raised.value.problems
    assert found.hint
    str(found).encode()
    return found


def test_a_file_is_read_through_a_link_unless_somebody_else_chose_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("é")
    (tmp_path / "b").symlink_to("a")
    assert documents.read_text(tmp_path / "b") == "é"
    assert problem(lambda: documents.read_text(tmp_path / "b", follow=False)).seen == "a symbolic link"


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        (os.mkfifo, "a FIFO (named pipe)"),
        (os.mkdir, "a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "a character device"),
        (lambda path: path.symlink_to("/dev/tty"), "a character device"),
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
        (lambda path: path.symlink_to("file"), "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_regular_file_is_neither_opened_nor_waited_for(
    tmp_path: Path, make: Callable[[Path], None], seen: str
) -> None:
    make(tmp_path / "file")
    assert problem(lambda: documents.read_text(tmp_path / "file")).seen == seen


def test_a_socket_is_none_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        assert problem(lambda: documents.read_text(Path("s"))).seen == "a socket"


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    assert problem(lambda: documents.read_text(tmp_path / name)).what == "a file cannot be read"


def test_a_file_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", 1 << 40)
    assert "larger" in problem(lambda: documents.read_text(tmp_path / "file")).what


def test_a_kernels_file_that_waits_is_not_waited_for() -> None:
    """A regular file to stat(2), of no size, whose end never comes. Who may not read it at all is refused as well."""
    with suppress(LabctlError):
        documents.read_bytes(Path("/proc/kmsg"))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    assert "UTF-8" in problem(lambda: documents.read_text(tmp_path / "file")).what


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("[" * 51 + "]" * 51, "more than 50 values within each other"),
        ("[" * 100_000, "more than 50 values within each other"),
        ('{"a":' * 100_000, "more than 50 values within each other"),
        ("7" * 5000, "4300 digits"),
        ("[18446744073709551616]", "a whole number of about 20 digits"),
        ("[-9223372036854775809]", "a whole number of about"),
        ("[1e400]", "a number that nothing measures: inf"),
        ("[-1e300]", "a number that nothing measures: -1e+300"),
        ("[NaN]", "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('["\\ud800"]', "half a character"),
        ('{"\\udfff": 1}', "half a character"),
        ("{", "Expecting property name"),
        ("", "Expecting value"),
    ],
)
def test_json_that_breaks_whoever_uses_it_is_refused(text: str, seen: str) -> None:
    assert seen in str(problem(lambda: documents.parse_json(text, "plan.json")).seen)


def test_json_of_every_kind_is_read() -> None:
    data = {"a": [1, -1, 2**64 - 1, 1.5, 1e25, None, True, "é\U0001f600"], "b": {}}
    assert documents.parse_json(json.dumps(data), "x") == data
    assert documents.parse_json("[" * 50 + "]" * 50, "x")


@pytest.mark.parametrize(
    "text",
    [
        *("!!int x", "!!bool x", "!!float x", "!!timestamp x", "!!binary x", "!!int ''", "2021-99-99"),
        *("{[a]: b}", "{{a: b}: c}", "<<: 1", "*nowhere", "{a: 1, a: 2}", "- " * 2000 + "x", "{" * 3000),
        *("!!python/name:os.x", "\x00", "--- 1\n--- 2", "[" * 60 + "]" * 60, "a: 1\n" * 1_000_000),
        *("7" * 5000, "a: .nan", "a: .inf", "&a [*a, &b [*b]]x", "a: [", "\t- x", '"\\ud800"'),
    ],
)  # fmt: skip
def test_yaml_that_breaks_whoever_uses_it_is_refused(text: str) -> None:
    assert problem(lambda: documents.parse_yaml(text, "kubeconfig")).where == "kubeconfig"


@pytest.mark.parametrize("leaf", ["[x]", "{x: y}", "x" * 1000])
def test_aliases_that_multiply_are_refused(leaf: str) -> None:
    """Whoever prints one of them would never come to an end."""

    def document(names: str) -> str:
        lines = [f"a: &a {leaf}"]
        lines += [f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]" for one, two in pairwise(names)]
        return "\n".join(lines)

    assert len(documents.parse_yaml(document("abcd"), "x")) == 4
    refused = problem(lambda: documents.parse_yaml(document("abcdefghijk"), "x"))
    assert refused.seen == "aliases that stand for more than 16777216 characters"


def test_what_is_shortened_says_so() -> None:
    assert documents.shortened("x" * 5000) == "x" * 200 + "... (5000 characters)"
    assert documents.shortened("x") == "x"
