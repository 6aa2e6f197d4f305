"""Tables as text: aligned within 100 columns where their words allow it, or within a terminal; Markdown, CSV or JSON.

Nothing here knows what stands in them. What no terminal should get is escaped; JSON does so itself. A value that is not
known is "-" in a table for people, empty in CSV and null in JSON: never 0.
"""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from labctl.core.errors import Problem, UsageError
from labctl.core.printable import printable, wrapped
from labctl.core.records import suggestion

WIDTH = 100  # what tables take where their words allow it
NARROW = 80  # what a terminal has that nobody widened
GAP = 2  # columns between two columns
PADDING = 2  # tabulate makes a column this much wider than its header
NARROWEST = 8  # a column is wrapped to this, not below
LONGEST = 45  # as the longest id of a setup; a longer word is no word, and broken where it has to be
Value = str | int | float | bool | None
TABLE = "table"


@dataclass(frozen=True)
class Table:
    """Rows below headers, with a title; numbers stand right, text left.

    The first `keys` columns say what a row is about. A table that is too wide is cut before the column `seam`.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    keys: int = 1
    seam: str | None = None


@dataclass(frozen=True)
class Document:
    """What is shown: `parts` to people, one below the other; `records` flat and `data` whole to machines."""

    parts: tuple[Table | str, ...]
    records: Table
    data: object


Renderer = Callable[[Document, int, int | None], str]


def render(document: Document, style: str = TABLE, width: int = WIDTH, most: int | None = None) -> str:
    """A document in a style. Raises UsageError for an unknown one.

    What people read takes `width` columns, more where words would have to be broken, but never more than `most`.
    """
    return renderer(style)(document, width, most)


def renderer(style: str) -> Renderer:
    """What renders a style. Raises UsageError for an unknown one."""
    if style not in RENDERERS:
        raise UsageError(Problem("unknown format", "--format", repr(style), suggestion(style, RENDERERS)))
    return RENDERERS[style]


def listing(
    rows: Iterable[Mapping[str, Value]], keys: int = 1, seam: str | None = None, data: object | None = None
) -> Document:
    """One table of records that all have the same keys; `keys` and `seam` are those of Table.

    `data` is what machines read of it, where that is more than the records.
    """
    records = [dict(row) for row in rows]
    headers = tuple(records[0]) if records else ()
    values = tuple(tuple(record[header] for header in headers) for record in records)
    table = Table("", headers, values, keys, seam if records else None)
    return Document((table,), table, records if data is None else data)


def _as_text(document: Document, width: int, most: int | None) -> str:
    """Tables in columns, and paragraphs, within `width`."""
    shown = (part for part in document.parts if part)
    return "\n\n".join(_filled(part, width) if isinstance(part, str) else _aligned(part, width, most) for part in shown)


def _as_markdown(document: Document, _width: int, _most: int | None) -> str:
    shown = (part for part in document.parts if part)
    return "\n\n".join(_lines(part) if isinstance(part, str) else _markdown(part) for part in shown)


def _as_csv(document: Document, _width: int, _most: int | None) -> str:
    """Comma-separated values with ten significant digits; a value that is not known is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(document.records.headers)
    writer.writerows([_exact(value) for value in row] for row in document.records.rows)
    return buffer.getvalue().rstrip("\n")


def _as_json(document: Document, _width: int, _most: int | None) -> str:
    return json.dumps(document.data, indent=1)


RENDERERS: Mapping[str, Renderer] = {TABLE: _as_text, "github": _as_markdown, "csv": _as_csv, "json": _as_json}


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


def _lines(text: str) -> str:
    """Every line a paragraph, since Markdown lets lines flow."""
    return "\n\n".join(text.splitlines())


def _filled(text: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())


def _markdown(table: Table) -> str:
    rows = [[_shown(value).replace("|", "\\|").replace("\n", " ") for value in row] for row in table.rows]
    return _titled(f"### {table.title}" if table.title else "", _drawn(table, table.headers, rows, "github"))


def _aligned(table: Table, width: int, most: int | None) -> str:
    """The table in columns that keep their words whole, in two parts where it has a seam and is too wide.

    Where it is wider than `most` even so its words are broken, and where that is not enough its cells stand below each
    other: nothing is left out.
    """
    drawn = _columns(table, width)
    if table.seam and _widest(drawn) > width:
        return "\n\n".join(_aligned(part, width, most) for part in _cut(table, table.seam))
    if most is not None and _widest(drawn) > most:
        drawn = _columns(table, most, broken=True)
        if _widest(drawn) > most:
            drawn = _blocks(table, most)
    return _titled(_filled(table.title, width), drawn)


