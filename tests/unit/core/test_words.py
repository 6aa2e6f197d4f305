"""Words of a command line: read as values, or refused with their option."""

from __future__ import annotations

import pytest

from labctl.core.errors import Problem, UsageError
from labctl.core.words import one_of, whole


def test_a_word_of_the_list_is_taken_and_another_refused_with_the_closest() -> None:
    assert one_of("--pin", "cores", iter(["none", "cores"])) == "cores"
    with pytest.raises(UsageError) as raised:
        one_of("--pin", "core", ["none", "cores"])
    hint = "did you mean cores? known: none, cores"
    assert raised.value.problems == (Problem("unknown pin", "--pin", "'core'", hint),)


@pytest.mark.parametrize(("word", "number"), [("1", 1), ("+9", 9), ("007", 7)])
def test_a_whole_number_within_its_limits_is_taken(word: str, number: int) -> None:
    assert whole("--repeat", word, 1, 9, "a number") == number


@pytest.mark.parametrize("word", ["", "0", "10", "-1", "1.0", "1e0", "one", "1 ", "9" * 19])
def test_anything_else_is_refused_with_the_limits(word: str) -> None:
    with pytest.raises(UsageError) as raised:
        whole("--repeat", word, 1, 9, "a number")
    assert raised.value.problems == (Problem("not a number", "--repeat", repr(word), "a whole number from 1 to 9"),)
