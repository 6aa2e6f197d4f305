"""The gate before the first sample of a visit: whoever owns a kernel has seen its machine at rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from labctl_measure.channel import ANSWER_S, Channel

BUSY_PCT = 10.0  # of one CPU thread: a sample beside more foreign load than that is void
LOOK_S = 0.5
HINT = "End them, or wait until they have ended. measure_rest_limit_s says how long labctl waits; 0 asks for no rest."


class NoRest(Exception):
    """A machine is too busy with something else to measure on it."""


class Unwanted(Exception):
    """The run was asked to stop while it waited."""


def rest(
    owners: Iterable[Channel], parties: Mapping[str, Any], limit_s: float, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Return once nobody else keeps the machines busy; at once where nobody can tell. Raises NoRest at the limit.

    `parties` are the processes whose work is not others'. Raises Unwanted as soon as the run is `stopped`.
    """
    asked = list(owners)
    for owner in asked:
        owner.send("rest", parties=parties, limit_s=limit_s, busy_pct=BUSY_PCT)
    for owner in asked:
        deadline = time.monotonic() + limit_s + ANSWER_S
        while time.monotonic() < deadline and not owner.answers_within(LOOK_S):
            if stopped():
                raise Unwanted
    seen = {owner.node: owner.receive(ANSWER_S) for owner in asked}
    busy = [words(node, found) for node, found in seen.items() if found["at_rest"] is False]
    if busy:
        raise NoRest(f"{'; '.join(busy)}. {HINT}")


def words(node: str, seen: Mapping[str, Any]) -> str:
    """What is said of a machine that did not come to rest, with the processes that took most of it."""
    load = seen["load"]
    seconds = load["seconds"]
    mean = 100 * load["foreign_s"] / seconds
    by = ", ".join(f"{one['name']} (process {one['pid']}) {100 * one['cpu_s'] / seconds:.0f} %" for one in load["top"])
    return (
        f"{node} does not come to rest: within {seconds:.0f} s other processes took {mean:.0f} % of one CPU thread, "
        f"and never less than {seen['least_pct']:.0f} %, where at most {BUSY_PCT:.0f} % may be taken: {by}"
    )