def _columns(table: Table, width: int, broken: bool = False) -> str:
    rows = [[_shown(value) for value in row] for row in table.rows]
    widths = _fitting(table.headers, rows, width, table.keys if table.seam else 0, broken)
    headers = [_wrapped(header, space - PADDING) for header, space in zip(table.headers, widths, strict=True)]
    cells = [[_wrapped(cell, space) for cell, space in zip(row, widths, strict=True)] for row in rows]
    return _drawn(table, headers, cells, "simple")


def _widest(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)


def _blocks(table: Table, width: int) -> str:
    """Every row as a paragraph of its own, a line for each cell."""
    rows = [
        [f"{header}: {' '.join(_shown(value).splitlines())}" for header, value in zip(table.headers, row, strict=True)]
        for row in table.rows
    ]
    return "\n\n".join("\n".join(wrapped(line, width, "  ") for line in row) for row in rows)


def _cut(table: Table, seam: str) -> tuple[Table, Table]:
    """Both parts of a table, the second with the columns again that say what its rows are about."""
    at, keys = table.headers.index(seam), table.keys
    title = f"{table.title} (continued)" if table.title else ""
    left = Table(table.title, table.headers[:at], tuple(row[:at] for row in table.rows))
    right = tuple(row[:keys] + row[at:] for row in table.rows)
    return left, Table(title, table.headers[:keys] + table.headers[at:], right)


def _drawn(table: Table, headers: Sequence[str], cells: Sequence[Sequence[str]], tablefmt: str) -> str:
    right = [_is_numeric(table.rows, column) for column in range(len(headers))]
    aligned = ["right" if numeric else "left" for numeric in right] if cells else None
    return tabulate(cells, headers=headers, tablefmt=tablefmt, disable_numparse=True, colalign=aligned)


def _titled(title: str, text: str) -> str:
    return f"{title}\n\n{text}" if title else text


def _wrapped(text: str, width: int) -> str:
    """Text in lines of this width. Only a word that is longer is broken, and none at a hyphen."""
    lines = (textwrap.wrap(line, width, break_on_hyphens=False) for line in text.splitlines())
    return "\n".join("\n".join(line) for line in lines)


def _exact(value: Value) -> str:
    """A cell for machines."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else printable(str(value))


def _shown(value: Value) -> str:
    """A cell for people."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else printable(str(value))


def _is_numeric(rows: Sequence[Sequence[Value]], column: int) -> bool:
    """Whether a column holds nothing but numbers, as far as anything is known in it."""
    return all(_looks_numeric(row[column]) for row in rows if row[column] not in (None, "", "-"))


def _looks_numeric(cell: Value) -> bool:
    if isinstance(cell, str):
        return cell.lstrip("<")[:1].isdigit() and not any(letter.isalpha() for letter in cell)
    return not isinstance(cell, bool)


def _fitting(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, whole: int, broken: bool) -> list[int]:
    """Column widths that keep a table within `width`: the widest column gives way first, down to its longest word.

    The first `whole` columns do not: a table that can be cut keeps what its rows are about in one line. Words stay
    whole, though a table gets wider for it; longer ones than LONGEST, such as paths, only do in headers and in the
    first column, which names what the row is about. Where words may be `broken` none of this holds.
    """
    columns = list(zip([f"{header:{len(header) + PADDING}}" for header in headers], *rows, strict=True))
    widths = [max(len(line) for cell in column for line in (cell.splitlines() or [""])) for column in columns]
    least = [
        NARROWEST
        if broken
        else max(NARROWEST, _longest([header]) + PADDING, _longest(cells) if at == 0 else min(_longest(cells), LONGEST))
        if at >= whole
        else widths[at]
        for at, (header, (_, *cells)) in enumerate(zip(headers, columns, strict=True))
    ]
    while _total(widths) > width:
        giving = [column for column, taken in enumerate(widths) if taken > least[column]]
        if not giving:
            break
        widths[max(giving, key=widths.__getitem__)] -= 1
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _longest(texts: Iterable[str]) -> int:
    """Length of the longest word."""
    return max((len(word) for text in texts for word in text.split()), default=0)
