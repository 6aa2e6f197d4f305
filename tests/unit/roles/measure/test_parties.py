"""Whose a process is, among real processes of this machine and of a node in a container."""

from __future__ import annotations

import os

from labctl_agent.load import tasks
from labctl_agent.parties import CLUSTER, ENDPOINT, FOREIGN, OWN, PATH, Parties, Task, identity, resolve

from tests.unit.roles.measure.conftest import agent, running


def task(parent: int, name: str = "x") -> Task:
    return Task(name, parent, "1", 0.0, 0.0)


TASKS = {
    1: task(0, "systemd"),
    2: task(0, "kthreadd"),
    13: task(2, "ksoftirqd/0"),
    14: task(2, "kworker/0:1-wg-crypt-wg0"),
    20: task(1, "python3"),  # the agent that starts the clients
    21: task(20, "netperf"),
    30: task(1, "netserver"),
    31: task(30, "netserver"),
    40: task(1, "labctl"),
    41: task(40, "ansible-playboo"),
    42: task(41, "ssh"),
    50: task(1, "cc"),
    59: task(1, "systemd"),  # the first of a node
    60: task(59, "kubelet"),
    61: task(59, "containerd-shim"),
    62: task(61, "kube-apiserver"),
    63: task(61, "cilium-agent"),
    70: task(1, "containerd"),  # of somebody else on the machine
    99: task(98, "orphan"),
}


def test_all_below_a_process_are_its_partys_but_for_the_starter_of_the_clients_itself() -> None:
    parties = Parties(starter=20, server=30, own=(20, 40), nodes=(59,))
    whose = {pid: parties.of(pid, TASKS) for pid in TASKS}
    assert {pid for pid in TASKS if whose[pid] == ENDPOINT} == {21, 30, 31}
    assert {pid for pid in TASKS if whose[pid] == OWN} == {20, 40, 41, 42}
    assert {pid for pid in TASKS if whose[pid] == PATH} == {13}
    assert {pid for pid in TASKS if whose[pid] == CLUSTER} == {60, 61, 62}
    assert {pid for pid in TASKS if whose[pid] == FOREIGN} == {1, 2, 14, 50, 59, 63, 70, 99}
    assert parties.of_children(20, TASKS) == ENDPOINT  # of the clients that it has waited for
    assert parties.of_children(41, TASKS) == OWN


def test_what_encrypts_is_the_paths_and_no_process_is_number_0() -> None:
    parties = Parties(starter=0, server=0, own=(), carriers=("kworker/",))
    assert {pid for pid in TASKS if parties.of(pid, TASKS) == PATH} == {14}


def test_a_process_of_this_namespace_is_itself_until_it_ends() -> None:
    with running("sleep", "60") as process:
        assert resolve(identity(process.pid)) == process.pid
        gone = {**identity(process.pid), "started": "1"}
    assert resolve(gone) == 0
    assert resolve(None) == 0


def test_an_agent_in_a_node_of_its_own_is_found_from_the_machine_below(node: tuple[str, ...]) -> None:
    with agent(*node) as channel:
        told = channel.ask("hello", netns="", pod="", cable="lo", peer="", watch=True, again=False)["agent"]
        seen = resolve(told)
        assert told["pid"] != seen
        assert told["namespace"] != identity(os.getpid())["namespace"]
        assert tasks()[seen].name.startswith("python")
        assert Parties.told(told, None, [told], (), ()).own == (os.getpid(), seen)
