"""A session with real agents, all on this machine. Its samples are left to the tests with a lab."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from labctl_agent.parties import resolve
from labctl_measure.channel import Refused
from labctl_measure.ends import End, Ends
from labctl_measure.placement import Placement
from labctl_measure.session import Session, carriers_of, clients_of, ports_of, server_of

from tests.unit.roles.measure.conftest import agent

SAMPLE = {
    "processes": 3,
    "duration_s": 1.0,
    "warmup_s": 0.5,
    "interval_s": 0.2,
    "pin": "none",
    "test": "TCP_RR",
    "options": ["-r", "1,1"],
    "selectors": ["THROUGHPUT", "THROUGHPUT_UNITS", "ELAPSED_TIME"],
    "data_port": 20000,
}
NAMESPACE = ("unshare", "--user", "--map-root-user", "--net")  # where an agent has a seat of its own


def end(node: str, netns: str = "") -> End:
    return End(node, "127.0.0.1", netns, "", "lo", "127.0.0.1", True)


@pytest.fixture
def session() -> Iterator[Session]:
    with ExitStack() as stack:
        client, server = stack.enter_context(agent()), stack.enter_context(agent(*NAMESPACE))
        client.node, server.node = "node1", "node2"
        ends = Ends(end("node1"), end("node2"))
        yield Session(client, server, ends, again=False, host=lambda: stack.enter_context(agent()))


def test_one_kernel_is_one_boot(session: Session) -> None:
    assert session.kernels.shared is True
    assert session.boots["node1"] == session.boots["node2"]


def test_the_facts_are_those_of_each_node(session: Session) -> None:
    assert {end: facts["node"] for end, facts in session.facts.items()} == {"client": "node1", "server": "node2"}
    assert session.facts["client"].keys() == {"node", "threads", "hz", "cable", "ok", "pod"}


def test_one_clock_has_no_offset_beyond_its_uncertainty(session: Session) -> None:
    offset, uncertainty = session.clock_offset()
    assert abs(offset) <= uncertainty < 1


def test_a_place_that_is_not_there_is_refused_before_the_first_sample() -> None:
    ends = Ends(end("here", "nowhere"), end("here"))
    with agent() as client, agent(*NAMESPACE) as server, pytest.raises(Refused, match="no network namespace nowhere"):
        Session(client, server, ends, again=False, host=lambda: client)


def test_a_closed_session_leaves_no_process(session: Session) -> None:
    session.close()
    for channel in (session.client, session.server, session.kernels.owners["measurement"]):
        assert subprocess.run(["kill", "-0", str(channel.process.pid)], capture_output=True, check=False).returncode


ENDS = Ends(end("node1"), end("node2"))
FREE = Placement(None, None)


def test_every_process_has_a_command_of_its_own() -> None:
    told = json.loads(json.dumps(clients_of(SAMPLE, ENDS, FREE)))
    assert [argv[0] for argv in told["argvs"]] == ["netperf"] * 3
    assert [argv[argv.index("-P", argv.index("--")) + 1] for argv in told["argvs"]] == [",20000", ",20001", ",20002"]
    assert (told["cpus"], told["over_after"]) == ([None] * 3, None)


def test_pinned_processes_go_round_the_cpus_of_their_end() -> None:
    told = clients_of(SAMPLE, ENDS, Placement([0, 4], [2, 6]))
    assert told["cpus"] == [0, 4, 0]
    assert [argv[argv.index("-T") + 1] for argv in told["argvs"]] == [",2", ",6", ",2"]


def test_where_the_server_lingers_the_client_says_when_its_time_is_over() -> None:
    assert clients_of({**SAMPLE, "test": "TCP_CRR"}, ENDS, FREE)["over_after"] == 2


def test_ports_are_fresh_until_each_process_has_been_round_them() -> None:
    def of(test: str, opened: int | None) -> dict[str, int | None]:
        counters = {"before": {"tcp.ActiveOpens": 10}, "after": {} if opened is None else {"tcp.ActiveOpens": opened}}
        return ports_of({**SAMPLE, "test": test}, counters)

    assert of("TCP_CRR", 10 + 3 + 500) == {"fresh": 500, "reused": 0}
    assert of("TCP_CRR", 10 + 3 + 200_000) == {"fresh": 3 * 60_534, "reused": 200_000 - 3 * 60_534}
    assert of("TCP_CRR", None) == of("TCP_RR", 13) == {"fresh": None, "reused": None}


def test_the_server_is_the_unit_of_its_role() -> None:
    assert server_of(SAMPLE) == {"name": "netserver", "port": 12865, "unit": "labctl-netserver.service"}


def test_ours_are_both_agents_and_labctl_or_the_ansible_that_a_person_runs(
    session: Session,
) -> None:
    told = session.parties([], {"pid": 1})
    agents = [channel.process.pid for channel in (session.client, session.server)]
    assert [resolve(each) for each in told["own"]] == [*agents, os.getppid()]
    assert told["starter"] == told["own"][0]
    assert told["server"] == {"pid": 1}


def test_what_encrypts_carries_packets() -> None:
    tunnels = (None, "kernel", "esp", "wireguard-go")
    told = {tunnel: carriers_of({**SAMPLE, "tunnel": tunnel}) for tunnel in tunnels}
    assert told == {None: [], "kernel": ["kworker/"], "esp": ["kworker/"], "wireguard-go": ["wireguard-go"]}
    assert carriers_of(SAMPLE) == []  # of a plan older than tunnels
