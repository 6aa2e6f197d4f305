"""Words of a command line read as values; what is wrong with one is a UsageError that names its option."""

from __future__ import annotations

import re
from collections.abc import Iterable

from labctl.core.errors import Problem, UsageError
from labctl.core.records import suggestion


def one_of(option: str, word: str, known: Iterable[str]) -> str:
    """A word of a closed list."""
    words = list(known)
    if word not in words:
        raise UsageError(Problem(f"unknown {option[2:]}", option, repr(word), suggestion(word, words)))
    return word


def whole(option: str, word: str, low: int, high: int, what: str) -> int:
    """A whole number from `low` to `high`; `what` it is to be, in words."""
    if re.fullmatch(r"[+-]?\d{1,18}", word) and low <= int(word) <= high:
        return int(word)
    raise UsageError(Problem(f"not {what}", option, repr(word), f"a whole number from {low} to {high}"))
