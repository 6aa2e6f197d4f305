"""The gate before the first sample: the machine does nothing but what is to be measured, seen rather than assumed."""

from __future__ import annotations

import select
import time
from typing import Any, Dict

from labctl_agent import load
from labctl_agent.parties import Parties

LOOK_S = 0.5


def rest(parties: Parties, limit_s: float, busy_pct: float) -> Dict[str, Any]:
    """Return as soon as other processes took at most `busy_pct` of one CPU thread over one look, else at the limit.

    `least_pct` is the least that they took, null where that cannot be seen; `load` is that of the whole time.
    A controller that has gone is not kept waiting for: the process ends.
    """
    controller = select.poll()
    controller.register(0, 0)
    first = before = load.look()
    least = float("inf")
    while True:
        time.sleep(LOOK_S)
        if any(event & select.POLLHUP for _, event in controller.poll(0)):
            raise SystemExit
        after = load.look()
        foreign_s = load.account(before, after, parties)["foreign_s"]
        if foreign_s is None:
            return {"at_rest": None, "least_pct": None, "load": load.account(first, after, parties)}
        least = min(least, 100 * foreign_s / (after.at - before.at))
        if least <= busy_pct or after.at - first.at >= limit_s:
            told = {"at_rest": least <= busy_pct, "least_pct": least}
            return dict(told, load=load.account(first, after, parties))
        before = after
