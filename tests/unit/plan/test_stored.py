"""plan.json read again: what does not fit together is refused, all of it at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labctl.catalog import Catalog
from labctl.core.errors import LabctlError
from labctl.plan import stored
from labctl.plan.plan import to_json
from labctl.plan.visit import all_samples
from tests.unit.synthetic import plan_of

Data = dict[str, Any]


@pytest.fixture
def data(small_catalog: Catalog) -> Data:
    """A plan of three setups, two workloads and two rounds."""
    plan = plan_of(
        small_catalog, variant="base,base-clean,pods", workload="tcp_rr,tcp_crr", rounds="2", processes="1,2"
    )
    content: Data = json.loads(json.dumps(to_json(plan)))
    return content


def wrong(data: Data) -> list[tuple[str, str]]:
    """What is wrong with a plan, and at which key; every problem has a next step."""
    with pytest.raises(LabctlError) as refused:
        stored.from_json(data, "plan.json")
    assert all(problem.hint == stored.RESTORE for problem in refused.value.problems)
    return [(problem.what, (problem.where or "").removeprefix("plan.json:")) for problem in refused.value.problems]


def test_a_plan_that_fits_together_is_read(data: Data) -> None:
    plan = stored.from_json(data, "plan.json")
    assert len(all_samples(plan)) == plan.samples == 24


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda plan: plan.update(setups=[]), "setups"),
        (lambda plan: plan.update(workloads=[]), "workloads"),
        (lambda plan: plan.update(cells=[]), "cells"),
        (lambda plan: plan.update(visits=[]), "visits"),
        (lambda plan: plan["visits"].pop(), "visits"),
        (lambda plan: plan["visits"].append(plan["visits"][0]), "visits"),
        (lambda plan: plan["visits"].reverse(), "visits[0]"),
        (lambda plan: plan["visits"][0].update(setup="nobody"), "visits[0]"),
        (lambda plan: plan["visits"][4].update(round=1), "visits[3]"),
        (lambda plan: plan["cells"].pop(), "cells"),
        (lambda plan: plan["cells"].append(plan["cells"][0]), "cells"),
        (lambda plan: plan["cells"][0].update(setup="nobody"), "cells[0].setup"),
        (lambda plan: plan["cells"][0].update(workload="nothing"), "cells[0].workload"),
        (lambda plan: plan["cells"][0].update(processes=0), "cells[0].processes"),
        (lambda plan: plan["cells"][0].update(processes=10**6), "cells[0].processes"),
        (lambda plan: plan["cells"][0].update(processes_label="9"), "cells[0].processes_label"),
        (lambda plan: plan["cells"][0].update(id="../../x"), "cells[0]"),
        (lambda plan: plan["cells"][0].update(id="x" * 5000), "cells[0]"),
        (lambda plan: plan["setups"][1].update(reference="nobody"), "setups[1].reference"),
        (lambda plan: plan["setups"][1].update(reference=plan["setups"][1]["id"]), "setups[1].reference"),
        (lambda plan: plan["setups"][0].update(id=".."), "setups[0]"),
        (lambda plan: plan["setups"][0].update(id="a/b"), "setups[0]"),
        (lambda plan: plan["setups"][0].update(id="{{ 1/0 }}"), "setups[0]"),
        (lambda plan: plan["setups"][0].update(role="../evil"), "setups[0].role"),
        (lambda plan: plan["setups"][0].update(role="{{ lookup('pipe', 'id') }}"), "setups[0].role"),
        (lambda plan: plan["setups"][0].update(mtu=-1), "setups[0].mtu"),
        (lambda plan: plan["setups"].append(plan["setups"][0]), "setups"),
        (lambda plan: plan["workloads"].append(plan["workloads"][0]), "workloads"),
        (lambda plan: plan["workloads"][0].update(unit="Gbit/s"), "workloads[0].unit"),
        (lambda plan: plan.update(rounds=10**9), "rounds"),
        (lambda plan: plan.update(repeat=0), "repeat"),
        (lambda plan: plan.update(duration_s=0), "duration_s"),
        (lambda plan: plan.update(duration_s=1e20), "duration_s"),
        (lambda plan: plan.update(warmup_s=-1), "warmup_s"),
        (lambda plan: plan.update(idle="awake:x"), "idle"),
        (lambda plan: plan.update(steal_limit_pct=101), "steal_limit_pct"),
        (lambda plan: plan.update(id="\x1b[31m"), "id"),
        (lambda plan: plan["lab"].update(name=".."), "lab.name"),
        (lambda plan: plan["lab"].update(client="a b"), "lab.client"),
    ],
)
def test_what_does_not_fit_is_named(data: Data, change: Callable[[Data], object], key: str) -> None:
    change(data)
    assert key in [where for _, where in wrong(data)]


def test_all_of_it_is_named_at_once(data: Data) -> None:
    data["setups"][1]["reference"], data["cells"][0]["processes"] = "nobody", -1
    data["repeat"], data["lab"]["server"] = 0, ""
    assert {where for _, where in wrong(data)} >= {
        "setups[1].reference",
        "cells[0].processes",
        "repeat",
        "lab.server",
    }


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"schema": NaN}', '{"a": ' + "7" * 5000 + "}", '"\\ud800"', "\xff"]
)
def test_a_file_that_is_no_plan_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(LabctlError) as refused:
        stored.read(tmp_path / "plan.json")
    assert all(problem.hint for problem in refused.value.problems)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.json")
    with pytest.raises(LabctlError, match="this is no regular file"):
        stored.read(tmp_path / "plan.json")
