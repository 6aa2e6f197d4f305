"""A stored plan is executed with labctl's own roles and their own variables, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labctl import catalog
from labctl.core.errors import UsageError
from labctl.plan import deployable
from labctl.plan.plan import Plan
from tests.unit.synthetic import plan_of


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(catalog.load(), variant="baseline,veth-iptables", workload="tcp_rr", processes="1", rounds="1")


def test_a_plan_that_labctl_made_is_taken(plan: Plan) -> None:
    deployable.require(plan, catalog.load(), "plan.json")


@pytest.mark.parametrize(
    ("changed", "what", "where"),
    [
        ({"role": "../../evil"}, "deployed by a role that deploys no variant", "setups[0].role"),
        ({"role": "geerlingguy.docker"}, "deployed by a role that deploys no variant", "setups[0].role"),
        ({"role": "{{ lookup('pipe', 'id') }}"}, "deployed by a role that deploys no variant", "setups[0].role"),
        ({"role": "lab_host"}, "deployed by a role that deploys no variant", "setups[0].role"),
        (
            {"vars": {"ansible_ssh_common_args": "-o ProxyCommand=id"}},
            "no variant of role node_datapath",
            "setups[0].vars",
        ),
        ({"vars": {"ansible_connection": "local"}}, "no variant of role node_datapath", "setups[0].vars"),
        ({"vars": {"node_datapath_tracking": "x"}}, "node_datapath_tracking cannot be this", "setups[0].vars"),
        ({"vars": {"node_datapath_tracking": "active\n"}}, "node_datapath_tracking cannot be this", "setups[0].vars"),
    ],
)
def test_a_foreign_role_or_variable_is_refused(plan: Plan, changed: dict[str, Any], what: str, where: str) -> None:
    first, *others = plan.setups
    foreign = replace(plan, setups=(replace(first, **changed), *others))
    with pytest.raises(UsageError) as refused:
        deployable.require(foreign, catalog.load(), "plan.json")
    (problem,) = refused.value.problems
    assert what in problem.what
    assert problem.where == f"plan.json:{where}"
    assert problem.hint
