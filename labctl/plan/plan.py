"""The plan of a run: which setups, in which order, with which samples.

A plan is made once from options, the catalog and facts about the lab, is stored as plan.json, and holds all
that executing it needs: nothing is looked up in the catalog again when a later labctl resumes the run.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from labctl import tools
from labctl.catalog import Catalog, Workload
from labctl.catalog.lab import STEAL_LIMIT_PCT, SYSTEM, LabFacts
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.records import encode
from labctl.plan.options import MAX, MatrixOptions, Pin
from labctl.plan.setups import Setup, select

SCHEMA = "labctl.plan/1"
PROCESSES_PER_THREAD = 4  # more netperf processes than this measure the scheduler
SAMPLE_OVERHEAD_S = 0.1  # between two samples: hygiene, counters, the start behind the barrier


@dataclass(frozen=True)
class Cell:
    """Setup x workload x processes; `processes_label` is the number as written ("max").

    `processes` is None for "max" in the plan of a lab of which nobody knows the CPU threads: it can be looked at only.
    """

    id: str
    setup: str
    workload: str
    processes: int | None
    processes_label: str

    @property
    def count(self) -> int:
        """The number of processes. LabctlError where it is not known."""
        if self.processes is None:
            what = "how many processes max is on this lab is not known: nobody has looked at it"
            raise LabctlError(Problem(what, self.id, hint="labctl matrix makes a plan of its own"))
        return self.processes


@dataclass(frozen=True)
class Visit:
    """One deployment of a setup; every setup is visited once a round."""

    round: int
    setup: str


@dataclass(frozen=True)
class Plan:
    """A whole run. Times in seconds, `created` in ISO 8601 (UTC); `notes` tell what was settled by the way.

    `idle` is awake, awake:N or system, as which everything was measured before a plan said so. A sample is void when
    the hypervisor took more than `steal_limit_pct` of the CPUs.
    """

    schema: Literal["labctl.plan/1"]
    id: str
    created: str
    lab: LabFacts
    seed: int
    rounds: int
    repeat: int
    duration_s: float
    warmup_s: float
    interval_s: float
    quick: bool
    noise_floor: bool
    pin: Pin
    workloads: tuple[Workload, ...]
    setups: tuple[Setup, ...]
    cells: tuple[Cell, ...]
    visits: tuple[Visit, ...]
    estimated_s: float
    notes: tuple[str, ...] = ()
    idle: str = SYSTEM
    steal_limit_pct: float = STEAL_LIMIT_PCT

    def setup(self, setup_id: str) -> Setup:
        """The setup of this id."""
        return next(setup for setup in self.setups if setup.id == setup_id)

    def cells_of(self, setup_id: str) -> tuple[Cell, ...]:
        """The cells of a setup, in the plan's order."""
        return tuple(cell for cell in self.cells if cell.setup == setup_id)

    @property
    def samples(self) -> int:
        """How many samples the whole run takes."""
        return len(self.cells) * self.rounds * self.repeat


def cell_id(setup: str, workload: str, processes_label: str) -> str:
    """The id of a cell, which is also the name of its folder."""
    return f"{setup}.{workload}.{processes_label}"


def build(options: MatrixOptions, catalog: Catalog, lab: LabFacts, created: datetime) -> Plan:
    """The plan for `options`. Raises UsageError with the pairs that cannot exist and impossible numbers."""
    created = created.astimezone(UTC).replace(microsecond=0)
    selection = select(options, catalog, lab)
    setups = selection.setups
    processes, notes, too_many = _processes(options.processes, lab)
    if selection.refusals or too_many:
        raise UsageError(*selection.refusals, *too_many)
    idle, asleep = _idle(options.idle, lab)
    cells = tuple(
        Cell(cell_id(setup.id, workload, label), setup.id, workload, count, label)
        for setup in setups
        for workload in options.workloads
        for label, count in processes
    )
    seed = int(created.timestamp()) if options.seed is None else options.seed
    visits = order([setup.id for setup in setups], options.rounds, seed)
    plan = Plan(
        schema="labctl.plan/1",
        id=f"{created:%Y%m%d-%H%M%S}-{lab.name}",
        created=created.isoformat().replace("+00:00", "Z"),
        lab=lab,
        seed=seed,
        rounds=options.rounds,
        repeat=options.repeat,
        duration_s=float(options.duration_s),
        warmup_s=float(options.warmup_s),
        interval_s=interval(options.duration_s),
        quick=options.quick,
        noise_floor=options.noise_floor,
        pin=options.pin or (Pin.CORES if lab.shares_kernel else Pin.NONE),
        workloads=tuple(catalog.workloads[name] for name in options.workloads),
        setups=setups,
        cells=cells,
        visits=visits,
        estimated_s=0.0,
        notes=(*selection.notes, *notes, *asleep),
        idle=idle,
        steal_limit_pct=options.steal_limit_pct,
    )
    return replace(plan, estimated_s=time_left(plan, plan.samples, visits))


