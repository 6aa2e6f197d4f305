"""The local lab on this machine: real nodes, real crashes, real neighbours. Runs in the order it is written in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labctl.core import paths
from labctl.core.errors import LabctlError, UsageError
from labctl.engine.events import Event, TaskResult
from labctl.engine.session import Session
from labctl.labs import embedded as labs
from tests.integration.conftest import LAB_INDEX, LAB_NAME, copy_inventory

pytestmark = pytest.mark.lab

FIRST, SECOND, THIRD = (f"{LAB_NAME}-{ordinal}" for ordinal in ("first", "second", "third"))
INDEX = {FIRST: LAB_INDEX + 1, SECOND: LAB_INDEX + 2, THIRD: LAB_INDEX + 3}
# Five seconds are promised for a machine of one's own; this one may be busy.
PATIENCE_S = 15.0


@dataclass
class Workshop:
    """The session and the inventories of these tests."""

    session: Session
    directory: Path
    changed: list[str] = field(default_factory=list)

    def create(self, name: str, index: int | None = None) -> labs.Lab:
        """Create a lab from its own copy of the inventory; `changed` then holds the tasks that changed something."""
        inventory = self.directory / f"{name}-{index or INDEX[name]}"
        if not inventory.exists():
            copy_inventory(inventory, name, index or INDEX[name])
        self.changed.clear()

        def watch(event: Event) -> None:
            if isinstance(event, TaskResult) and event.changed:
                self.changed.append(event.task)

        return labs.create(self.session, str(inventory), listener=watch)

    def destroy(self, name: str) -> None:
        """Destroy a lab by its inventory."""
        inventory = self.directory / f"{name}-{INDEX[name]}"
        if not inventory.exists():
            copy_inventory(inventory, name, INDEX[name])
        labs.destroy(self.session, str(inventory))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with Session() as session:
        shop = Workshop(session, tmp_path_factory.mktemp("inventories"))
        recorded = labs.names()
        for name in (FIRST, SECOND):  # of tests that were killed
            if name in recorded:
                labs.destroy(session, name)
        try:
            yield shop
        finally:
            for name in labs.names():
                if name in INDEX:
                    labs.destroy(session, name)


def run(*argv: str, check: bool = True) -> str:
    return subprocess.run(argv, check=check, capture_output=True, text=True).stdout


def on_node(lab: str, node: str, command: str) -> str:
    return run(*labs.shell_command(lab, node), command).strip()


def supervisor(lab: labs.Lab, number: int) -> int:
    pid = json.loads(Path(lab.nodes[number].pidfile).read_text())["pid"]
    assert isinstance(pid, int)
    return pid


def kill_supervisor(lab: labs.Lab, number: int) -> None:
    """Kill systemd-nspawn alone: the node inside goes on as an orphan."""
    handle = os.pidfd_open(supervisor(lab, number))
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)


def own(lab: labs.Lab) -> Mapping[str, Any]:
    """Return what only a local lab has."""
    assert lab.local is not None
    return lab.local


def left_behind(lab: labs.Lab) -> list[str]:
    """What is left on the host that carries a lab's names, found without its record."""
    found = [str(path) for path in (Path("/run/netns"), Path("/tmp")) for path in path.glob("nspawn*")]  # noqa: S108
    found += [str(path) for path in Path("/run/netns").glob(f"labctl-{lab.name}-*")]
    found += [str(path) for path in Path("/sys/class/net").glob(f"labctl{own(lab)['index']}n*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/labctl-{lab.name}-*")]
    for command in (["nft", "list", "tables"], ["ps", "-eo", "args"], ["mount"]):
        words = (lab.name, f"labctl_{lab.name.replace('-', '_')}")
        found += [line for line in run(*command).splitlines() if any(word in line for word in words)]
    for directory in (paths.state_dir() / "labs", Path("/run/systemd/nspawn")):
        found += [str(path) for path in directory.glob(f"*{lab.name}*")]
    return found


@pytest.fixture(scope="module")
def first(workshop: Workshop) -> labs.Lab:
    return workshop.create(FIRST)


