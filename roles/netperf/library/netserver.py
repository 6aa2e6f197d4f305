#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: netserver
short_description: Run netserver as a unit of systemd on one address, in one network namespace
description:
  - Starts the unit and returns once it listens; stops it and returns once it is gone.
  - A unit that runs with other arguments, or in a namespace that has been made anew since, is replaced.
options:
  state: {type: str, choices: [started, stopped], default: started, description: Whether it runs.}
  unit: {type: str, default: labctl-netserver.service, description: Name of the unit.}
  address: {type: str, description: IPv4 address to listen on. Required when started.}
  port: {type: int, default: 12865, description: Control port to listen on.}
  netns: {type: str, default: "", description: Named network namespace to listen in; empty for the node's own.}
  timeout: {type: float, default: 10, description: Seconds that it may take until it listens.}
author: labctl
"""

RETURN = r"""
pid: {description: The process that listens., type: int, returned: when started}
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.processes import end_all, processes_that
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.sockets import listens
from ansible.module_utils.labctl_node.units import last_words, look, remove_unit, start_unit, stop_unit, unit_exists
from ansible.module_utils.labctl_node.wait import wait_until

BINARY = "/usr/bin/netserver"
STOP_TIMEOUT_S = 5


def command(address: str, port: int) -> list[str]:
    """Return netserver's arguments: in the foreground, IPv4, and without its debug file in /tmp."""
    return [BINARY, "-D", "-N", "-4", "-L", address, "-p", str(port)]


def runs_as_wanted(pid: int, argv: list[str], netns: str) -> bool:
    """Whether the process has these arguments and lives in this namespace as it is named now."""
    namespace = f"/run/netns/{netns}" if netns else "/proc/1/ns/net"
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            same_arguments = stream.read().split(b"\0")[:-1] == [part.encode() for part in argv]
        return same_arguments and os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.stat(namespace))
    except FileNotFoundError:
        return False


def wait_until_listening(unit: str, address: str, port: int, timeout: float) -> int:
    """Return the process that listens. Raise Refused when it ends, or does not listen in time."""

    def ended_or_listens() -> bool:
        pid, _ = look(unit)
        return not pid or listens(pid, address, port)

    in_time = wait_until(ended_or_listens, timeout)
    pid, _ = look(unit)
    if not pid:
        what = f"{unit} ended before it listened on {address}:{port}."
        raise Refused(what, seen=last_words(unit), hint=f"`journalctl --unit {unit}` on the node says more.")
    if not in_time:
        raise Refused(f"{unit} does not listen on {address}:{port} after {timeout:g} s.", seen=f"process {pid} runs")
    return pid


def unit_text(argv: list[str], netns: str) -> str:
    """Return the unit's file."""
    namespace = f"NetworkNamespacePath=/run/netns/{netns}\n" if netns else ""
    return (
        "[Unit]\nDescription=netserver of labctl\n\n"
        f"[Service]\nType=exec\n{namespace}ExecStart={' '.join(argv)}\nLimitNOFILE=65536\n"
    )


def stop(unit: str) -> None:
    """Stop the unit and remove its file."""
    stop_unit(unit)
    # Tests outlive the unit on a node whose systemd cannot kill a cgroup.
    end_all(tests_running, "Processes of netserver do not end.", STOP_TIMEOUT_S)
    remove_unit(unit)


def tests_running() -> list[int]:
    """Return the processes of our netserver: it forks one for each test, with its own arguments."""
    start = "\0".join(command("", 0)[:-3]).encode() + b"\0"

    def is_ours(directory: str) -> bool:
        with open(f"{directory}/cmdline", "rb") as stream:
            return stream.read(len(start)) == start

    return processes_that(is_ours)


def act(module: AnsibleModule) -> dict[str, object]:
    """Bring the unit into the wanted state and return the task's result."""
    wanted = module.params
    unit, netns = wanted["unit"], wanted["netns"]
    there = unit_exists(unit)
    if wanted["state"] == "stopped":
        if there and not module.check_mode:
            stop(unit)
        return {"changed": there}
    argv = command(wanted["address"], wanted["port"])
    fits = there and runs_as_wanted(look(unit)[0], argv, netns)
    if module.check_mode:
        return {"changed": not fits}
    if not fits:
        if not os.path.exists(BINARY):
            raise Refused(
                "netserver is not installed on this node.", where=BINARY, hint="Run `labctl provision` first."
            )
        if there:
            stop(unit)
        start_unit(unit, unit_text(argv, netns))
    pid = wait_until_listening(unit, wanted["address"], wanted["port"], wanted["timeout"])
    return {"changed": not fits, "pid": pid}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "unit": {"type": "str", "default": "labctl-netserver.service"},
            "address": {"type": "str"},
            "port": {"type": "int", "default": 12865},
            "netns": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 10.0},
        },
        required_if=[("state", "started", ("address",))],
        supports_check_mode=True,
    )
    finish(module, lambda: act(module))


if __name__ == "__main__":
    main()
