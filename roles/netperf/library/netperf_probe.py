#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: netperf_probe
short_description: Find out which netperf a node has and what it can do
description:
  - Runs netperf and netserver against each other for some milliseconds, in a network namespace that nobody else is in.
  - Says how the node's own package sources reach netperf where it is missing. Changes nothing.
author: labctl
"""

RETURN = r"""
installed: {description: Whether netperf and netserver are there., type: bool, returned: always}
version: {description: Version that netperf prints., type: str, returned: when installed}
package: {description: Version of the distribution's package; null when it came otherwise., type: str, returned: always}
abilities: {description: "What netperf showed - demo, histogram and burst.", type: dict, returned: when installed}
max_cpus: {description: CPUs that this version can count; null when not known., type: int, returned: when installed}
service: {description: The distribution's own netserver - active and enabled., type: dict, returned: always}
source: {description: File for apt that a node without netperf lacks - suffix and text., type: dict, returned: always}
component: {description: Component of the archive that holds netperf., type: str, returned: when not installed}
"""

import ctypes
import glob
import os
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import CommandFailed, attempt, run
from ansible.module_utils.labctl_node.sockets import listens
from ansible.module_utils.labctl_node.wait import wait_until
from ansible.module_utils.netperf_sources import component_of, lists_component, release_of, source_for

UNIT = "netperf.service"
# A documentation address: netperf resolves names only on a machine that has more than 127.0.0.1.
ADDRESS = "192.0.2.1"
PORT = 12865
CLONE_NEWNET = 0x40000000
RUN_TIMEOUT_S = 10
POLL_S = 0.005
# Compiled in as MAXCPUS (netlib.h); a bigger machine makes netperf exit.
MAX_CPUS = {"2.7.0": 256}


def enter_empty_network() -> None:
    """Put this process and its children into a network namespace of their own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise Refused("No network namespace can be made for the probe.", seen=os.strerror(ctypes.get_errno()))
    run(["ip", "link", "set", "lo", "up"])
    run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"])


def wait_until_listening(server: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: server.poll() is not None or listens(server.pid, ADDRESS, PORT), RUN_TIMEOUT_S, POLL_S)
    if not listens(server.pid, ADDRESS, PORT):
        raise Refused(f"netserver does not listen on {ADDRESS}:{PORT}.", seen=f"exit code {server.poll()}")


def netperf(*options: str) -> dict[str, str]:
    """Run 200 transactions and return the NAME=value lines that netperf prints. Raises Refused where it fails."""
    argv = ["netperf", "-H", ADDRESS, "-p", str(PORT), "-t", "TCP_RR", "-l", "-200", "-P", "0", *options]
    return dict(line.split("=", 1) for line in run(argv, timeout_s=RUN_TIMEOUT_S).splitlines() if "=" in line)


def abilities() -> dict[str, bool]:
    """Return what netperf can do, seen in its output."""
    enter_empty_network()
    argv = ["netserver", "-D", "-N", "-4", "-L", ADDRESS, "-p", str(PORT)]
    server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_listening(server)
        plain = netperf("-D", "-0.001", "-j", "--", "-r", "1,1", "-k", "TRANSACTION_RATE,P50_LATENCY,P99_LATENCY")
        try:
            burst = netperf("--", "-r", "1,1", "-b", "4", "-k", "TRANSACTION_RATE,BURST_SIZE")
        except CommandFailed:  # built without it
            burst = {}
    finally:
        server.kill()
        server.wait()
    if float(plain.get("TRANSACTION_RATE", 0)) <= 0:
        raise Refused("netperf measured nothing on loopback.", seen=str(plain), hint="Install another netperf.")
    return {
        "demo": "NETPERF_INTERIM_RESULT[0]" in plain,
        "histogram": float(plain.get("P50_LATENCY", -1)) > 0 and float(plain.get("P99_LATENCY", -1)) > 0,
        "burst": burst.get("BURST_SIZE") == "4",
    }


def missing_source() -> tuple[str, dict[str, str] | None]:
    """Return the component that holds netperf, and the file for apt that the node lacks to reach it."""
    release = release_of(read_text("/etc/os-release") or "")
    component = component_of(release)
    if attempt(["apt-cache", "madison", "netperf"]).stdout.strip():  # whatever the sources look like
        return component, None
    paths = sorted(["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*")])
    texts = [read_text(path) or "" for path in paths if path.endswith((".list", ".sources"))]
    if any(lists_component(text, release, component) for text in texts):
        return component, None
    source = source_for(texts, release, component)
    if source is None:
        raise Refused(
            f"apt has no source with the component main of {release.name} {release.codename}, so netperf ({component}) "
            "has no mirror to come from.",
            where="/etc/apt/sources.list",
            hint="Name a mirror there, or install netperf by hand.",
        )
    return component, {"suffix": source.suffix, "text": source.text}


def look() -> dict[str, object]:
    """Return the whole result."""
    package = attempt(["dpkg-query", "--show", "--showformat=${Version} ${db:Status-Status}", "netperf"])
    version, _, status = package.stdout.decode().partition(" ")
    result: dict[str, object] = {
        "package": version if status == "installed" else None,
        "installed": all(os.path.exists(f"/usr/bin/{name}") for name in ("netperf", "netserver")),
        "service": {
            "active": attempt(["systemctl", "is-active", UNIT]).returncode == 0,
            "enabled": attempt(["systemctl", "is-enabled", UNIT]).returncode == 0,
        },
        "source": None,
    }
    if not result["installed"]:
        result["component"], result["source"] = missing_source()
        return result
    printed = run(["netperf", "-V"]).strip()
    result["version"] = printed.rpartition(" ")[2]
    result["max_cpus"] = MAX_CPUS.get(printed.rpartition(" ")[2])
    result["abilities"] = abilities()
    return result


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    finish(module, lambda: {"changed": False, **look()})


if __name__ == "__main__":
    main()