def test_creating_again_changes_nothing(workshop: Workshop, first: labs.Lab) -> None:
    started = time.monotonic()
    again = workshop.create(FIRST)
    assert time.monotonic() - started < PATIENCE_S
    assert workshop.changed == []
    assert again == first


def test_nodes_are_hosts_of_their_own(first: labs.Lab) -> None:
    for node in first.nodes:
        assert on_node(FIRST, node.name, "hostname") == node.name
        assert f"inet {node.cable_address}/25" in on_node(FIRST, node.name, "ip address show cable0")
    other = first.nodes[1].cable_address
    assert "1 received" in on_node(FIRST, "node1", f"ping -c 1 -W 2 -I cable0 {other}")


def test_nodes_write_their_own_settings_and_no_others(first: labs.Lab) -> None:
    before = Path("/proc/sys/vm/swappiness").read_text()
    on_node(FIRST, "node1", "echo 1 > /proc/sys/net/ipv4/conf/cable0/proxy_arp")
    assert on_node(FIRST, "node1", "cat /proc/sys/net/ipv4/conf/cable0/proxy_arp") == "1"
    refused = subprocess.run(
        [*labs.shell_command(FIRST, "node1"), "echo 1 > /proc/sys/vm/swappiness"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Read-only file system" in refused.stderr
    assert Path("/proc/sys/vm/swappiness").read_text() == before


def test_the_cable_carries_no_packet_larger_than_its_mtu(first: labs.Lab) -> None:
    for node in first.nodes:
        features = on_node(FIRST, node.name, "ethtool --show-features cable0")
        for name in ("tcp-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload"):
            assert f"\n{name}: off" in features


def test_a_node_with_another_host_key_is_not_trusted(first: labs.Lab, tmp_path: Path) -> None:
    known = Path(first.ssh.known_hosts).read_text().split("\n")[0].split()
    swapped = tmp_path / "known_hosts"
    client_key = Path(f"{first.ssh.key}.pub").read_text().split()
    swapped.write_text(f"{known[0]} {client_key[0]} {client_key[1]}\n")
    command = [
        word.replace(first.ssh.known_hosts, str(swapped)) for word in labs.shell_command(FIRST, first.nodes[0].name)
    ]
    refused = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_only_its_owner_reads_the_key(first: labs.Lab) -> None:
    status = Path(first.ssh.key).stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_uid == os.getuid()


def test_an_unknown_node_is_named(first: labs.Lab) -> None:
    with pytest.raises(UsageError, match=r"(?s)no node 'node9'.*node1, node2"):
        labs.shell_command(FIRST, "node9")


def test_a_second_lab_lives_beside_the_first_and_goes_alone(workshop: Workshop, first: labs.Lab) -> None:
    second = workshop.create(SECOND)
    assert {one.name for one in labs.list_labs()[0] if one.state == labs.LabState.RUNNING} >= {FIRST, SECOND}
    assert on_node(SECOND, "node2", "hostname") == "node2"
    # A setting that was another one before: the lab goes all the same, and says so.
    record = Path(first.ssh.key).parent.parent / SECOND / "host_state.json"
    recorded = json.loads(record.read_text())
    seen = recorded["settings"]["vm/swappiness"]
    recorded["settings"]["vm/swappiness"] = "199"
    record.write_text(json.dumps(recorded))
    with pytest.raises(LabctlError) as failure:
        workshop.destroy(SECOND)
    assert "/proc/sys/vm/swappiness" in str(failure.value)
    assert f"before: 199, after: {seen}" in str(failure.value)
    assert left_behind(second) == []
    uplink = own(first)["uplink"]
    assert uplink is None or forwarding(uplink) == "1"
    assert on_node(FIRST, "node1", "hostname") == "node1"


def forwarding(interface: str) -> str:
    return Path(f"/proc/sys/net/ipv4/conf/{interface}/forwarding").read_text().strip()


def test_what_carries_the_labs_names_is_refused_and_not_touched(workshop: Workshop) -> None:
    interface, netns, table = f"labctl{INDEX[THIRD]}n1", f"labctl-{THIRD}-node2", f"labctl_{THIRD}".replace("-", "_")
    run("ip", "link", "add", interface, "type", "veth", "peer", "name", "foreign-peer")
    run("ip", "netns", "add", netns)
    run("nft", "add", "table", "ip", table)
    try:
        index = Path(f"/sys/class/net/{interface}/ifindex").read_text()
        with pytest.raises(LabctlError) as refused:
            workshop.create(THIRD)
        for name in (interface, netns, table):
            assert f" {name}\n" in str(refused.value), "every one of them is named, at once"
        assert "stays untouched" in str(refused.value)
        assert f"ip link delete {interface}" in str(refused.value), "what to do"
        with pytest.raises(LabctlError, match="no record says what belongs to it") as kept:
            workshop.destroy(THIRD)
        assert all(f" {name}\n" in str(kept.value) for name in (netns, table)), "it may be a lab whose record is gone"
        assert Path(f"/sys/class/net/{interface}/ifindex").read_text() == index
        assert Path(f"/run/netns/{netns}").exists()
        assert table in run("nft", "list", "tables")
    finally:
        run("nft", "delete", "table", "ip", table)
        run("ip", "netns", "delete", netns)
        run("ip", "link", "delete", interface)


def test_addresses_of_others_are_refused(workshop: Workshop, first: labs.Lab) -> None:
    with pytest.raises(
        LabctlError, match=f"(?s)index {INDEX[FIRST]} belongs to another lab.*lab {FIRST}.*local_lab_index"
    ):
        workshop.create(THIRD, index=INDEX[FIRST])
    run("ip", "route", "add", f"198.19.{INDEX[THIRD]}.64/26", "dev", "lo")
    try:
        with pytest.raises(LabctlError, match=rf"(?s)already has a route.*198\.19\.{INDEX[THIRD]}\.64/26 dev lo"):
            workshop.create(THIRD)
    finally:
        run("ip", "route", "delete", f"198.19.{INDEX[THIRD]}.64/26", "dev", "lo")


def test_another_lab_of_the_same_name_is_refused(workshop: Workshop, first: labs.Lab) -> None:
    with pytest.raises(LabctlError, match=f"(?s)lab named {FIRST} exists with another index.*index {INDEX[FIRST]}"):
        workshop.create(FIRST, index=LAB_INDEX + 4)


def test_without_root_the_reason_is_said(tmp_path: Path) -> None:
    # A child that gave root up itself: the interpreter of these tests need not be readable to others.
    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        os.environ["PATH"] = "/nonexistent"  # where no sudo is
        try:
            labs.destroy(Session.__new__(Session), "local")
        except LabctlError as refused:
            seen = str(refused)
            os._exit(0 if "need root" in seen and "user id 65534, and no sudo" in seen else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_creating_repairs_a_dead_node_and_a_missing_cable(workshop: Workshop, first: labs.Lab) -> None:
    run("ip", "-netns", own(first)["netns"]["node2"], "link", "delete", "cable0")
    kill_supervisor(first, 0)
    with called_under_nice_and_taskset():
        workshop.create(FIRST)
    assert on_node(FIRST, "node1", "ps -o ni= -p 1; nproc").split() == ["0", str(os.cpu_count())]
    assert workshop.changed
    assert on_node(FIRST, "node1", "hostname") == "node1"
    assert "1 received" in on_node(FIRST, "node2", f"ping -c 1 -W 2 -I cable0 {first.nodes[0].cable_address}")


@contextmanager
def called_under_nice_and_taskset() -> Iterator[None]:
    """Let what is started meanwhile inherit what a careful user gave labctl."""
    before, cpus = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, 10)
        os.sched_setaffinity(0, {min(cpus)})
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)
        os.sched_setaffinity(0, cpus)


def test_destroy_after_crashes_leaves_nothing(workshop: Workshop, first: labs.Lab) -> None:
    kill_supervisor(first, 0)
    run("ip", "link", "delete", own(first)["host_interface"]["node2"])
    run("ip", "netns", "delete", own(first)["netns"]["node2"])
    run("nft", "delete", "table", "ip", own(first)["table"])
    workshop.destroy(FIRST)
    assert left_behind(first) == []
    assert not labs.is_up(FIRST)
    workshop.destroy(FIRST)
    assert left_behind(first) == []
