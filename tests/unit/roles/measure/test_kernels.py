"""Who owns which kernel, found out by real agents on this machine, which all share one."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from labctl_measure.channel import Channel
from labctl_measure.ends import End, Ends
from labctl_measure.kernels import Kernels, on_one_kernel
from labctl_measure.transport import Command

from tests.unit.roles.measure.conftest import NOBODY, agent

SAMPLE = {"time_limit_s": 5, "interval_s": 0.1, "warmup_s": 0.1, "duration_s": 0.1, "idle": "awake"}


def ends(watch: bool = True) -> Ends:
    return Ends(*(End(node, "127.0.0.1", "", "", "lo", "127.0.0.1", watch) for node in ("node1", "node2")))


@pytest.fixture
def channels() -> Iterator[dict[str, Channel]]:
    """Two agents that take no seat: nobody says hello to them."""
    with ExitStack() as stack:
        yield {end: stack.enter_context(agent()) for end in ("client", "server")}


def on_other_kernels(monkeypatch: pytest.MonkeyPatch, *pairs: bool) -> None:
    """Let the nodes, and then a node and this controller, run on one kernel or on two."""
    answers = iter(pairs)
    monkeypatch.setattr("labctl_measure.kernels.on_one_kernel", lambda *_: next(answers))


def ended(kernels: Kernels) -> dict[str, dict[str, Any]]:
    kernels.end()
    return kernels.seen(SAMPLE)


def never() -> Channel:
    raise AssertionError("an agent on this controller was started")


def test_counters_that_interleave_are_of_one_kernel() -> None:
    ticking = itertools.count()

    def one() -> Mapping[str, int]:
        return {"ctxt": next(ticking), "intr": 7}

    assert on_one_kernel(one, one)
    assert not on_one_kernel(one, lambda: {"ctxt": 10**6, "intr": 7})
    assert not on_one_kernel(one, lambda: {"ctxt": next(ticking), "intr": 6})


def test_the_kernel_that_all_share_is_owned_by_an_agent_on_this_controller(channels: dict[str, Channel]) -> None:
    with agent() as third:
        kernels = Kernels.of(channels, ends(watch=False), lambda: third)
        assert (kernels.shared, kernels.owners, kernels.why_not) == (True, {"measurement": third}, {})
        kernels.begin(SAMPLE, NOBODY)
        seen = ended(kernels)
    assert seen.keys() == {"measurement"}
    assert seen["measurement"].keys() == {"kernel"}


def test_where_nobody_may_be_root_on_this_controller_its_kernel_has_no_owner(channels: dict[str, Channel]) -> None:
    refused = [sys.executable, "-c", "import sys; sys.exit('sudo: a password is required')"]
    kernels = Kernels.of(channels, ends(), lambda: Channel("this controller", Command(refused), b""))
    kernels.begin(SAMPLE, NOBODY)
    idle = ended(kernels)["measurement"]["kernel"]["idle"]
    assert (kernels.shared, kernels.owners) == (True, {})
    assert (idle["policy"], idle["held"]) == ("awake", False)
    assert idle["why"].startswith("no look at this controller's kernel as root: this controller: ")
    assert idle["why"].endswith("(sudo: a password is required)")


def test_kernels_of_their_own_are_owned_by_their_nodes(
    channels: dict[str, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_other_kernels(monkeypatch, False)
    kernels = Kernels.of(channels, ends(), never)
    assert (kernels.shared, kernels.owners) == (False, channels)
    kernels.begin(SAMPLE, NOBODY)
    assert ended(kernels).keys() == {"client", "server"}


def test_nodes_that_share_another_kernel_leave_it_to_the_client(
    channels: dict[str, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_other_kernels(monkeypatch, True, False)
    kernels = Kernels.of(channels, ends(), never)
    assert (kernels.shared, kernels.owners) == (True, {"measurement": channels["client"]})


def test_an_agent_that_sees_no_more_than_its_pod_owns_nothing(
    channels: dict[str, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_other_kernels(monkeypatch, False)
    kernels = Kernels.of(channels, ends(watch=False), never)
    seen = ended(kernels)
    assert kernels.owners == {}
    assert [seen[end]["kernel"]["idle"]["why"] for end in channels] == ["the agent sees no more than its pod"] * 2