def sample_s(plan: Plan) -> float:
    """Seconds that one sample takes, on an average of the plan's workloads."""
    tail_s = sum(workload.program.tail_s for workload in plan.workloads) / len(plan.workloads)
    return plan.warmup_s + plan.duration_s + tail_s + SAMPLE_OVERHEAD_S


def time_left(plan: Plan, samples: int, visits: Iterable[Visit], seen: Mapping[str, float] | None = None) -> float:
    """Seconds that so many samples and these visits of a plan take, Ansible and deployments included.

    `seen` has seconds by setup that visits were seen to take besides their samples; for others the catalog's count.
    """
    besides = {setup.id: setup.visit_s for setup in plan.setups} | dict(seen or {})
    return round(samples * sample_s(plan) + sum(besides[visit.setup] for visit in visits), 1)


def interval(duration_s: float) -> float:
    """Seconds between interim results: 1, or a tenth of a short window, but never below 0.1."""
    return round(max(0.1, min(1.0, duration_s / 10)), 3)


def order(setups: Iterable[str], rounds: int, seed: int) -> tuple[Visit, ...]:
    """Every setup once a round: a seeded shuffle, and its reverse in the round that follows.

    So over two rounds every setup stands at the same mean position, and drift falls on all alike.
    """
    generator = random.Random(seed)
    current = list(setups)
    visits: list[Visit] = []
    for number in range(1, rounds + 1):
        if number % 2:
            generator.shuffle(current)
        else:
            current.reverse()
        visits.extend(Visit(number, setup) for setup in current)
    return tuple(visits)


def to_json(plan: Plan) -> dict[str, Any]:
    """The content of plan.json."""
    encoded: dict[str, Any] = encode(plan)
    return encoded | {"workloads": [tools.flat(workload) for workload in encoded["workloads"]]}


def _idle(asked: str, lab: LabFacts) -> tuple[str, tuple[str, ...]]:
    """The policy of a plan, and a note where the lab does not allow the one asked for."""
    if asked == SYSTEM or lab.awake_refused is None:
        return asked, ()
    return SYSTEM, (f"idle: system instead of {asked}: {lab.awake_refused}",)


def _processes(
    labels: Iterable[str], lab: LabFacts
) -> tuple[list[tuple[str, int | None]], tuple[str, ...], list[Problem]]:
    """Labels with their numbers, notes about labels that mean the same here, and numbers beyond reason.

    Where the CPU threads of the lab are not known "max" has no number, and no number is beyond reason.
    """
    resolved: dict[int | None, str] = {}
    notes: list[str] = []
    problems: list[Problem] = []
    limit = None if lab.threads is None else PROCESSES_PER_THREAD * lab.threads
    for label in labels:
        count = lab.threads if label == MAX else int(label)
        if count is not None and limit is not None and count > limit:
            what = f"more than {PROCESSES_PER_THREAD} processes per CPU thread"
            hint = f"the smaller node of {lab.name} has {lab.threads} CPU threads: at most {limit}"
            problems.append(Problem(what, "--processes", label, hint))
        elif count in resolved:
            notes.append(f"processes {label} and {resolved[count]} are the same on this lab: planned once")
        else:
            resolved[count] = label
    return [(label, count) for count, label in resolved.items()], tuple(notes), problems
