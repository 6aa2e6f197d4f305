#!/usr/bin/python
"""Ansible module: whether netperf is there, which one, and what it can do - by running it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
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
abilities: {description: What netperf showed - demo, histogram and burst., type: dict, returned: when installed}
max_cpus: {description: CPUs that this version can count; null when not known., type: int, returned: when installed}
service: {description: The distribution's own netserver - active and enabled., type: dict, returned: always}
source: {description: File for apt that a node without netperf lacks - suffix and text., type: dict, returned: always}
component: {description: Component of the archive that holds netperf., type: str, returned: when not installed}
"""

import ctypes
import glob
import os
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_sockets import listens
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


class Unusable(Exception):
    """netperf is there and does not do what it is there for; the text says what was seen."""


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=RUN_TIMEOUT_S)


def enter_empty_network() -> None:
    """Put this process and its children into a network namespace of their own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise Unusable(f"no network namespace can be made for the probe: {os.strerror(ctypes.get_errno())}")
    for argv in (["ip", "link", "set", "lo", "up"], ["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"]):
        done = run(argv)
        if done.returncode != 0:
            raise Unusable(f"`{' '.join(argv)}` failed in the probe's namespace: {done.stderr.strip()}")


def wait_until_listening(server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while not listens(server.pid, ADDRESS, PORT):
        if server.poll() is not None or time.monotonic() > deadline:
            raise Unusable(f"netserver does not listen on {ADDRESS}:{PORT} (exit: {server.poll()})")
        time.sleep(POLL_S)


def netperf(*options: str) -> subprocess.CompletedProcess[str]:
    """Run 200 transactions."""
    return run(["netperf", "-H", ADDRESS, "-p", str(PORT), "-t", "TCP_RR", "-l", "-200", "-P", "0", *options])


def fields_of(printed: str) -> dict[str, str]:
    """Return the NAME=value lines of netperf's output."""
    return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)


def abilities() -> dict[str, bool]:
    """Return what netperf can do, seen in its output."""
    enter_empty_network()
    argv = ["netserver", "-D", "-N", "-4", "-L", ADDRESS, "-p", str(PORT)]
    server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_listening(server)
        plain = netperf("-D", "-0.001", "-j", "--", "-r", "1,1", "-k", "TRANSACTION_RATE,P50_LATENCY,P99_LATENCY")
        burst = netperf("--", "-r", "1,1", "-b", "4", "-k", "TRANSACTION_RATE,BURST_SIZE")
    finally:
        server.kill()
        server.wait()
    seen = fields_of(plain.stdout)
    if plain.returncode != 0 or float(seen.get("TRANSACTION_RATE", 0)) <= 0:
        raise Unusable(f"netperf measured nothing on loopback (exit {plain.returncode}): {plain.stderr}{plain.stdout}")
    return {
        "demo": "NETPERF_INTERIM_RESULT[0]" in seen,
        "histogram": float(seen.get("P50_LATENCY", -1)) > 0 and float(seen.get("P99_LATENCY", -1)) > 0,
        "burst": burst.returncode == 0 and fields_of(burst.stdout).get("BURST_SIZE") == "4",
    }


def missing_source() -> tuple[str, dict[str, str] | None]:
    """Return the component that holds netperf, and the file for apt that the node lacks to reach it."""
    with open("/etc/os-release", encoding="utf-8") as stream:
        release = release_of(stream.read())
    component = component_of(release)
    texts = []
    for path in sorted(["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*")]):
        if os.path.exists(path) and path.endswith((".list", ".sources")):
            with open(path, encoding="utf-8") as stream:
                texts.append(stream.read())
    if any(lists_component(text, release, component) for text in texts):
        return component, None
    source = source_for(texts, release, component)
    if source is None:
        raise Unusable(
            f"apt has no source with the component main of {release.name} {release.codename}, so netperf ({component}) "
            "has no mirror to come from: name one in /etc/apt/sources.list, or install netperf by hand"
        )
    return component, {"suffix": source.suffix, "text": source.text}


def look() -> dict[str, object]:
    """Return the whole result."""
    package = run(["dpkg-query", "--show", "--showformat=${Version} ${db:Status-Status}", "netperf"])
    version, _, status = package.stdout.partition(" ")
    result: dict[str, object] = {
        "package": version if status == "installed" else None,
        "installed": all(os.path.exists(f"/usr/bin/{name}") for name in ("netperf", "netserver")),
        "service": {
            "active": run(["systemctl", "is-active", UNIT]).returncode == 0,
            "enabled": run(["systemctl", "is-enabled", UNIT]).returncode == 0,
        },
        "source": None,
    }
    if not result["installed"]:
        result["component"], result["source"] = missing_source()
        return result
    printed = run(["netperf", "-V"]).stdout.strip()
    result["version"] = printed.rpartition(" ")[2]
    result["max_cpus"] = MAX_CPUS.get(printed.rpartition(" ")[2])
    result["abilities"] = abilities()
    return result


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        result = look()
    except Unusable as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
