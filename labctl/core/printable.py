"""Text as a terminal may get it: names and output come from nodes, clusters and run folders, and may be hostile."""

from __future__ import annotations

import textwrap
import unicodedata

MORE = "..."


def printable(text: str) -> str:
    """The text with everything escaped that is no letter, sign or blank, as in Python, save the ends of lines.

    Escape sequences, carriage returns, marks of direction, zero-width characters and halves of characters: what is read
    is then what stands there.
    """
    if text.isprintable():
        return text
    return "".join(one if one == "\n" or one.isprintable() else _escaped(one) for one in text)


def one_line(text: str) -> str:
    """The text in one line: it cannot pass for several messages."""
    return printable(text).replace("\n", "\\n")


def cut(text: str, columns: int) -> str:
    """The text in so many columns of a terminal, and a sign where there is more of it."""
    if columns_of(text) <= columns:
        return text
    kept = text[:columns]
    while columns_of(kept) > columns - len(MORE) and kept:
        kept = kept[:-1]
    return kept + MORE[:columns]


def wrapped(text: str, columns: int, indent: str = "    ") -> str:
    """Lines of at most so many columns; what is left of a line goes on below it, indented."""
    lines = (
        textwrap.wrap(
            line,
            max(columns, len(indent) + 1),
            subsequent_indent=indent,
            replace_whitespace=False,
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    )
    return "\n".join("\n".join(line) for line in lines)


def columns_of(text: str) -> int:
    """How many columns of a terminal a text in one line takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
