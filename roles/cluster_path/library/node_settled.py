#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: node_settled
short_description: Wait until nothing on the node is busy any more
description:
  - Returns once the CPU was less busy than so many percent of all threads in every second of a stretch. Fails with
    what it saw when that does not happen within a limit. Changes nothing.
options:
  percent: {type: float, required: true, description: How busy the CPU may be.}
  seconds: {type: int, required: true, description: How long it has to stay so; 0 asks for nothing.}
  limit: {type: int, required: true, description: Seconds that all of it may take.}
author: labctl
"""

RETURN = r"""
busy: {type: float, description: Busiest second of the stretch in percent; null for none., returned: always}
waited: {type: float, description: Seconds that it took., returned: always}
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.refused import Refused, finish

# Columns of /proc/stat, in ticks, that count as busy: user, nice, system, irq, softirq.
BUSY = (0, 1, 2, 5, 6)


def ticks() -> int:
    """Return the busy ticks of all CPUs of the machine since it was started."""
    with open("/proc/stat", encoding="ascii") as stream:
        columns = stream.readline().split()[1:]
    return sum(int(columns[number]) for number in BUSY)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "percent": {"type": "float", "required": True},
            "seconds": {"type": "int", "required": True},
            "limit": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: settle(module.params))


def settle(wanted: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    full = os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)
    calm: list[float] = []
    while len(calm) < wanted["seconds"]:
        before, then = ticks(), time.monotonic()
        time.sleep(1)
        busy = 100 * (ticks() - before) / (full * (time.monotonic() - then))
        calm = [*calm, busy] if busy < wanted["percent"] else []
        if time.monotonic() - started > wanted["limit"]:
            raise Refused(
                f"The node does not come to rest within {wanted['limit']} s.",
                where="cluster_path_settled_*",
                seen=f"its CPU is {busy:.0f} % busy; asked for: {wanted['percent']:g} % for {wanted['seconds']} s",
                hint="Find out what keeps it busy, or ask for less.",
            )
    waited = time.monotonic() - started
    return {"changed": False, "busy": round(max(calm), 1) if calm else None, "waited": round(waited, 1)}


if __name__ == "__main__":
    main()
