"""Tables as text: aligned within 100 columns where their words allow it, Markdown, CSV or JSON.

Nothing here knows what stands in them. A value that is not known is "-" in a table for people, empty in CSV and null in
JSON: never 0.
"""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tabulate import tabulate

from labctl.core.errors import Problem, UsageError
from labctl.core.records import suggestion

WIDTH = 100
GAP = 2  # columns between two columns
PADDING = 2  # tabulate makes a column this much wider than its header
NARROWEST = 8  # a column is wrapped to this, not below
LONGEST = 24  # a longer word is no word, and broken where it has to be
Value = str | int | float | bool | None


class Style(StrEnum):
    """How tables are written."""

    TABLE = "table"
    GITHUB = "github"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True)
class Table:
    """Rows below headers, with a title; numbers stand right, text left."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


def style_of(name: str) -> Style:
    """The style of this name. Raises UsageError for an unknown one."""
    try:
        return Style(name)
    except ValueError:
        raise UsageError(Problem("unknown format", "--format", repr(name), suggestion(name, Style))) from None


def plain(rows: Iterable[Mapping[str, Value]], style: str = Style.TABLE) -> str:
    """One table of records that all have the same keys, in any style."""
    records = [dict(row) for row in rows]
    headers = tuple(records[0]) if records else ()
    values = tuple(tuple(record[header] for header in headers) for record in records)
    match style_of(style):
        case Style.JSON:
            return json.dumps(records, indent=1)
        case Style.CSV:
            return as_csv(headers, values)
        case shown:
            return document([Table("", headers, values)], shown)


def document(parts: Iterable[Table | str], style: Style) -> str:
    """Tables and paragraphs one below the other, for people: style `table` or `github`."""
    texts = (_paragraph(part, style) if isinstance(part, str) else _table(part, style) for part in parts if part)
    return "\n\n".join(texts)


def as_csv(headers: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    """Comma-separated values with ten significant digits; a value that is not known is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows([_exact(value) for value in row] for row in rows)
    return buffer.getvalue().rstrip("\n")


def number(value: float | None, digits: int = 4) -> str:
    """A number for people: so many significant digits, but never fewer than the whole part has."""
    if value is None:
        return "-"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(decimals, 0), 9)}f}"


def fixed(value: float | None, decimals: int) -> str:
    """A number for people with so many decimals."""
    return "-" if value is None else f"{value:.{decimals}f}"


def counted(count: int, word: str) -> str:
    """A number of things: 1 setup, 2 setups."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def duration(seconds: float) -> str:
    """A length of time for people: 45 s, 12 min, 3 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _paragraph(text: str, style: Style) -> str:
    """Lines within WIDTH; in Markdown, where they flow, every line is a paragraph."""
    lines = text.splitlines()
    return "\n\n".join(lines) if style is Style.GITHUB else "\n".join(textwrap.fill(line, WIDTH) for line in lines)


def _table(table: Table, style: Style) -> str:
    rows = [[_shown(value, style) for value in row] for row in table.rows]
    right = [_is_numeric(table.rows, column) for column in range(len(table.headers))]
    widths = _fitting(table.headers, rows) if style is Style.TABLE and rows else None
    text = tabulate(
        rows,
        headers=table.headers,
        tablefmt="github" if style is Style.GITHUB else "simple",
        disable_numparse=True,
        colalign=["right" if numeric else "left" for numeric in right] if rows else None,
        maxcolwidths=widths,
        maxheadercolwidths=[width - PADDING for width in widths] if widths else None,
    )
    title = f"### {table.title}" if style is Style.GITHUB else table.title
    return f"{title}\n\n{text}" if table.title else text


def _exact(value: Value) -> str:
    """A cell for machines."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _shown(value: Value, style: Style) -> str:
    """A cell for people. In Markdown a bar would end the cell."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = number(value) if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ") if style is Style.GITHUB else text


def _is_numeric(rows: Sequence[Sequence[Value]], column: int) -> bool:
    """Whether a column holds nothing but numbers, as far as anything is known in it."""
    return all(_looks_numeric(row[column]) for row in rows if row[column] not in (None, "", "-"))


def _looks_numeric(cell: Value) -> bool:
    if isinstance(cell, str):
        return cell.lstrip("<")[:1].isdigit() and not any(letter.isalpha() for letter in cell)
    return not isinstance(cell, bool)


def _fitting(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Column widths that keep a table within WIDTH: the widest column gives way first, down to NARROWEST.

    Words stay whole, though a table gets wider than WIDTH for it; longer ones than LONGEST, such as paths, only do
    in the first column, which names what the row is about.
    """
    columns = zip([f"{header:{len(header) + PADDING}}" for header in headers], *rows, strict=True)
    widths = [max(len(line) for cell in column for line in (cell.splitlines() or [""])) for column in columns]
    words = ([word for cell in column for word in cell.split()] for column in zip(headers, *rows, strict=True))
    longest = [max(map(len, found), default=0) for found in words]
    least = [max(longest[0], NARROWEST), *(max(min(word, LONGEST), NARROWEST) for word in longest[1:])]
    while sum(widths) + GAP * (len(widths) - 1) > WIDTH:
        giving = [column for column, width in enumerate(widths) if width > least[column]]
        if not giving:
            break
        widths[max(giving, key=widths.__getitem__)] -= 1
    return widths
