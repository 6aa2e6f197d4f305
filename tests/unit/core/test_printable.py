"""What a terminal gets: nothing that talks to it, and no more than fits."""

from __future__ import annotations

import pytest

from labctl.core.printable import columns_of, cut, one_line, printable, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("é\U0001f600漢", "é\U0001f600漢"),
        ("two\nlines", "two\nlines"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("all good\rerror", "all good\\rerror"),
        ("a\tb\x00\x7f\x9b2J", "a\\tb\\x00\\x7f\\x9b2J"),
        ("\u202etxt.exe\u2066\u200f", "\\u202etxt.exe\\u2066\\u200f"),
        ("in\u200bvisible\ufeff", "in\\u200bvisible\\ufeff"),
        ("half \ud800", "half \\ud800"),
        ("line\u2028end", "line\\u2028end"),
    ],
)
def test_what_is_no_letter_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown, "once is enough"


def test_one_line_stays_one() -> None:
    assert one_line("a\nerror: b") == "a\\nerror: b"


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("short", 5, "short"),
        ("longer", 5, "lo..."),
        ("漢字漢字", 8, "漢字漢字"),
        ("漢字漢字", 7, "漢字..."),
        ("abcdef", 2, ".."),
    ],
)
def test_what_is_cut_has_a_sign(text: str, columns: int, shown: str) -> None:
    assert cut(text, columns) == shown
    assert columns_of(shown) <= columns


def test_a_long_line_goes_on_below() -> None:
    text = wrapped("1/9  " + "word " * 20 + "x" * 50, 30)
    assert max(map(len, text.splitlines())) <= 30
    assert text.split("\n")[1].startswith("    word")
    assert text.count("word") == 20
