"""How a node is set: sysctls, versions of its tools, services, clock."""

from __future__ import annotations

import ctypes
import json
import re
from typing import Dict, Optional, Tuple

from ansible.module_utils.fingerprint_probe import Files, Outputs
from ansible.module_utils.labctl_node.machine import release_fields

# Of these directories of /proc/sys/net every file is read: a kernel brings new ones, and they matter by default.
WHOLE = (("net/core", ""), ("net/ipv4", "tcp_"), ("net/ipv4", "udp_"))
SINGLE = (
    "net/ipv4/ip_early_demux", "net/ipv4/ip_local_port_range", "net/ipv4/ip_local_reserved_ports",
    "net/ipv4/ip_no_pmtu_disc",
    "kernel/bpf_stats_enabled", "kernel/kptr_restrict", "kernel/nmi_watchdog", "kernel/numa_balancing",
    "kernel/panic", "kernel/panic_on_oops", "kernel/perf_event_paranoid", "kernel/randomize_va_space",
    "kernel/sched_autogroup_enabled", "kernel/sched_rt_runtime_us", "kernel/sched_schedstats",
    "kernel/task_delayacct", "kernel/timer_migration", "kernel/unprivileged_bpf_disabled", "kernel/watchdog",
    "vm/min_free_kbytes", "vm/nr_hugepages", "vm/overcommit_memory", "vm/stat_interval", "vm/swappiness",
    "vm/zone_reclaim_mode",
)  # fmt: skip

# A key of TCP Fast Open is a secret, a hash seed is random at every boot, and the lists of congestion controls
# grow when a module is loaded (they are read as `congestion_control`).
LEFT_OUT = (
    "net.core.netdev_rss_key", "net.ipv4.tcp_allowed_congestion_control", "net.ipv4.tcp_available_congestion_control",
    "net.ipv4.tcp_available_ulp", "net.ipv4.tcp_fastopen_key",
)  # fmt: skip

# Whose a setting is. From the kernel's net/core/sysctl_net_core.c, net/ipv4/sysctl_net_ipv4.c and
# net/netfilter/nf_conntrack_standalone.c: the first are kept per network namespace, all others of net.core, and the
# second, belong to the whole machine even where a namespace shows them. kernel.* and vm.* always do.
CORE_OF_NAMESPACE = ("optmem_max", "rps_default_mask", "somaxconn", "tstamp_allow_data", "txrehash")
IPV4_OF_HOST = ("tcp_low_latency", "tcp_max_orphans", "tcp_mem", "udp_mem")

# What a setup itself sets when it is deployed.
PER_SETUP = ("forwarding", "rp_filter", "accept_local", "send_redirects", "route_localnet", "proxy_arp")
METRICS_OF_SETUP = "net.ipv4.tcp_no_metrics_save"

VERSIONS = {
    "netperf": (("netperf", "-V"), r"version ([\w.+-]+)"),
    "iproute2": (("ip", "-V"), r"iproute2-([\w.+-]+)"),
    "iptables": (("iptables", "-V"), r"v([\w.+-]+)"),
    "nft": (("nft", "--version"), r"v([\w.+-]+)"),
    "ethtool": (("ethtool", "--version"), r"version ([\w.+-]+)"),
    "bpftool": (("bpftool", "version"), r"bpftool v([\w.+-]+)"),
    "conntrack": (("conntrack", "--version"), r"v([\w.+-]+)"),
    "systemd": (("systemctl", "--version"), r"systemd (\d+)"),
}
SERVICES = (
    "irqbalance", "tuned", "power-profiles-daemon", "thermald",
    "chrony", "chronyd", "systemd-timesyncd", "ntp", "ntpsec", "ntpd",
)  # fmt: skip
COMMANDS: Dict[str, Tuple[str, ...]] = {f"version-{name}": argv for name, (argv, _) in VERSIONS.items()}
COMMANDS["services"] = (
    "systemctl", "show", "-p", "Id,LoadState,ActiveState,UnitFileState", *(f"{name}.service" for name in SERVICES),
)  # fmt: skip
COMMANDS["detect-vm"] = ("systemd-detect-virt", "--vm")


def sysctl(files: Files, interface: str) -> Dict[str, object]:
    """Settings by whose they are: the machine's (`host`), the namespace's, and those a setup sets (`setup`)."""
    paths = [f"{folder}/{name}" for folder, prefix in WHOLE for name in files.names(f"/proc/sys/{folder}")
             if name.startswith(prefix)]  # fmt: skip
    found: Dict[str, Dict[str, Optional[str]]] = {"host": {}, "namespace": {}}
    for path in sorted({*paths, *SINGLE}):
        name = path.replace("/", ".")
        if name not in (*LEFT_OUT, METRICS_OF_SETUP):
            found[sysctl_scope(name)][name] = files.words(f"/proc/sys/{path}")
    setup = [
        "net/ipv4/ip_forward",
        METRICS_OF_SETUP.replace(".", "/"),
        "net/ipv6/conf/all/forwarding",
        f"net/ipv6/conf/{interface}/disable_ipv6",
    ]
    setup += [f"net/ipv4/conf/{which}/{name}" for which in ("all", "default", interface) for name in PER_SETUP]
    return {**found, "setup": {path.replace("/", "."): files.words(f"/proc/sys/{path}") for path in sorted(setup)}}


