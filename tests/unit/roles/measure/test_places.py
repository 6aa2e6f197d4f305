"""Places: what is started in one is in its namespaces, and where there is none that is said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from labctl_agent.places import Node, Pod, place
from labctl_measure.channel import Channel, Refused

from tests.unit.roles.measure.conftest import ROOT, agent

SPACES = ("net", "pid", "mnt", "uts", "ipc", "cgroup")
SAMPLE = {"time_limit_s": 10, "interval_s": 0.1}


def seen_by_processes(channel: Channel, netns: str = "", pod: str = "") -> tuple[list[str], dict[str, int | None]]:
    """Return the namespaces of a process in a place, and the counters of its network."""
    channel.ask("hello", netns=netns, pod=pod, cable="lo", peer="", watch=True, again=False)
    channel.ask("begin", sample=SAMPLE, addresses=["127.0.0.1", "127.0.0.1"])
    argv = ["readlink", *(f"/proc/self/ns/{name}" for name in SPACES)]
    answer = channel.ask("run", argvs=[argv], cpus=[None])
    (process,) = answer["processes"]
    assert (process["exit"], process["stderr"]) == (0, "")
    return process["stdout"].split(), answer["counters"]["after"]


def namespaces_of(pid: int | str) -> list[str]:
    links = [f"/proc/{pid}/ns/{name}" for name in SPACES]
    return subprocess.run([*ROOT, "readlink", *links], capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture
def netns() -> Iterator[str]:
    """A network namespace in which nothing was ever sent."""
    name = f"labctl-test-{os.getpid()}"
    subprocess.run([*ROOT, "ip", "netns", "add", name], check=True)
    yield name
    subprocess.run([*ROOT, "ip", "netns", "delete", name], check=True)


def test_the_node_is_left_only_where_something_is_named() -> None:
    assert type(place("", "")) is Node
    assert type(place("", "uid")) is Pod
    with pytest.raises(RuntimeError, match="there is no network namespace nowhere"):
        place("nowhere", "")


def test_a_pod_that_is_not_here_is_named() -> None:
    pod = Pod("nobody's")
    assert pod.first() == 0
    for enter in (pod.fork, pod.enter_network):
        with pytest.raises(RuntimeError, match=r"the pod \(uid nobody's\) runs no server here: it ended"):
            enter()


def test_on_the_node_processes_share_everything_with_the_agent() -> None:
    with agent() as channel:
        assert seen_by_processes(channel)[0] == namespaces_of("self")


@pytest.mark.lab
def test_in_a_namespace_processes_have_another_network_and_nothing_else(netns: str) -> None:
    with agent(*ROOT) as channel:
        seen, counters = seen_by_processes(channel, netns=netns)
    own = namespaces_of("self")
    assert seen[0] != own[0]
    assert seen[1:] == own[1:]
    assert counters["tcp.OutSegs"] == 0, "the counters are not those of the namespace"


@pytest.mark.lab
def test_in_a_pod_processes_have_all_its_namespaces(node: tuple[str, ...], container: tuple[str, int]) -> None:
    uid, first = container
    with agent(*node) as channel:
        seen, counters = seen_by_processes(channel, pod=uid)
    assert seen == namespaces_of(first)
    assert not set(seen) & set(namespaces_of("self"))
    assert counters["tcp.OutSegs"] == 0, "the counters are not those of the pod"


@pytest.mark.lab
def test_an_agent_in_the_pod_enters_nothing(container: tuple[str, int]) -> None:
    uid, first = container
    enter = [*ROOT, "nsenter", f"--target={first}", "--all"]
    with agent(*enter) as channel:
        assert seen_by_processes(channel, pod=uid)[0] == namespaces_of(first)


@pytest.mark.lab
def test_a_pod_that_has_ended_is_refused(node: tuple[str, ...], container: tuple[str, int]) -> None:
    uid, first = container
    with agent(*node) as channel:
        seen_by_processes(channel, pod=uid)
        subprocess.run([*ROOT, "kill", "-KILL", str(first)], check=True)
        with pytest.raises(Refused, match="runs no server here"):
            seen_by_processes(channel, pod=uid)
