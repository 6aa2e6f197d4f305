"""The systemd-nspawn nodes of a lab: start, wait until they are up, end."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ansible.module_utils import local_lab_boot as boot
from ansible.module_utils.lab_host_keys import greets
from ansible.module_utils.lab_host_seed import write_seed
from ansible.module_utils.labctl_node.files import last_lines, read_text, remove_file, write_json, write_text
from ansible.module_utils.labctl_node.processes import (
    Process,
    kill,
    process,
    processes_in_namespace,
    schedule_as_a_service,
)
from ansible.module_utils.labctl_node.refused import Problem, Refused, refuse
from ansible.module_utils.labctl_node.run import CommandFailed, run
from ansible.module_utils.labctl_node.wait import wait_until
from ansible.module_utils.local_lab_links import netns_path
from ansible.module_utils.local_lab_plan import Node
from ansible.module_utils.local_lab_record import LocalFiles, Record

# What the systemd and the D-Bus of a booting node take of the instances that the kernel grants to root; all nodes of
# all labs, and the host's own services, share them, and a node that gets none hangs in its boot.
INOTIFY_PER_NODE = 10
NEW_MOUNTS = ["unshare", "--mount", "--propagation", "slave"]


def inotify_problems(nodes: int) -> Iterator[Problem]:
    """Whether the kernel grants as many inotify instances as some nodes will take, tried out."""
    libc = ctypes.CDLL(None)
    wanted = nodes * INOTIFY_PER_NODE
    handles = []
    for _ in range(wanted):
        handle = libc.inotify_init1(os.O_CLOEXEC)
        if handle < 0:
            break
        handles.append(handle)
    for handle in handles:
        os.close(handle)
    if len(handles) == wanted:
        return
    setting = "fs.inotify.max_user_instances"
    limit = int(str(read_text(f"/proc/sys/{setting.replace('.', '/')}")))
    yield {
        "what": "Too few inotify instances are left for the nodes: their systemd would hang.",
        "where": f"this host, {setting} = {limit}",
        "seen": f"{len(handles)} free, {wanted} wanted",
        "hint": f"End other containers or labs, or raise the limit: `sysctl {setting}={2 * limit}`.",
    }


@dataclass(frozen=True)
class Starting:
    """A node on its way up: `ready` receives what its systemd reports."""

    node: Node
    supervisor: Process
    ready: socket.socket


def start(record: Record, files: LocalFiles, node: Node, options: boot.Options) -> Starting:
    write_seed(files, node.name, boot.own_files(record, node))
    script = files.start_script(node.name)
    write_text(script, boot.start_script(record, files, node, options))
    unit = record.plan.control_group(node)
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    # In the abstract namespace: a path would have to fit into 107 bytes, whatever the state directory is called.
    ready.bind(f"\0{unit}")
    environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": f"@{unit}"}
    argv = [*NEW_MOUNTS, "sh", script]
    groups = boot.control_groups(record.plan, node, options.kubernetes)
    supervisor = (
        start_unit(unit, argv, environment, files.log(node.name))
        if boot.systemd_runs_host()
        else start_process(groups, argv, environment, files.log(node.name))
    )
    write_json(files.pidfile(node.name), asdict(supervisor))
    return Starting(node, supervisor, ready)


def start_process(groups: list[str], argv: list[str], environment: dict[str, str], log: str) -> Process:
    """Start the supervisor in a session and in control groups of its own."""
    schedule_as_a_service()
    for group in groups:
        boot.make_control_group(group)
    with open(log, "wb") as output:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    return identified(child.pid, log)


def start_unit(unit: str, argv: list[str], environment: dict[str, str], log: str) -> Process:
    """Start the supervisor as a transient unit of the host's systemd, which delegates a control group to it."""
    properties = [
        "Type=exec",
        "Delegate=yes",
        "KillMode=mixed",
        "KillSignal=SIGKILL",
        f"StandardOutput=file:{log}",
        f"StandardError=file:{log}",
    ]
    run(
        ["systemd-run", "--quiet", "--collect", f"--unit={unit}"]
        + [f"--property={value}" for value in properties]
        + [f"--setenv={name}={value}" for name, value in environment.items()]
        + argv
    )
    pid = int(run(["systemctl", "show", "--property=MainPID", "--value", unit]))
    return identified(pid, log)


