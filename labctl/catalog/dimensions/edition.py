"""The edition: the versions that a variant on Kubernetes comes in. It belongs to the variant: none is plain."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.catalog import Catalog, Variant
from labctl.catalog.dimensions.dimension import Choice, Dimension, Value
from labctl.core.errors import Problem
from labctl.core.words import one_of


class EditionDimension(Dimension):
    """None for a variant that needs no cluster; the lab's cluster is of one edition."""

    def read(self, word: str, catalog: Catalog) -> Value:
        """The name of an edition."""
        return one_of(self.option, word, catalog.editions)

    def needed_by(self, variant: Variant) -> tuple[str, ...]:
        """The editions that a variant comes in."""
        return variant.editions

    def among(self, asked: tuple[Value, ...], variant: Variant) -> tuple[Value, ...]:
        """Those asked for that a variant comes in; None alone for one that needs no cluster."""
        return tuple(name for name in asked if name in variant.editions) if variant.editions else (None,)

    def problems(self, choice: Choice) -> Iterator[Problem]:
        """An edition that is not the one of the lab's cluster."""
        lab, edition = choice.lab, choice.values[self.name]
        if edition is not None and lab.edition not in (None, edition):
            what = f"the cluster of lab {lab.name} is of another edition"
            hint = f"measure edition {lab.edition}, or: labctl reset, then labctl provision --bundle DIR --edition ..."
            yield Problem(what, self.option, f"{edition}, not {lab.edition}", hint)


EDITION = EditionDimension(
    name="edition",
    help="Editions of variants on Kubernetes, separated by commas: 2021, current.",
    plain=None,
    mark=".{}",
    compared=False,
)
