"""The host-global settings of the kernel: recorded before a lab exists, compared after it is gone."""

from __future__ import annotations

import glob
import os
import re
from typing import Any

from ansible.module_utils.labctl_node.files import read_json, read_text, write_json
from ansible.module_utils.labctl_node.machine import boot_id
from ansible.module_utils.labctl_node.refused import Problem, refuse
from ansible.module_utils.local_lab_forwarding import without_labs

ROOT = "/proc/sys"
SYS_SETTINGS = (
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/mm/transparent_hugepage/defrag",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "/sys/devices/system/cpu/smt/control",
    "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/intel_pstate/no_turbo",
)
# What changes without anybody setting it, with the reason.
VOLATILE = (
    (r"fs/(dentry|inode)-(state|nr)", "counters of caches"),
    (r"fs/(file-nr|aio-nr)", "counters of open files and requests"),
    (r"fs/quota/.*", "counters of the quota code"),
    (r"kernel/ns_last_pid", "the last process number"),
    (r"kernel/perf_event_max_sample_rate", "the kernel lowers it by itself under load"),
    (r"kernel/pty/nr", "counter of terminals"),
    (r"kernel/random/(entropy_avail|uuid)", "new at every reading"),
    (r"kernel/(tainted|.*_warn_count|.*oops_count)", "history, not settings"),
    (r"net/netfilter/nf_conntrack_count", "counter of connections"),
    (r"vm/(drop_caches|compact_memory|stat_refresh)", "triggers, not settings"),
    (r"sunrpc/transports", "a list of what is loaded"),
    # Interfaces come and go. Of those that stay, forwarding is compared by FORWARDING below.
    (r"net/ipv[46]/(conf|neigh)/(?!all/|default/).*", "per interface"),
)
FORWARDING = "net/ipv4/conf/{}/forwarding"
_VOLATILE = re.compile("|".join(f"(?:{pattern})" for pattern, _ in VOLATILE))


def read_settings(ignore: list[str]) -> dict[str, str]:
    """Every readable setting by its key (net/ipv4/ip_forward, or a path below /sys)."""
    settings = {}
    for directory, _, names in os.walk(ROOT):
        for name in names:
            path = os.path.join(directory, name)
            key = os.path.relpath(path, ROOT)
            if not _VOLATILE.fullmatch(key) and key not in ignore:
                value = read(path)
                if value is not None:
                    settings[key] = value
    for pattern in SYS_SETTINGS:
        for path in glob.glob(pattern):
            value = read(path)
            if value is not None:
                settings[path] = value
    return settings


def read(path: str) -> str | None:
    """A setting's text, or None where it is not to be read (write-only, or refused as long as it was never set)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def read_modules() -> list[str]:
    """The modules that are loaded; none of a kernel without loadable modules."""
    return sorted(line.split()[0] for line in (read_text("/proc/modules") or "").splitlines())


def settings_without_labs(ignore: list[str], state_dir: str) -> dict[str, str]:
    """The settings, and what each interface would forward if there were no labs: several share an uplink."""
    forwarding = {FORWARDING.format(interface): value for interface, value in without_labs(state_dir).items()}
    return {**read_settings(ignore), **forwarding}


def came_and_went(key: str, after: dict[str, str]) -> bool:
    """Whether a setting is of an interface that is gone."""
    return key not in after and key.startswith(FORWARDING.partition("{")[0])


def record(path: str, ignore: list[str], state_dir: str) -> dict[str, Any]:
    if os.path.exists(path):
        return {"changed": False}
    settings = settings_without_labs(ignore, state_dir)
    write_json(path, {"boot_id": boot_id(), "settings": settings, "modules": read_modules()})
    return {"changed": True, "keys": len(settings)}


def compare(path: str, ignore: list[str], state_dir: str) -> dict[str, Any]:
    """Raises Refused with every difference. A setting that appeared came with a module or a device: no failure."""
    before = read_json(path)
    if before is None or before["boot_id"] != boot_id():  # settings do not outlive a boot
        return {"changed": False, "keys": 0, "modules": []}
    after = settings_without_labs(ignore, state_dir)
    differences: list[Problem] = [
        {
            "what": f"A host-global setting is not what it was before the lab: {key}.",
            "where": f"{ROOT}/{key}" if not key.startswith("/") else key,
            "seen": f"before: {value}, after: {after.get(key, 'gone')}",
            "hint": "labctl does not write it. If something else did on purpose, nothing is to be done; "
            f"else write {value!r} back.",
        }
        for key, value in before["settings"].items()
        if after.get(key) != value and key not in ignore and not came_and_went(key, after)
    ]
    refuse(differences)
    modules = sorted(set(read_modules()) - set(before["modules"]))
    return {"changed": False, "keys": len(before["settings"]), "modules": modules}
