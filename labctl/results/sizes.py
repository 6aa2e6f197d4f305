"""What fits into a packet of each setup: the link's MTU, what a tunnel takes of it, and what the samples saw. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from labctl.catalog.tunnel import Tunnel
from labctl.plan.plan import Plan
from labctl.plan.setups import Setup
from labctl.samples.sample import Sample, Status


@dataclass(frozen=True)
class Sizes:
    """One setup, in bytes. `overhead` is what the tunnel takes of the link's MTU, 0 without one.

    Measured by its valid samples: `mss`, None where they differ or none tells; `bytes_per_packet`, the mean on the
    cable, both directions and all headers, by workload; `hottest_softirq_pct`, the median over the samples of the
    busiest CPU's time in softirq, on either end: a tunnel has one flow, and may keep one CPU busy while others idle.
    """

    setup: str
    tunnel: Tunnel | None
    link_mtu: int
    overhead: int
    endpoint_mtu: int
    mss: int | None
    bytes_per_packet: dict[str, float]
    hottest_softirq_pct: float | None


def sizes_of(plan: Plan, samples: Iterable[Sample]) -> tuple[Sizes, ...]:
    """The sizes of every setup, in the plan's order."""
    valid = [sample for sample in samples if sample.status is Status.VALID]
    return tuple(_sizes(setup, [one for one in valid if one.setup == setup.id]) for setup in plan.setups)


def _sizes(setup: Setup, samples: list[Sample]) -> Sizes:
    endpoint = setup.endpoint_mtu or setup.mtu
    seen = {sample.mss for sample in samples}
    on_cable: dict[str, list[float]] = {}
    for sample in samples:
        if sample.wire is not None and sample.wire.bytes_per_packet is not None:
            on_cable.setdefault(sample.workload, []).append(sample.wire.bytes_per_packet)
    hottest = [max(max(use.softirq_by_cpu) for use in sample.cpu.known) for sample in samples if sample.cpu.known]
    return Sizes(
        setup=setup.id,
        tunnel=setup.tunnel,
        link_mtu=setup.mtu,
        overhead=setup.mtu - endpoint,
        endpoint_mtu=endpoint,
        mss=seen.pop() if len(seen) == 1 else None,
        bytes_per_packet={workload: statistics.median(values) for workload, values in on_cable.items()},
        hottest_softirq_pct=statistics.median(hottest) if hottest else None,
    )
