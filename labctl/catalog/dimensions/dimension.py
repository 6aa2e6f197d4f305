"""A dimension: anything that setups vary in beside their variant, as one record from its option to its variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from labctl.catalog import Catalog, Variant
from labctl.catalog.lab import LabFacts
from labctl.core.errors import Problem
from labctl.core.words import one_of

Value = str | int | None
Values = Mapping[str, object]  # of a setup: what each dimension has settled, by name


@dataclass(frozen=True)
class Choice:
    """What makes a setup: a variant, and a value of every dimension by its name, on a lab of which this is known."""

    variant: Variant
    values: Mapping[str, Value]
    lab: LabFacts


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One dimension. A closed list of words needs no more than the fields; what asks more overrides the methods.

    `name` is that of its option (`--name`), of its value in plan.json and, after `setup_`, of its variable. `help` is
    its option's, `words` the values that there are. `plain` is the value where nothing is asked for: it names nothing
    and needs no reference. `mark` is what another value adds to the id of a setup, with {} for the value. `header` is
    that of its column in a plan, None where the id says enough. `role` brings it, None where the variant's does.
    `compared`: another value is compared with the plain one, everything else the same.
    """

    name: str
    help: str
    plain: Value
    mark: str
    words: tuple[str, ...] = ()
    header: str | None = None
    role: str | None = None
    compared: bool = True

    @property
    def option(self) -> str:
        """Its option on a command line."""
        return f"--{self.name}"

    def read(self, word: str, _catalog: Catalog) -> Value:
        """A value from one word of its option. UsageError for a word that is none."""
        return one_of(self.option, word, self.words)

    def refused_on(self, _kind: str, _text: str) -> Problem | None:
        """Why its option cannot be given for a lab of this kind."""
        return None

    def needed_by(self, _variant: Variant) -> tuple[str, ...]:
        """The values one of which has to be asked for, where a variant has no plain one."""
        return ()

    def of_lab(self, _lab: LabFacts) -> tuple[Value, ...]:
        """The values that are meant on a lab where none is asked for; empty where the lab has none of its own."""
        return ()

    def among(self, asked: tuple[Value, ...], _variant: Variant) -> tuple[Value, ...]:
        """The values that a variant is measured with when these were asked for."""
        return asked or (self.plain,)

    def problems(self, _choice: Choice) -> Iterator[Problem]:
        """Why the lab cannot do it, whatever the variant."""
        yield from ()

    def refusal(self, _choice: Choice) -> str | None:
        """Why the variant does not exist with it; None where it does."""
        return None

    def settle(self, choice: Choice) -> Values:
        """What is stored of it in the setup: the value, and what it means for this variant on this lab."""
        return {self.name: choice.values[self.name]}

    def expected(self, _choice: Choice) -> tuple[Mapping[str, object], ...]:
        """What it changes in the datapath that the proof wants to see."""
        return ()

    def label(self, values: Values) -> str:
        """What it adds to the id of a setup."""
        return "" if values[self.name] == self.plain else self.mark.format(self.shown(values))

    def shown(self, values: Values) -> Value:
        """How it is told, in tables and in the id."""
        value = values[self.name]
        return value if isinstance(value, int) or value is None else str(value)

    def variables(self, values: Values) -> Values:
        """The variables of setup.yml that it sets."""
        return {f"setup_{self.name}": values[self.name]}
