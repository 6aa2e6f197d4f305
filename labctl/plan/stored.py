"""plan.json read again. A plan is executed, named and reckoned with as it stands, so all of it has to fit together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from labctl import tools
from labctl.catalog import Unit
from labctl.core.documents import shortened
from labctl.core.errors import LabctlError, Problem, advised, collected
from labctl.core.files import read_json, require_schema
from labctl.core.names import LAB, NODE, RUN
from labctl.core.records import decode
from labctl.core.tables import counted
from labctl.plan.options import DAY_S, MAX_REPEAT, MAX_ROUNDS
from labctl.plan.plan import SCHEMA, Plan, Visit, cell_id
from labctl.tools.reading import RateUnit

RESTORE = "put plan.json back from a copy of the run; without it nobody knows what was measured: labctl runs remove"
# Ids are names of folders, and what stands in them beside the first letter is what catalog and dimensions put there. A
# folder that is set aside gets a longer name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+#-]{0,199}")
ROLE = re.compile(r"[a-z][a-z0-9_]{0,99}")
POLICY = re.compile(r"system|awake(:[0-9]{1,6})?")
MOST_PROCESSES = 5000  # half of the data ports of labctl.plan.visit
MTUS = range(68, 65536)  # IPv4's
MOST_S = 1e10  # of an estimate


def read(path: Path) -> Plan:
    """The plan in a file. Raises LabctlError with all that is wrong with it."""
    with advised(RESTORE):
        data = read_json(path)
    return from_json(data, str(path))


def from_json(data: object, where: str) -> Plan:
    """The plan in the content of plan.json; `where` names the file. Raises LabctlError with all that is wrong."""
    with advised(RESTORE):
        return _decoded(data, where)


def _decoded(data: object, where: str) -> Plan:
    require_schema(data, SCHEMA, where)
    plan = decode(Plan, _nested(data, where), where)
    problems: list[Problem] = []
    for index, workload in enumerate(plan.workloads):
        with collected(problems):
            program = tools.set_up(workload.tool, workload.settings, where, f"workloads[{index}]")
            if (program.unit is RateUnit.MEGABIT) != (workload.unit is Unit.GBIT):
                what = f"{workload.tool} does not measure {program.test} in this unit"
                problems.append(Problem(what, f"{where}:workloads[{index}].unit", workload.unit))
    for what, key, seen in _faults(plan):
        problems.append(Problem(what, f"{where}:{key}", shortened(repr(seen))))
    if problems:
        raise LabctlError(*problems)
    return plan


def _nested(data: object, where: str) -> object:
    """The content of plan.json with its workloads as the catalog has them; what is no such thing `decode` refuses."""
    if not isinstance(data, Mapping) or not isinstance(data.get("workloads"), list):
        return data
    workloads = [
        tools.nested(one, where, f"workloads[{index}]") if isinstance(one, Mapping) else one
        for index, one in enumerate(data["workloads"])
    ]
    return {**data, "workloads": workloads}


Fault = tuple[str, str, object]  # what is wrong, at which key, with which value


def _faults(plan: Plan) -> Iterator[Fault]:
    """What the types of a plan cannot say."""
    yield from _numbers(plan)
    yield from _names(plan)
    yield from _references(plan)
    if plan.setups and plan.workloads:
        yield from _cells(plan)
        yield from _visits(plan)


def _numbers(plan: Plan) -> Iterator[Fault]:
    bounds: list[tuple[str, float | None, float, float]] = [
        ("rounds", plan.rounds, 1, MAX_ROUNDS),
        ("repeat", plan.repeat, 1, MAX_REPEAT),
        ("duration_s", plan.duration_s, 0.001, DAY_S),
        ("warmup_s", plan.warmup_s, 0, DAY_S),
        ("interval_s", plan.interval_s, 0.001, DAY_S),
        ("estimated_s", plan.estimated_s, 0, MOST_S),
        ("steal_limit_pct", plan.steal_limit_pct, 0, 100),
        ("lab.threads", plan.lab.threads, 1, 1_000_000),
        ("lab.largest_mtu", plan.lab.largest_mtu, MTUS.start, 1_000_000),
    ]
    for index, setup in enumerate(plan.setups):
        bounds += [
            (f"setups[{index}].mtu", setup.mtu, MTUS.start, MTUS.stop),
            (f"setups[{index}].endpoint_mtu", setup.endpoint_mtu, 1, setup.mtu),
            (f"setups[{index}].copy", setup.copy, 1, 2),
            (f"setups[{index}].visit_s", setup.visit_s, 0, MOST_S),
        ]
    for index, workload in enumerate(plan.workloads):
        low, high = workload.packets_per_unit or (0.0, 0.0)
        bounds += [(f"workloads[{index}].packets_per_unit", packets, 0, 1e6) for packets in (low, high)]
    for key, value, least, most in bounds:
        if value is not None and not least <= value <= most:
            yield f"the number is not within {least:g} to {most:g}", key, value
    if not POLICY.fullmatch(plan.idle):
        yield "the policy is not awake, awake:N or system", "idle", plan.idle


def _names(plan: Plan) -> Iterator[Fault]:
    """Ids become names of folders, and roles are what Ansible runs."""
    own = [("id", plan.id, RUN), ("lab.name", plan.lab.name, LAB)]
    own += [(f"lab.{end}", getattr(plan.lab, end), NODE) for end in ("client", "server")]
    for key, name, rule in own:
        if rule.problem(name, key):
            yield f"this cannot be the name of {rule.what}", key, name
    names: list[tuple[str, str]] = []
    for kind in ("setups", "workloads", "cells"):
        ids = [one.name if kind == "workloads" else one.id for one in getattr(plan, kind)]
        names += [(f"{kind}[{index}]", name) for index, name in enumerate(ids)]
        for name, count in Counter(ids).items():
            if count > 1:
                yield f"the same one stands {count} times among the {kind}", kind, name
        if not ids:
            yield f"there are no {kind}", kind, []
    for key, name in names:
        if not NAME.fullmatch(name):
            yield "the name is not one that labctl gives", key, name
    for index, setup in enumerate(plan.setups):
        if not ROLE.fullmatch(setup.role):
            yield "the name is not that of a role", f"setups[{index}].role", setup.role


def _references(plan: Plan) -> Iterator[Fault]:
    setups = {setup.id for setup in plan.setups}
    for index, setup in enumerate(plan.setups):
        if setup.reference is not None and (setup.reference not in setups or setup.reference == setup.id):
            yield "the reference is no other setup of the plan", f"setups[{index}].reference", setup.reference


def _cells(plan: Plan) -> Iterator[Fault]:
    """Every setup has the same cells: ports and comparisons count on it."""
    setups, workloads = {setup.id for setup in plan.setups}, {workload.name for workload in plan.workloads}
    sound = True
    for index, cell in enumerate(plan.cells):
        key, labels = f"cells[{index}]", ["max", str(cell.processes)]
        faults: list[Fault] = []
        if cell.setup not in setups:
            faults.append(("the cell is of no setup of the plan", f"{key}.setup", cell.setup))
        if cell.workload not in workloads:
            faults.append(("the cell is of no workload of the plan", f"{key}.workload", cell.workload))
        if cell.processes is None:  # of a lab that nobody has looked at: `Cell.count` refuses it
            labels = ["max"]
        elif not 1 <= cell.processes <= (MOST_PROCESSES if plan.lab.threads else 10**9):
            what = f"the number of processes is not within 1 to {MOST_PROCESSES}"
            faults.append((what, f"{key}.processes", cell.processes))
        if cell.processes_label not in labels:
            what = f"the label is not {' or '.join(labels)}"
            faults.append((what, f"{key}.processes_label", cell.processes_label))
        if cell.id != cell_id(cell.setup, cell.workload, cell.processes_label):
            faults.append(("the id is not made of setup, workload and processes", f"{key}.id", cell.id))
        yield from faults
        sound = sound and not faults
    if sound:
        kinds = {setup: Counter(map(_kind, plan.cells_of(setup))) for setup in sorted(setups)}
        first = kinds[plan.setups[0].id]
        for setup, own in kinds.items():
            if own != first:
                yield f"its cells are not those of {plan.setups[0].id}", "cells", setup


def _kind(cell: object) -> tuple[object, ...]:
    """What a cell measures, whatever the setup."""
    return tuple(getattr(cell, name) for name in ("workload", "processes", "processes_label"))


def _visits(plan: Plan) -> Iterator[Fault]:
    """Every setup once a round, round by round: how many ports were used before follows from the place."""
    setups = sorted(setup.id for setup in plan.setups)
    wanted = plan.rounds * len(setups)
    if len(plan.visits) != wanted:
        yield f"the plan needs {counted(wanted, 'visit')}, one of each setup in each round", "visits", len(plan.visits)
        return
    for number, visits in enumerate(_rounds(plan.visits, len(setups)), start=1):
        if sorted(visit.setup for visit in visits) != setups or {visit.round for visit in visits} != {number}:
            seen = [f"{visit.setup} in round {visit.round}" for visit in visits]
            yield f"round {number} does not visit every setup once", f"visits[{(number - 1) * len(setups)}]", seen


def _rounds(visits: tuple[Visit, ...], size: int) -> Iterable[tuple[Visit, ...]]:
    return (visits[start : start + size] for start in range(0, len(visits), size))
