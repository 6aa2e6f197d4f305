"""One visit of a setup: the samples it takes and the inventory that Ansible gets for it. Pure functions."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl import tools
from labctl.catalog import dimensions
from labctl.core.errors import LabctlError, Problem
from labctl.core.records import encode
from labctl.plan.options import Pin
from labctl.plan.plan import Plan, Visit
from labctl.samples.raw import Item

# Data ports lie below the ephemeral range and above the ports of services. They rotate from sample to sample, so
# that no sample meets the TIME_WAIT leftovers of the one before it.
FIRST_PORT = 20000
PORTS = 10000
SLACK_S = 30.0  # a tool finishes late on a loaded node; after this it hangs


@dataclass(frozen=True, kw_only=True)
class PlannedSample(Item):
    """One sample to take, with how: an item of the role variable `measure_samples`.

    `deployment` of the setup in this round is the one it is taken in. Process p gets data port `data_port` + p. After
    `time_limit_s` the sample is ended and has failed.
    """

    deployment: int
    interval_s: float
    pin: Pin
    data_port: int
    time_limit_s: float


def samples_for(plan: Plan, visit: Visit, deployment: int = 1) -> tuple[PlannedSample, ...]:
    """The samples of a visit in order: its cells, as often as the plan repeats them.

    Cells come in the plan's order in odd rounds and reversed in even ones, for every setup alike, so that no cell
    always follows the same other one.
    """
    setup, cells = plan.setup(visit.setup), plan.cells_of(visit.setup)
    if visit.round % 2 == 0:
        cells = cells[::-1]
    workloads = {workload.name: workload for workload in plan.workloads}
    port = _ports_before(plan, visit)
    usable = PORTS - max(cell.count for cell in cells)  # the ports of one sample stay in one piece
    if usable < 1:
        hint = "labctl matrix makes a plan of its own"
        raise LabctlError(Problem("more processes than there are data ports", setup.id, str(PORTS - usable), hint))
    samples: list[PlannedSample] = []
    for n in range(1, plan.repeat + 1):
        for cell in cells:
            workload = workloads[cell.workload]
            samples.append(
                PlannedSample(
                    id=f"{cell.id}/{visit.round}-{n}",
                    cell=cell.id,
                    setup=cell.setup,
                    workload=cell.workload,
                    processes=cell.count,
                    processes_label=cell.processes_label,
                    round=visit.round,
                    n=n,
                    deployment=deployment,
                    duration_s=plan.duration_s,
                    warmup_s=plan.warmup_s,
                    interval_s=plan.interval_s,
                    tool=workload.tool,
                    settings=workload.settings,
                    idle=plan.idle,
                    steal_limit_pct=plan.steal_limit_pct,
                    pin=plan.pin,
                    tunnel=setup.tunnel,
                    mtu=setup.mtu,
                    forwarded=_forwarded(setup.expected),
                    tracked=_tracked(setup.expected),
                    data_port=FIRST_PORT + port % usable,
                    time_limit_s=plan.duration_s + plan.warmup_s + SLACK_S,
                )
            )
            port += cell.count
    return tuple(samples)


def all_samples(plan: Plan) -> tuple[PlannedSample, ...]:
    """Every sample of a plan in the order in which they are taken."""
    return tuple(sample for visit in plan.visits for sample in samples_for(plan, visit))


def setup_inventory(
    plan: Plan, visit: Visit, hosts: Iterable[str], output_dir: Path, done: Container[str] = (), deployment: int = 1
) -> dict[str, Any]:
    """The content of setup.yml: an inventory that says what is deployed and measured in one visit.

    Values stand at host level, which beats the group variables of the lab. `done` holds ids of samples that are
    not to be taken again, `deployment` counts those of this setup in this round. Every host gets objects of its own:
    YAML would write shared ones as aliases.
    """
    setup = plan.setup(visit.setup)
    samples = [sample for sample in samples_for(plan, visit, deployment) if sample.id not in done]

    def variables() -> dict[str, Any]:
        return {
            **encode(setup.vars),
            "setup_id": setup.id,
            "setup_variant": setup.variant,
            "setup_role": setup.role,
            **{name: encode(value) for one in dimensions.ALL for name, value in one.variables(setup.values).items()},
            "setup_endpoint": setup.endpoint.value,
            "setup_expected": encode(setup.expected),
            "measure_output_dir": str(output_dir.absolute()),
            "measure_samples": [tools.flat(encode(sample)) for sample in samples],
        }

    return {"all": {"hosts": {host: variables() for host in hosts}}}


def _forwarded(expected: Mapping[str, object]) -> float | None:
    """The share of a setup's packets that the stack of each node forwards; None where the setup does not say."""
    shares = {False: 0.0, "outgoing": 0.5, True: 1.0}
    return next((share for word, share in shares.items() if word == expected.get("forwarded_by_stack")), None)


def _tracked(expected: Mapping[str, object]) -> bool | None:
    """Whether a setup's connections are tracked."""
    tracked = expected.get("tracked")
    return tracked if isinstance(tracked, bool) else None


def _ports_before(plan: Plan, visit: Visit) -> int:
    """How many data ports the visits before this one used: all setups have the same cells."""
    per_visit = sum(cell.count for cell in plan.cells_of(visit.setup)) * plan.repeat
    first = (visit.round - 1) * len(plan.setups)
    position = plan.visits[first : first + len(plan.setups)].index(visit)
    return (first + position) * per_visit
