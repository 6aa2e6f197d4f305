"""What a node is: kernel, CPU, memory, virtualization, and how busy it was."""

from __future__ import annotations

import gzip
import os
import re
import struct
from typing import Dict, Iterable, List, Optional, Set, Tuple

from ansible.module_utils.fingerprint_probe import Files, Outputs, cpu_list, cpu_ranges, decimal, integer

CPU = "/sys/devices/system/cpu"

# Kernel build options that decide a number, or whether a variant can exist at all.
CONFIG = (
    # how the kernel schedules, and how it accounts CPU time
    "HZ", "NO_HZ_COMMON", "NO_HZ_FULL", "NO_HZ_IDLE", "PREEMPT", "PREEMPT_DYNAMIC", "PREEMPT_LAZY", "PREEMPT_NONE",
    "PREEMPT_RT", "PREEMPT_VOLUNTARY", "IRQ_TIME_ACCOUNTING", "PARAVIRT_TIME_ACCOUNTING", "TICK_CPU_ACCOUNTING",
    "VIRT_CPU_ACCOUNTING_GEN", "RCU_NOCB_CPU", "NR_CPUS",
    # eBPF datapaths
    "BPF_JIT", "BPF_JIT_ALWAYS_ON", "BPF_SYSCALL", "CGROUP_BPF", "DEBUG_INFO_BTF", "NETKIT", "NET_ACT_BPF",
    "NET_CLS_ACT", "NET_CLS_BPF", "NET_SCH_INGRESS", "XDP_SOCKETS",
    # netfilter datapaths
    "IP_NF_IPTABLES", "NETFILTER", "NETFILTER_XT_MATCH_CONNTRACK", "NETFILTER_XT_TARGET_CT", "NFT_COMPAT",
    "NF_CONNTRACK", "NF_NAT", "NF_TABLES",
    # links and encryption
    "INET_ESP", "INET_ESP_OFFLOAD", "VETH", "VXLAN", "WIREGUARD", "XFRM_USER", "CRYPTO_AES_NI_INTEL", "CRYPTO_GCM",
    # TCP
    "DEFAULT_TCP_CONG", "TCP_CONG_BBR", "TCP_CONG_CUBIC",
    # kernels built to find bugs are slow
    "DEBUG_KMEMLEAK", "DEBUG_PREEMPT", "INIT_ON_ALLOC_DEFAULT_ON", "KASAN", "LOCKDEP", "PROVE_LOCKING",
)  # fmt: skip

# CPU features that cryptography, copying, checksums and clocks use; `hypervisor` says that there is one.
FLAGS = {
    "aes", "asimd", "avx", "avx2", "avx512f", "constant_tsc", "erms", "fsrm", "hypervisor", "invpcid", "nonstop_tsc",
    "pcid", "pclmulqdq", "pmull", "rdtscp", "sha2", "sha_ni", "sve", "vaes", "vpclmulqdq",
}  # fmt: skip


def kernel(files: Files) -> Dict[str, object]:
    """Release, build, options, command line and clock of the running kernel."""
    release = files.text("/proc/sys/kernel/osrelease")
    config, source = _config(files, release)
    clock = "/sys/devices/system/clocksource/clocksource0"
    return {
        "release": release,
        "version": files.text("/proc/sys/kernel/version"),
        "build": files.text("/proc/version"),
        "cmdline": files.text("/proc/cmdline"),
        "config": config,
        "config_source": source,
        "clocksource": files.text(clock + "/current_clocksource"),
        "clocksources": (files.text(clock + "/available_clocksource") or "").split() or None,
    }


def _config(files: Files, release: Optional[str]) -> Tuple[Optional[Dict[str, object]], Optional[str]]:
    for path in ("/proc/config.gz", f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        try:
            with open(files.path(path), "rb") as stream:
                data = stream.read()
        except OSError:
            continue
        text = (gzip.decompress(data) if path.endswith(".gz") else data).decode("utf-8", "replace")
        return parse_config(text), path
    return None, None


def parse_config(text: str) -> Dict[str, object]:
    """The options of CONFIG as "y", "m", "n", a number or a string.

    An option that a configuration does not mention is not built: "n" where the option's kind is a switch,
    which all are but HZ, NR_CPUS and DEFAULT_TCP_CONG (None there).
    """
    found = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.MULTILINE))
    options: Dict[str, object] = {}
    for name in CONFIG:
        value = found.get(name)
        if value is None:
            options[name] = None if name in ("HZ", "NR_CPUS", "DEFAULT_TCP_CONG") else "n"
        elif value.startswith('"'):
            options[name] = value.strip('"')
        else:
            whole = integer(value)
            options[name] = value if whole is None else whole
    return options


