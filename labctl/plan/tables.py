"""A plan for people: what is deployed, what is measured, in which order, how long it takes."""

from __future__ import annotations

from datetime import datetime

from labctl.catalog import CLUSTER, dimensions
from labctl.catalog.lab import STEAL_LIMIT_PCT, Source
from labctl.core.tables import Document, Table, counted, duration
from labctl.plan.options import Pin
from labctl.plan.plan import Plan, to_json

QUICK = "quick look, not a result"
EMULATED = "emulated processors (QEMU without KVM): not a performance result"
ROUNDS_SHOWN = 12


def document(plan: Plan) -> Document:
    """The plan as tables; its records are the cells and how each is measured, its data all of plan.json."""
    cells = _cells(plan)
    records = Table("", (*cells.headers, "idle", "pin"), tuple((*row, plan.idle, plan.pin.value) for row in cells.rows))
    return Document((_head(plan), _setups(plan), cells, _order(plan), *_foot(plan)), records, to_json(plan))


def _head(plan: Plan) -> str:
    window = f"{plan.duration_s:g} s after {plan.warmup_s:g} s of warm-up"
    samples = f"{counted(plan.samples, 'sample')} of {window}"
    size = [counted(len(plan.setups), "setup"), counted(len(plan.cells), "cell"), samples]
    size.append(counted(len(plan.visits), "deployment"))
    lines = [f"Plan for lab {plan.lab.name}: {', '.join(size)}", f"Estimated time: {duration(plan.estimated_s)}"]
    lines.append(f"{conditions(plan.idle, plan.pin, plan.steal_limit_pct)}.")
    return "\n".join([*marks(plan.quick, plan.lab.emulated), *lines, *_origin(plan)])


def _origin(plan: Plan) -> list[str]:
    """What the plan is made from, where that is not a look at the lab now."""
    origin = plan.lab.origin
    match origin.source:
        case Source.LAST_LOOK:
            time = "" if origin.time is None else f" on {datetime.fromisoformat(origin.time):%Y-%m-%d %H:%M} UTC"
            return [f"From the last look at the lab{time}: {origin.why}."]
        case Source.INVENTORY:
            unsaid = (
                "Not known: CPU threads, the largest MTU, what the nodes encrypt with (taken for the kernel's), "
                "whether their processors are emulated, and whether they can be kept awake."
            )
            several = any(cell.processes is None for cell in plan.cells) and len({c.processes for c in plan.cells}) > 1
            estimate = " The estimate takes max for another number than those beside it." if several else ""
            return [f"From the inventory alone: {origin.why}. {unsaid}{estimate}"]
        case _:
            return []


def conditions(idle: str, pin: Pin, steal_limit_pct: float, held: str = "") -> str:
    """How the CPUs may sleep and where the ends run, in words; `held` is what was done for the first.

    `steal_limit_pct` is told where it is another than usual.
    """
    usual = f"usually {STEAL_LIMIT_PCT:g}"
    steal = f"; samples count up to {steal_limit_pct:g} % steal ({usual})" if steal_limit_pct != STEAL_LIMIT_PCT else ""
    return f"Idle: {idle}{held and f' ({held})'}; pinned: {pin}{steal}"


def marks(quick: bool, emulated: bool) -> list[str]:
    """Why the numbers of a run are no result, in words; empty where they may be one."""
    return [mark for mark, applies in ((QUICK, quick), (EMULATED, emulated)) if applies]


def _setups(plan: Plan) -> Table:
    shown = [(one, one.header) for one in dimensions.ALL if one.header is not None]
    headers = ("setup", "variant", *(header for _, header in shown), "ends", "compared with")
    rows = tuple(
        (
            setup.id,
            setup.variant,
            *(one.shown(setup.values) for one, _ in shown),
            f"{setup.endpoint}s",
            setup.reference,
        )
        for setup in plan.setups
    )
    return Table("Setups", headers, rows)


def _cells(plan: Plan) -> Table:
    headers = ("setup", "workload", "processes", "netperf processes", "samples")
    each = plan.rounds * plan.repeat
    rows = tuple((cell.setup, cell.workload, cell.processes_label, cell.processes, each) for cell in plan.cells)
    return Table("Cells", headers, rows)


def _order(plan: Plan) -> Table:
    rows = tuple(
        (number, ", ".join(visit.setup for visit in plan.visits if visit.round == number))
        for number in range(1, min(plan.rounds, ROUNDS_SHOWN) + 1)
    )
    left = plan.rounds - len(rows)
    more = f"; {left} more rounds in the JSON" if left else ""
    return Table(f"Order (seed {plan.seed}, every second round reversed{more})", ("round", "setups"), rows)


def _foot(plan: Plan) -> list[str]:
    nodes = f"{plan.lab.client} and {plan.lab.server}"
    of_cluster = ", and the network and kube-proxy of their cluster" if any(one.edition for one in plan.setups) else ""
    disrupted = (
        f"Made meanwhile: pods on {nodes}, in a namespace that every visit removes again. netperf loads both nodes."
        if plan.lab.kind == CLUSTER
        else f"Disrupted meanwhile: the addresses of the cable on {nodes}{of_cluster}. Every visit deploys its setup "
        "there and removes it again."
    )
    return [*plan.notes, disrupted]
