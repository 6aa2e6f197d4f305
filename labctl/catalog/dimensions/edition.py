"""The edition: the versions that a variant on Kubernetes comes in. It belongs to the variant: none is plain."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.catalog import Catalog, Variant, load
from labctl.catalog.dimensions.dimension import Choice, Dimension, Value
from labctl.catalog.lab import LabFacts
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

    def of_lab(self, lab: LabFacts) -> tuple[Value, ...]:
        """The edition of the cluster that labctl made of the nodes."""
        return () if lab.edition is None else (lab.edition,)

    def among(self, asked: tuple[Value, ...], variant: Variant) -> tuple[Value, ...]:
        """Those asked for that a variant comes in; None alone for one that needs no cluster."""
        return tuple(name for name in asked if name in variant.editions) if variant.editions else (None,)

    def problems(self, choice: Choice) -> Iterator[Problem]:
        """An edition that is not the one of the lab's cluster, and a variant whose files the cluster does not have."""
        lab, edition = choice.lab, choice.values[self.name]
        if edition is not None and lab.edition not in (None, edition):
            what = f"the cluster of lab {lab.name} is of another edition"
            hint = f"measure edition {lab.edition}, or: labctl reset, then labctl provision --bundle DIR --edition ..."
            yield Problem(what, self.option, f"{edition}, not {lab.edition}", hint)
        elif edition is not None and (lacking := lacking_on(lab, choice.variant, str(edition))):
            what = f"the cluster of lab {lab.name} does not have what {choice.variant.name} needs"
            make = f"labctl bundle create --edition {edition} --variant {choice.variant.name} DIR"
            hint = f"{make}, then: labctl provision --bundle DIR; or leave the variant out"
            seen = f"not in the bundle of edition {edition} that made it: {', '.join(lacking)}"
            yield Problem(what, "--variant", seen, hint)


def lacking_on(lab: LabFacts, variant: Variant, edition: str) -> tuple[str, ...]:
    """The files that a variant needs of a bundle and the lab's cluster is known not to have."""
    known = load().editions.get(edition)
    if lab.carried is None or lab.edition != edition or known is None:
        return ()
    return tuple(name for name in known.needed_by(variant.name) if name not in lab.carried)


EDITION = EditionDimension(
    name="edition",
    help="Editions of variants on Kubernetes, separated by commas: 2021, current [default: that of the lab's cluster].",
    plain=None,
    mark=".{}",
    compared=False,
)
