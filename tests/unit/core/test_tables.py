"""Tables: what is not known is not 0, no line is wider than it may be, and no word is broken."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.core import tables
from labctl.core.errors import Problem, UsageError
from labctl.core.tables import RENDERERS, WIDTH, Document, Table, Value, duration, fixed, listing, number, render

ROWS: list[dict[str, Value]] = [
    {"setup": "baseline", "rate": 27411.6, "n": 6, "note": "a|b"},
    {"setup": "veth-ebpf", "rate": None, "n": 0, "note": ""},
]


def plain(rows: list[dict[str, Value]], style: str = "table", width: int = WIDTH) -> str:
    return render(listing(rows), style, width)


def shown(parts: list[Table | str], style: str = "table", width: int = WIDTH) -> str:
    return render(Document(tuple(parts), Table("", (), ()), None), style, width)


def test_a_table_for_people() -> None:
    assert plain(ROWS) == (
        "setup        rate    n  note\n"
        "---------  ------  ---  ------\n"
        "baseline    27412    6  a|b\n"
        "veth-ebpf       -    0  -"
    )


def test_markdown_keeps_its_cells_together() -> None:
    assert plain(ROWS, "github").splitlines()[2] == r"| baseline  |  27412 |   6 | a\|b   |"


def test_csv_leaves_the_unknown_empty_and_keeps_every_digit() -> None:
    text = plain(ROWS, "csv")
    assert list(csv.reader(io.StringIO(text))) == [
        ["setup", "rate", "n", "note"],
        ["baseline", "27411.6", "6", "a|b"],
        ["veth-ebpf", "", "0", ""],
    ]
    assert not text.endswith("\n")


def test_json_says_null() -> None:
    assert json.loads(plain(ROWS, "json")) == ROWS


@pytest.mark.parametrize("style", list(RENDERERS))
def test_no_rows_are_no_error(style: str) -> None:
    assert plain([], style) == {"json": "[]", "csv": "", "table": "", "github": ""}[style]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError) as raised:
        render(listing(ROWS), "jsn")
    assert raised.value.problems == (
        Problem("unknown format", "--format", "'jsn'", "did you mean json? known: table, github, csv, json"),
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (27411.6, "27412"),
        (1234567.8, "1234568"),
        (712.34, "712.3"),
        (7.12345, "7.123"),
        (0.0312345, "0.03123"),
        (-7.12345, "-7.123"),
        (1e-12, "0.000000000"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_sensible_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_fixed_numbers() -> None:
    assert (fixed(1.2345, 3), fixed(None, 3), fixed(2, 1)) == ("1.234", "-", "2.0")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3540, "59 min"),
        (3600, "1 h 00 min"),
        (11100, "3 h 05 min"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_wide_tables_are_wrapped_to_the_width() -> None:
    rows: list[dict[str, Value]] = [
        {"finding": "word " * 40, "a rather long header": 1, "hint": "do this " * 20, "n": 12345.6},
    ]
    text = plain(rows)
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert text.split().count("word") == 40


def test_paragraphs_are_wrapped_too() -> None:
    text = shown(["one line\n" + "word " * 40], "table")
    assert text.splitlines()[0] == "one line"
    assert max(len(line) for line in text.splitlines()) <= WIDTH


def test_titles_stand_above_their_tables() -> None:
    table = Table("Rates", ("a", "b"), ((1, "x"),))
    assert shown(["head", table], "table") == "head\n\nRates\n\n  a  b\n---  ---\n  1  x"
    assert shown([table], "github").startswith("### Rates\n\n|")


def test_csv_quotes_what_needs_it() -> None:
    assert plain([{"a": 'x,"y"', "b": None}], "csv") == 'a,b\n"x,""y""",'


def test_names_in_the_first_column_stay_whole_though_the_table_gets_wider() -> None:
    name = "veth-iptables+wireguard-go.mtu9000"
    text = plain([{"setup": name, **{f"a header of number {number}": 12345.6 for number in range(12)}}])
    assert name in text
    assert max(len(line) for line in text.splitlines()) > WIDTH


WORDS = st.text("abcdefgh-./%", min_size=1, max_size=tables.LONGEST)
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