def boot(files: Files) -> Dict[str, object]:
    """Which boot this is. `id` is one's own in a container; `time_s` (epoch) is the kernel's."""
    match = re.search(r"^btime ([0-9]{1,18})$", files.text("/proc/stat") or "", re.MULTILINE)
    return {
        "id": files.text("/proc/sys/kernel/random/boot_id"),
        "time_s": int(match.group(1)) if match else None,
    }


def machine(files: Files, outputs: Outputs) -> Dict[str, object]:
    """What the node runs on. Serial numbers and the machine id are left out: they identify, and explain nothing."""
    dmi = "/sys/class/dmi/id/"
    vm = (outputs.output("detect-vm") or "").strip()
    return {
        "architecture": os.uname().machine,
        "vm": None if vm in ("", "none") else vm,
        "container": files.text("/run/systemd/container"),
        "vendor": files.text(dmi + "sys_vendor"),
        "product": files.text(dmi + "product_name"),
        "bios_version": files.text(dmi + "bios_version"),
        "bios_date": files.text(dmi + "bios_date"),
    }


def cpu(files: Files) -> Dict[str, object]:
    """Model, topology, frequency control, idle states and mitigations."""
    info = parse_cpuinfo(files.text("/proc/cpuinfo") or "")
    online = cpu_list(files.text(CPU + "/online"))
    topology = [f"{CPU}/cpu{number}/topology/" for number in online]
    l3_groups = {files.text(f"{CPU}/cpu{number}/cache/index3/shared_cpu_list") for number in online} - {None}
    return {
        **info,
        "online": cpu_ranges(online) or None,
        "threads": len(online) or None,
        "sockets": _distinct(files.text(path + "physical_package_id") for path in topology),
        "cores": _distinct(files.text(path + "thread_siblings_list") for path in topology),
        "l3_groups": len(l3_groups) or None,
        "smt_active": files.switch(CPU + "/smt/active"),
        "smt_control": files.text(CPU + "/smt/control"),
        "isolated": files.text(CPU + "/isolated"),
        "nohz_full": files.text(CPU + "/nohz_full"),
        "frequency": _frequency(files, online),
        "idle": _idle(files),
        "mitigations": {
            name: files.words(f"{CPU}/vulnerabilities/{name}") for name in files.names(CPU + "/vulnerabilities")
        }
        or None,
    }


def _distinct(values: Iterable[Optional[str]]) -> Optional[int]:
    known: Set[str] = {value for value in values if value is not None}
    return len(known) or None


def parse_cpuinfo(text: str) -> Dict[str, object]:
    """Model, microcode and flags of the first CPU of /proc/cpuinfo (x86 and arm64 spellings)."""
    first = text.split("\n\n")[0]
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return {
        "model": fields.get("model name") or fields.get("CPU part"),
        "vendor": fields.get("vendor_id") or fields.get("CPU implementer"),
        "microcode": fields.get("microcode"),
        "flags": sorted(FLAGS.intersection(flags)) if flags else None,
    }


def _frequency(files: Files, online: Tuple[int, ...]) -> Dict[str, object]:
    """Governors and limits over all online CPUs; all None where the node controls no frequency."""
    governors: Dict[str, List[int]] = {}
    limits: Dict[str, Set[int]] = {"scaling_min_freq": set(), "scaling_max_freq": set()}
    for number in online:
        path = f"{CPU}/cpu{number}/cpufreq/"
        governor = files.text(path + "scaling_governor")
        if governor:
            governors.setdefault(governor, []).append(number)
        for name, values in limits.items():
            value = files.integer(path + name)
            if value is not None:
                values.add(value)
    no_turbo = files.switch(CPU + "/intel_pstate/no_turbo")
    boost = files.switch(CPU + "/cpufreq/boost")
    return {
        "driver": files.text(CPU + "/cpu0/cpufreq/scaling_driver"),
        "governors": {name: cpu_ranges(numbers) for name, numbers in governors.items()} or None,
        "min_khz": min(limits["scaling_min_freq"], default=None),
        "max_khz": max(limits["scaling_max_freq"], default=None),
        "boost": boost if no_turbo is None else not no_turbo,
        "energy_preference": files.text(CPU + "/cpu0/cpufreq/energy_performance_preference"),
    }


