"""A session with two real agents, both on this machine. Its samples are left to the tests with a lab."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from labctl_measure.channel import Refused
from labctl_measure.ends import End, Ends
from labctl_measure.session import Session

from tests.unit.roles.measure.conftest import agent

NAMESPACE = ("unshare", "--user", "--map-root-user", "--net")  # where an agent has a seat of its own


def end(node: str, netns: str = "") -> End:
    return End(node, "127.0.0.1", netns, "", "lo", "127.0.0.1", True)


@pytest.fixture
def session() -> Iterator[Session]:
    with ExitStack() as stack:
        client, server = stack.enter_context(agent()), stack.enter_context(agent(*NAMESPACE))
        client.node, server.node = "node1", "node2"
        yield Session(client, server, Ends(end("node1"), end("node2")), again=False)


def test_two_nodes_on_one_kernel_are_found_out(session: Session) -> None:
    assert session.shared_kernel is True
    assert session.boots["node1"] == session.boots["node2"]


def test_the_facts_are_those_of_each_node(session: Session) -> None:
    assert {end: facts["node"] for end, facts in session.facts.items()} == {"client": "node1", "server": "node2"}
    assert session.facts["client"].keys() == {"node", "threads", "hz", "cable", "ok"}


def test_one_clock_has_no_offset_beyond_its_uncertainty(session: Session) -> None:
    offset, uncertainty = session.clock_offset()
    assert abs(offset) <= uncertainty < 1


def test_a_place_that_is_not_there_is_refused_before_the_first_sample() -> None:
    with agent() as client, agent(*NAMESPACE) as server, pytest.raises(Refused, match="no network namespace nowhere"):
        Session(client, server, Ends(end("here", "nowhere"), end("here")), again=False)


def test_a_closed_session_leaves_no_process(session: Session) -> None:
    session.close()
    for channel in (session.client, session.server):
        assert subprocess.run(["kill", "-0", str(channel.process.pid)], capture_output=True, check=False).returncode