def identified(pid: int, log: str) -> Process:
    found = process(pid)
    if found is None:
        raise Refused("A node ended as soon as it was started.", where=log, seen=last_lines(log))
    return found


def await_ready(nodes: list[Starting], files: LocalFiles, timeout_s: int) -> None:
    """Wait until every node reports READY=1; a supervisor that ends, and the end of the time, are failures."""
    deadline = time.monotonic() + timeout_s
    poll = select.poll()
    by_handle = {}
    for one in nodes:
        ended = os.pidfd_open(one.supervisor.pid)
        for handle in (one.ready.fileno(), ended):
            poll.register(handle, select.POLLIN)
            by_handle[handle] = one
    waiting = {one.node.name for one in nodes}
    while waiting:
        events = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not events:
            late = f"it does not come up within {timeout_s} s"
            refuse(not_ready(name, files, late) for name in sorted(waiting))
        for handle, _ in events:
            one = by_handle[handle]
            if handle != one.ready.fileno():
                refuse([not_ready(one.node.name, files, "it ended while booting")])
            if b"READY=1" in one.ready.recv(4096).split(b"\n"):
                waiting.discard(one.node.name)


def not_ready(name: str, files: LocalFiles, what: str) -> Problem:
    return {
        "what": f"The node {name} did not start: {what}.",
        "where": files.log(name),
        "seen": "\n".join(filter(None, (last_lines(files.log(name)), inside(files.process(name))))) or "nothing",
        "hint": f"Look at the log; `sh {files.start_script(name)}` inside `unshare --mount` starts it by hand.",
    }


def inside(supervisor: Process | None) -> str:
    """What a node that hangs says itself: the jobs its systemd waits for, and the end of its journal."""
    if supervisor is None or not supervisor.alive:
        return ""
    children = (read_text(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children") or "").split()
    said = [f"processes: {' '.join(children) or 'none'}"]
    for question in (["systemctl", "list-jobs", "--no-pager"], ["journalctl", "--no-pager", "--lines=8"]):
        for child in children[:1]:
            argv = ["nsenter", f"--target={child}", "--mount", "--pid", "--uts", "--ipc", "--net", *question]
            try:
                said.append(run(argv, timeout_s=5).strip())
            except CommandFailed as failure:
                said.append(failure.output.strip() or f"{question[0]} does not answer")
    return "\n".join(said)


def end(record: Record, files: LocalFiles, node: Node) -> bool:
    """End every process of a node: its unit or control groups, its supervisor, whatever is in its namespace."""
    unit = record.plan.control_group(node)
    if boot.systemd_runs_host():
        loaded = run(["systemctl", "show", "--property=LoadState", "--value", f"{unit}.service"]).strip()
        if loaded == "loaded":
            run(["systemctl", "stop", f"{unit}.service"])
    supervisor = files.process(node.name)
    found = set(processes_in_namespace(netns_path(node))) | set(boot.members(record.plan, node))
    if supervisor is not None and supervisor.alive:
        found.add(supervisor.pid)
    ended = kill(found)
    gone = wait_until(lambda: not boot.members(record.plan, node), timeout_s=5)
    if not gone:
        raise Refused(f"Control groups of {node.name} do not empty.", seen=str(boot.members(record.plan, node)))
    groups = boot.remove_control_groups(record.plan, node)
    remove_file(files.pidfile(node.name))
    return ended > 0 or groups


def bring_up(record: Record, files: LocalFiles, options: boot.Options, timeout_s: int) -> list[str]:
    """Start the nodes that do not run or do not answer, both at once, and wait for them. Says which these were."""
    dead = []
    for node in record.plan.nodes:
        supervisor = files.process(node.name)
        if supervisor is None or not supervisor.alive or not greets(node.address, 22):
            end(record, files, node)
            dead.append(node)
    refuse(inotify_problems(len(dead)))
    await_ready([start(record, files, node, options) for node in dead], files, timeout_s)
    return [node.name for node in dead]


def take_down(record: Record, files: LocalFiles) -> list[str]:
    """End both nodes, whatever became of their supervisors. Says which had anything left to end."""
    return [node.name for node in record.plan.nodes if end(record, files, node)]
