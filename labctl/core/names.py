"""Names that become files, units and interfaces: one rule for each kind, held where a name is read.

Roles have the rule of a lab that labctl makes once more (`NAME` in role lab_host), since they run without this package;
a test holds both equal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from labctl.core.errors import Problem, UsageError

MAX_SHOWN = 60  # characters of a refused name that are shown


@dataclass(frozen=True)
class Kind:
    """What names of a kind may be: a pattern, and the same in words."""

    what: str
    pattern: re.Pattern[str]
    allowed: str

    def problem(self, name: object, where: str) -> Problem | None:
        """Why this is no name of the kind, `where` it was read; None for one that is."""
        if isinstance(name, str) and self.pattern.fullmatch(name):
            return None
        seen = ascii(name)
        seen = seen if len(seen) <= MAX_SHOWN else f"{seen[:MAX_SHOWN]}... ({len(str(name))} characters)"
        return Problem(f"this cannot be the name of {self.what}", where, seen, f"use {self.allowed}")

    def require(self, name: object, where: str) -> str:
        """The name. Raises UsageError where it is none of the kind."""
        problem = self.problem(name, where)
        if problem is not None:
            raise UsageError(problem)
        return str(name)


def _kind(what: str, first: str, rest: str, longest: int, extra: str, first_words: str) -> Kind:
    allowed = f"up to {longest} of {extra}, beginning with {first_words}"
    return Kind(what, re.compile(f"{first}{rest}{{0,{longest - 1}}}"), allowed)


_LETTER, _WORD = "[A-Za-z0-9]", "a letter or digit"
# Any lab: part of the names of its runs.
LAB = _kind("a lab", _LETTER, "[A-Za-z0-9._-]", 64, "a-z, A-Z, 0-9, '.', '_' and '-'", _WORD)
# A lab that labctl makes, and its nodes: they name interfaces, units, namespaces and tables.
MADE_LAB = _kind("a lab on this machine", "[a-z]", "[a-z0-9-]", 20, "a-z, 0-9 and '-'", "a letter")
MADE_NODE = _kind("a node on this machine", "[a-z]", "[a-z0-9-]", 20, "a-z, 0-9 and '-'", "a letter")
# Any node: a host of an inventory, which may be an address, or a node of a cluster.
NODE = _kind("a node", _LETTER, "[A-Za-z0-9._:-]", 253, "a-z, A-Z, 0-9, '.', '_', ':' and '-'", _WORD)
# A run: the folder it is in.
RUN = _kind("a run", _LETTER, "[A-Za-z0-9._-]", 128, "a-z, A-Z, 0-9, '.', '_' and '-'", _WORD)