def namespace_sysctl(text: str) -> Dict[str, object]:
    """Settings that a network namespace has for itself, by name, in what grep prints of files of /proc/sys."""
    lines = (line.partition(":") for line in text.splitlines())
    named = ((path[len("/proc/sys/") :].replace("/", "."), " ".join(value.split())) for path, _, value in lines)
    return {name: value for name, value in named if name not in LEFT_OUT and sysctl_scope(name) == "namespace"}


def sysctl_scope(name: str) -> str:
    """`host` where a setting belongs to the machine, `namespace` where each network namespace has its own."""
    area, _, rest = name.partition(".")
    if area != "net":
        return "host"
    if rest.startswith("core."):
        own = rest[5:] in CORE_OF_NAMESPACE or rest[5:].startswith("xfrm_")
        return "namespace" if own else "host"
    return "host" if rest.rpartition(".")[2] in IPV4_OF_HOST else "namespace"


def congestion_control(files: Files) -> Dict[str, object]:
    """The congestion control in force, and those the kernel offers at the moment."""
    ipv4 = "/proc/sys/net/ipv4/"
    available = files.words(ipv4 + "tcp_available_congestion_control")
    return {
        "current": files.text(ipv4 + "tcp_congestion_control"),
        "available": sorted(available.split()) if available else None,
    }


def versions(files: Files, outputs: Outputs, python: str) -> Dict[str, object]:
    """Versions of the distribution and of every tool that measures or sets something; None where not installed."""
    found: Dict[str, object] = {}
    for name, (_, pattern) in VERSIONS.items():
        match = re.search(pattern, outputs.output(f"version-{name}") or "")
        found[name] = match.group(1) if match else None
    backend = re.search(r"\((nf_tables|legacy)\)", outputs.output("version-iptables") or "")
    # iptables before 1.8 has one backend and does not name it.
    found["iptables_backend"] = backend.group(1) if backend else ("legacy" if found["iptables"] else None)
    found["python"] = python
    found["provisioned"] = (files.text("/var/lib/labctl/provisioned") or "").strip() or None
    # What labctl wrote down when it made the node a member of a cluster.
    cluster = files.text("/var/lib/labctl/kubernetes/cluster.json")
    found["edition"] = json.loads(cluster).get("edition") if cluster else None
    return {**found, **_distribution(files)}


def _distribution(files: Files) -> Dict[str, object]:
    release = release_fields(files.text("/etc/os-release") or "")
    return {
        "distribution": release.get("ID"),
        "distribution_version": release.get("VERSION_ID"),
        # Only Debian keeps its point release here; elsewhere VERSION_ID says all.
        "distribution_release": files.text("/etc/debian_version") if release.get("ID") == "debian" else None,
    }


def services(files: Files, outputs: Outputs) -> Dict[str, object]:
    """Services that move interrupts, frequencies or the clock: {"active","enabled"}; None where not installed."""
    states = parse_services(outputs.output("services"))
    return {**states, "tuned_profile": files.text("/etc/tuned/active_profile")}


def parse_services(text: Optional[str]) -> Dict[str, Optional[Dict[str, object]]]:
    """`systemctl show` of SERVICES by name; all None without systemd."""
    states: Dict[str, Optional[Dict[str, object]]] = dict.fromkeys(SERVICES)
    for block in (text or "").split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        name = unit.get("Id", "")[: -len(".service")]
        if unit.get("LoadState") == "loaded" and name in states:
            states[name] = {
                "active": unit.get("ActiveState") == "active",
                "enabled": unit.get("UnitFileState") == "enabled",
            }
    return states


class _Timex(ctypes.Structure):
    """The head of `struct timex` of adjtimex(2), with room for the rest."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


def clock_synchronized() -> Tuple[Optional[bool], Optional[int]]:
    """Whether the kernel takes its clock for synchronised, and the error it estimates (us), by adjtimex(2).

    chrony, ntpd and systemd-timesyncd all report to the kernel. None where the call is not permitted, as in most
    containers.
    """
    timex = _Timex()
    if ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) < 0:
        return None, None
    unsynchronized = bool(timex.status & 0x40)  # STA_UNSYNC
    return not unsynchronized, None if unsynchronized else int(timex.maxerror)