@st.composite
def any_tables(draw: st.DrawFn) -> Table:
    """Tables of up to a dozen columns, with a seam where they have room for one."""
    columns = draw(st.integers(2, 12))
    headers = draw(st.lists(TEXTS, min_size=columns, max_size=columns, unique=True))
    row = st.lists(TEXTS, min_size=columns, max_size=columns).map(tuple)
    rows = draw(st.lists(row, max_size=4))
    seam = draw(st.sampled_from([None, *headers[1:]]))
    return Table("title", tuple(headers), tuple(rows), seam=seam)


@given(any_tables(), st.sampled_from([tables.NARROW, WIDTH]))
def test_words_stay_whole_and_none_is_lost(table: Table, width: int) -> None:
    words = shown([table], "table", width).split()
    for word in " ".join([*table.headers, *(str(cell) for row in table.rows for cell in row)]).split():
        assert word in words


@given(any_tables())
def test_a_table_is_cut_only_where_it_is_too_wide_for_what_its_rows_are_about_in_one_line(table: Table) -> None:
    joined = [(str(first).replace(" ", "-"), *others) for first, *others in (table.headers, *table.rows)]
    uncut = shown([Table("title", tuple(map(str, joined[0])), tuple(joined[1:]))], "table", WIDTH)
    text = shown([table], "table", WIDTH)
    fits = max(map(len, uncut.splitlines())) <= WIDTH
    assert ("title (continued)" in text) == (table.seam is not None and not fits)


def test_a_table_is_cut_at_its_seam_and_tells_again_what_its_rows_are_about() -> None:
    headers = ("setup", "n", *(f"number{column}" for column in range(12)), "ratio")
    table = Table("Rates", headers, (("a", *("12345678" for _ in headers[1:])),), seam="ratio")
    first, second = shown([table], "table").split("\n\nRates (continued)\n\n")
    assert first.split()[1:3] == ["setup", "n"]
    assert second.split() == ["setup", "ratio", "-------", "--------", "a", "12345678"]
    assert "continued" not in shown([table], "github")


def test_what_a_row_is_about_stays_in_one_line_where_the_table_can_be_cut() -> None:
    about = "- awake (0 us), both ends on one CPU"
    headers = ("setup", *(f"number{column}" for column in range(5)), "ratio")
    table = Table("Rates", headers, ((about, *("12345678" for _ in headers[1:])),), seam="ratio")
    assert shown([table], "table").count(about) == 2
    assert about not in shown([replace(table, seam=None)], "table")


def test_a_long_path_is_broken_where_the_table_has_no_room_for_it() -> None:
    path = "/var/lib/labctl/" + "directory/" * 6
    row: dict[str, Value] = {"node": "node1", "seen": path}
    assert path in plain([row])
    text = plain([row], width=tables.NARROW)
    assert path not in text
    assert max(len(line) for line in text.splitlines()) <= tables.NARROW


HOSTILE = {"setup": "a\x1b[31m", "n": 1, "note": "\u202etxt\rx"}


@pytest.mark.parametrize("style", ["table", "github", "csv"])
def test_nothing_in_a_cell_talks_to_the_terminal(style: str) -> None:
    text = plain([HOSTILE], style)  # type: ignore[list-item]
    assert all(line.isprintable() for line in text.splitlines())
    assert "a\\x1b[31m" in text


def test_a_document_of_machines_keeps_every_character() -> None:
    assert json.loads(plain([HOSTILE], "json")) == [HOSTILE]  # type: ignore[list-item]


@given(any_tables(), st.sampled_from([20, 40, 60, tables.NARROW, 120]))
def test_no_line_is_wider_than_a_terminal_and_nothing_is_left_out(table: Table, most: int) -> None:
    text = render(Document((table,), Table("", (), ()), None), "table", min(most, WIDTH), most)
    assert max(map(len, text.splitlines())) <= most
    if table.rows:
        letters = "".join(text.split())
        for cell in (str(cell) for row in table.rows for cell in row):
            # Columns put other cells between the pieces of one: all of its letters are there.
            assert all(letters.count(one) >= cell.count(one) for one in set(cell) - {" "})


def test_where_columns_have_no_room_cells_stand_below_each_other() -> None:
    row: dict[str, Value] = {f"header{number}": f"value{number}" for number in range(9)}
    text = render(listing([row, row]), "table", 40, 40)
    assert text.splitlines()[:3] == ["header0: value0", "header1: value1", "header2: value2"]
    assert text.count("header8: value8") == 2
