"""Places: what is started in one is in its namespaces, and where there is none that is said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from labctl_agent.places import Mount, Node, Pod, place
from labctl_measure.channel import Channel, Refused

from tests.unit.roles.measure.conftest import AGENT, ROOT, agent

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


# A child goes into a group; this process follows it, sees itself there, and then has nothing left to join.
JOIN = """
import os, subprocess, sys
sys.path.insert(0, "{files}")
from labctl_agent import places
os.mkdir("{group}")
child = subprocess.Popen(["sleep", "60"])
def members():
    return open("{group}/cgroup.procs").read().split()
try:
    open("{group}/cgroup.procs", "w").write(str(child.pid))
    print(str(os.getpid()) in members())
    places.join_cgroups(child.pid)
    print(str(os.getpid()) in members())
    print(places.cgroups_to_join(child.pid))
finally:
    child.kill()
    child.wait()
    open("{group}/../cgroup.procs", "w").write(str(os.getpid()))
    os.rmdir("{group}")
"""


def directory_of(hierarchy: str) -> Path:
    """Return where a hierarchy of control groups is mounted; skip the test where this machine has none."""
    directory = Path("/sys/fs/cgroup", hierarchy)
    if hierarchy == "unified" and not directory.exists():
        directory = directory.parent  # a machine with nothing but cgroup v2
    if not (directory / "cgroup.procs").exists():
        pytest.skip(f"this machine has no hierarchy {hierarchy}")
    return directory


@pytest.mark.parametrize(
    ("mount", "controllers", "holds"),
    [
        (Mount("cgroup2", "/", "/sys/fs/cgroup", ["rw"]), "", True),
        (Mount("cgroup2", "/", "/sys/fs/cgroup", ["rw"]), "cpu", False),
        (Mount("cgroup", "/", "/sys/fs/cgroup/cpu", ["rw", "cpu", "cpuacct"]), "cpu,cpuacct", True),
        (Mount("cgroup", "/", "/sys/fs/cgroup/cpu", ["rw", "cpu", "cpuacct"]), "cpu,memory", False),
        (Mount("cgroup", "/", "/sys/fs/cgroup/cpu", ["rw", "cpu", "cpuacct"]), "", False),
        (Mount("cgroup", "/", "/sys/fs/cgroup/systemd", ["rw", "name=systemd"]), "name=systemd", True),
    ],
)
def test_a_hierarchy_holds_its_own_controllers(mount: Mount, controllers: str, holds: bool) -> None:
    assert mount.holds(controllers) is holds


@pytest.mark.lab
@pytest.mark.parametrize("hierarchy", ["pids", "unified"])
def test_a_process_in_another_group_is_joined_there(node: tuple[str, ...], hierarchy: str) -> None:
    script = JOIN.format(files=AGENT.parent, group=f"{directory_of(hierarchy)}/labctl-test-{os.getpid()}")
    done = subprocess.run([*node, sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "True", "[]"], done.stderr