def _idle(files: Files) -> Dict[str, object]:
    """Idle driver, and the states of CPU 0 with those switched off marked."""
    states = CPU + "/cpu0/cpuidle/"
    names = [name for name in files.names(states) if re.match(r"state[0-9]{1,9}\Z", name)]
    return {
        "driver": files.text(CPU + "/cpuidle/current_driver"),
        "governor": files.text(CPU + "/cpuidle/current_governor") or files.text(CPU + "/cpuidle/current_governor_ro"),
        "states": [
            {
                "name": files.text(f"{states}{name}/name"),
                "latency_us": files.integer(f"{states}{name}/latency"),
                "disabled": files.switch(f"{states}{name}/disable"),
            }
            for name in sorted(names, key=lambda name: int(name[5:]))
        ]
        or None,
    }


def memory(files: Files) -> Dict[str, object]:
    """Sizes in kB, huge pages, and the NUMA nodes with their CPUs."""
    sizes = parse_meminfo(files.text("/proc/meminfo") or "")
    chosen = re.search(r"\[(\w+)\]", files.text("/sys/kernel/mm/transparent_hugepage/enabled") or "")
    numa = "/sys/devices/system/node"
    nodes = [name for name in files.names(numa) if re.fullmatch(r"node\d+", name)]
    return {
        "total_kb": sizes.get("MemTotal"),
        "swap_kb": sizes.get("SwapTotal"),
        "huge_pages": sizes.get("HugePages_Total"),
        "transparent_huge_pages": chosen.group(1) if chosen else None,
        "numa": {name: files.text(f"{numa}/{name}/cpulist") for name in nodes} or None,
    }


def parse_meminfo(text: str) -> Dict[str, int]:
    """The figures of /proc/meminfo, kB where it says so."""
    return {key: int(value) for key, value in re.findall(r"^(\w+):\s+([0-9]{1,18})\b", text, re.MULTILINE)}


def state(files: Files, taken_at_s: float) -> Dict[str, object]:
    """What changes from second to second: not compared, and looked at by the preflight only."""
    averages = [decimal(word) for word in (files.text("/proc/loadavg") or "").split()[:3]]
    stat = re.search(r"^cpu +(.*)$", files.text("/proc/stat") or "", re.MULTILINE)
    # user nice system idle iowait irq softirq steal; guest time is inside user and nice already
    words = [integer(word) for word in stat.group(1).split()[:8]] if stat else []
    jiffies = [word for word in words if word is not None]
    uptime = (files.text("/proc/uptime") or "").split()
    return {
        "taken_at_s": round(taken_at_s, 3),
        "uptime_s": decimal(uptime[0]) if uptime else None,
        "load": averages if len(averages) == 3 and None not in averages else None,
        "steal_pct_since_boot": round(100.0 * jiffies[7] / sum(jiffies), 3) if _whole(jiffies) else None,
        "memory_available_kb": parse_meminfo(files.text("/proc/meminfo") or "").get("MemAvailable"),
        "conntrack_count": files.integer("/proc/sys/net/netfilter/nf_conntrack_count"),
        "wake_latency": wake_latency(files),
        # What role bundle wrote down: by it a plan knows what a cluster can carry.
        "bundle": [name[:-5] for name in files.names("/var/lib/labctl/bundle") if name.endswith(".json")] or None,
    }


def _whole(jiffies: List[int]) -> bool:
    """Whether these are all kinds of a machine's time."""
    return len(jiffies) == 8 and min(jiffies) >= 0 and sum(jiffies) > 0


def wake_latency(files: Files) -> Dict[str, object]:
    """The lowest wake-up latency that anyone requests of the CPUs now, 2 * 10^9 us where nobody does.

    Where we cannot request one ourselves, why: a container has no such device, and it is root's. Asking is an open file
    that says nothing, and is closed again.
    """
    try:
        with open(files.path("/dev/cpu_dma_latency"), "r+b", buffering=0) as device:
            return {"requested_us": struct.unpack("=i", device.read(4))[0], "refused": None}
    except OSError as error:
        return {"requested_us": None, "refused": error.strerror}
