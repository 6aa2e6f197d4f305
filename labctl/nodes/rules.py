"""What one node should be for its numbers to mean something: rules, as data where a comparison will do.

A rule looks at one fingerprint and says how bad what it sees is. Sources of the wanted values: FIELD-NOTES 2.1 (the
2021 benchmark's tuning), netperf's own behaviour, and each kernel option's own documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from labctl import catalog
from labctl.catalog import CLUSTER, Kernel
from labctl.catalog.tunnel import Tunnel
from labctl.nodes import encryption, idle
from labctl.nodes.fingerprint import Fingerprint


class Level(StrEnum):
    """How bad a finding is. An error makes numbers wrong or impossible, a warning makes them worse."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Node:
    """A node as it was seen. `kind` is the lab's: local, vm, metal or cluster."""

    name: str
    kind: str
    seen: Fingerprint

    @property
    def threads(self) -> int:
        """CPU threads online."""
        return self.seen.whole("cpu", "threads") or 1


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a node; `wanted` where it depends on the node."""

    level: Level
    seen: str
    wanted: str | None = None


@dataclass(frozen=True)
class Rule:
    """One thing looked at on every node of the named kinds of lab.

    What belongs to the whole machine (`of_machine`) is the user's own on a local lab: seen there once, changed never,
    and at most a warning. What is `of_cable` is not asked of a node without one.
    """

    subject: str
    wanted: str
    judge: Callable[[Node], Verdict]
    action: str
    of_machine: bool = False
    of_cable: bool = False
    kinds: tuple[str, ...] = ("local", "vm", "metal")


# Built to find mistakes in the kernel, at several times the cost of a packet.
DEBUGGING = ("DEBUG_KMEMLEAK", "KASAN", "LOCKDEP", "PROVE_LOCKING")

TOOLS = ("iproute2", "nft", "iptables", "ethtool", "bpftool", "conntrack")

# A cable whose ends segment carries 64 KB packets whole, and its MTU means nothing.
SEGMENTING = (
    "tcp-segmentation-offload",
    "generic-segmentation-offload",
    "generic-receive-offload",
    "large-receive-offload",
)

# netperf's TCP_CRR walks the client ports 5000 to 65535 towards one server port per process, and connection tracking
# keeps a closed connection for 120 s: so many entries per process, and no more, can be there at once.
CRR_PORTS = 65536 - 5000

SHALLOW_US = 10  # a deeper sleep costs more than the path of a small packet

STEAL_PCT = 1.0
IDLE_LOAD = 0.5  # of all threads together: a system at rest with its daemons


def _judge(good: bool, seen: str, bad: Level = Level.WARNING, wanted: str | None = None) -> Verdict:
    return Verdict(Level.OK if good else bad, seen, wanted)


def cable(node: Node) -> Verdict:
    """Whether the interface of the inventory exists, is up, and has the other end plugged in."""
    wanted = f"{node.seen.text('inventory', 'interface')} up, with carrier"
    if node.seen.get("link") is None:
        return Verdict(Level.ERROR, "no such interface", wanted)
    up, carrier = node.seen.flag("link", "up"), node.seen.flag("link", "carrier")
    seen = "up" if up and carrier else "up, no carrier" if up else "down"
    return _judge(bool(up and carrier), seen, Level.ERROR, wanted)


def cable_address(node: Node) -> Verdict:
    """Whether the cable carries the address that the inventory names."""
    wanted = node.seen.text("inventory", "address") or "cable_address set in the inventory"
    addresses = node.seen.items("link", "addresses") or ()
    seen = ", ".join(str(address) for address in addresses if ":" not in str(address)) or "none"
    return _judge(wanted in {str(address).partition("/")[0] for address in addresses}, seen, Level.ERROR, wanted)


def segmentation(node: Node) -> Verdict:
    """Whether the cable between two namespaces carries packets no larger than its MTU."""
    features = node.seen.mapping("nic", "features")
    if features is None:
        return Verdict(Level.WARNING, "not readable: no ethtool")
    on = [name for name in SEGMENTING if features.get(name)]
    return _judge(not on, f"on: {', '.join(on)}" if on else "off", Level.ERROR)


def netperf(node: Node) -> Verdict:
    """Whether netperf is there, and which."""
    version = node.seen.text("versions", "netperf")
    return _judge(version is not None, version or "not installed")


def python(node: Node) -> Verdict:
    """Which Python runs the modules: one that is too old gives no fingerprint, which is told as such."""
    return Verdict(Level.OK, node.seen.text("versions", "python") or "unknown")


def tools(node: Node) -> Verdict:
    """Whether the tools are there that deploy and prove the variants."""
    missing = [name for name in TOOLS if node.seen.get("versions", name) is None]
    return _judge(not missing, f"missing: {', '.join(missing)}" if missing else "installed")


def kernel_of(needed: Kernel) -> Callable[[Node], Verdict]:
    """A judge of whether the kernel can carry a variant."""

    def judge(node: Node) -> Verdict:
        release, version = node.seen.text("kernel", "release") or "unknown", node.seen.kernel_version
        config = node.seen.mapping("kernel", "config")
        if version is not None and version < needed.version:
            return Verdict(Level.WARNING, release)
        if config is None:
            return Verdict(Level.OK, f"{release}, build options not readable: deploying it will tell")
        missing = ["/".join(group) for group in needed.options if all(config.get(name) == "n" for name in group)]
        return _judge(not missing, f"{release} without {', '.join(missing)}" if missing else release)

    return judge


def wireguard(node: Node) -> Verdict:
    """Which WireGuard setups with that encryption get."""
    refusal = encryption.lacks_wireguard(node.seen)
    kind = node.seen.text("tunnels", "wireguard")
    if refusal or kind is None:
        return Verdict(Level.WARNING, refusal or "none")
    return Verdict(Level.OK, Tunnel(kind).words)


def esp(node: Node) -> Verdict:
    """Whether the kernel can carry setups with IPsec."""
    refusal = encryption.lacks_esp(node.seen)
    if refusal:
        return Verdict(Level.WARNING, refusal)
    drivers = node.seen.mapping("tunnels", "drivers") or {}
    known = drivers.get("rfc4106(gcm(aes))")
    seen = "not tried: deploying it will tell" if node.seen.flag("tunnels", "esp") is None else "taken"
    survives = node.seen.flag("tunnels", "esp_redirect_peer")
    pods = {
        None: "",
        True: "into pods by bpf_redirect_peer",
        False: "into pods past bpf_redirect_peer (no c4327229)",
    }[survives]
    return Verdict(Level.OK, "; ".join(filter(None, (f"{seen} ({known})" if known else seen, pods))))


def crypto_flags(node: Node) -> Verdict:
    """Whether the CPU encrypts AES by itself: known, for it decides between WireGuard and IPsec."""
    flags = node.seen.items("cpu", "flags")
    if flags is None:
        return Verdict(Level.OK, "CPU flags not readable")
    return Verdict(
        Level.OK, ", ".join(name for name in ("aes", "vaes", "pclmulqdq", "vpclmulqdq") if name in flags) or "none"
    )


def debugging(node: Node) -> Verdict:
    """Whether the kernel was built to find mistakes rather than to be fast."""
    config = node.seen.mapping("kernel", "config")
    if config is None:
        return Verdict(Level.OK, "build options not readable")
    on = [name for name in DEBUGGING if config.get(name) == "y"]
    return _judge(not on, f"built with {', '.join(on)}" if on else "none built in")


def governor(node: Node) -> Verdict:
    """Whether all CPUs run at the frequency that the user, not the load, decides."""
    governors = node.seen.mapping("cpu", "frequency", "governors")
    if not governors:
        return Verdict(Level.OK, "no frequency control visible")
    seen = ", ".join(f"{name} on {cpus}" for name, cpus in governors.items())
    driver = node.seen.text("cpu", "frequency", "driver") or "unknown driver"
    return _judge(set(governors) == {"performance"}, f"{seen} ({driver})")


def idle_driver(node: Node) -> Verdict:
    """Whether the kernel heeds a request to keep its CPUs awake: without a driver they sleep as they please."""
    if idle.polls(node.seen):
        return Verdict(Level.OK, "idle=poll: the CPUs never sleep")
    words = idle.no_driver(node.seen)
    return Verdict(Level.WARNING, words) if words else Verdict(Level.OK, str(node.seen.text("cpu", "idle", "driver")))


def idle_states(node: Node) -> Verdict:
    """Whether the CPUs can be kept from the sleeps that cost more than a packet does, while they are measured."""
    states = idle.sleeps(node.seen)
    if not states or idle.polls(node.seen):
        return Verdict(Level.OK, "none")
    seen = ", ".join(f"{state['name']} {state['latency_us']} us" for state in states)
    refused = None if node.kind == "local" else idle.no_device(node.seen)
    deep = any((state["latency_us"] or 0) > SHALLOW_US for state in states)
    return _judge(not (deep and refused), f"{seen} ({refused})" if refused else seen)


def idle_governor(node: Node) -> Verdict:
    """How the kernel chooses between its idle states: known, for with `--idle system` it decides a round trip."""
    return Verdict(Level.OK, node.seen.text("cpu", "idle", "governor") or "none")


def boost(node: Node) -> Verdict:
    """Whether frequencies above the nominal one come and go with temperature: known, not judged."""
    return Verdict(
        Level.OK, {True: "on", False: "off", None: "not visible"}[node.seen.flag("cpu", "frequency", "boost")]
    )


def irqbalance(node: Node) -> Verdict:
    """Whether something moves interrupts between CPUs while we measure, or will after the next boot."""
    state = node.seen.mapping("services", "irqbalance")
    if state is None:
        return Verdict(Level.OK, "not installed")
    words = ["running" if state["active"] else "stopped", "enabled" if state["enabled"] else "disabled"]
    return _judge(not state["active"] and not state["enabled"], ", ".join(words))


def accounting(node: Node) -> Verdict:
    """How the kernel counts softirq time: known, so that CPU figures can be read."""
    config = node.seen.mapping("kernel", "config")
    if config is None:
        return Verdict(Level.OK, "build options not readable")
    exact = config.get("IRQ_TIME_ACCOUNTING") == "y"
    return Verdict(Level.OK, f"{'exact' if exact else 'sampled by the tick'}, HZ {config.get('HZ')}")


def conntrack(node: Node) -> Verdict:
    """Whether the tracking table holds all connections that tcp_crr with every process can leave behind."""
    wanted = f">= {CRR_PORTS * node.threads} entries ({CRR_PORTS} per process)"
    entries = node.seen.whole("network", "conntrack", "nf_conntrack_max")
    if entries is None:
        return Verdict(Level.OK, "not loaded", wanted)
    buckets = node.seen.whole("network", "conntrack", "nf_conntrack_buckets")
    return _judge(entries >= CRR_PORTS * node.threads, f"{entries} entries, {buckets} buckets", wanted=wanted)


def clock(node: Node) -> Verdict:
    """Whether something keeps the node's clock; the offset itself is measured with every sample."""
    synchronized, error = node.seen.flag("state", "clock_synchronized"), node.seen.whole("state", "clock_error_us")
    if synchronized is None:
        return Verdict(Level.OK, "not readable")
    return _judge(synchronized, f"synchronised within {error} us" if synchronized else "not synchronised")


def virtualization(node: Node) -> Verdict:
    """Whether the node is a machine of its own. Only a lab of real machines claims that."""
    machine = node.seen.text("machine", "vm")
    hypervisor = "hypervisor" in (node.seen.items("cpu", "flags") or ())
    seen = machine or ("a hypervisor of unknown kind" if hypervisor else "none")
    if node.seen.emulated:
        return Verdict(Level.WARNING, "qemu without KVM: nothing measured here is a result", wanted="kvm, or none")
    return _judge(seen == "none" or node.kind != "metal", seen, wanted="none" if node.kind == "metal" else "known")


def steal(node: Node) -> Verdict:
    """Whether a hypervisor takes CPU time away."""
    share = node.seen.number("state", "steal_pct_since_boot")
    seen = "not readable" if share is None else f"{share:.1f} % since boot"
    return _judge(share is None or share <= STEAL_PCT, seen)


def load(node: Node) -> Verdict:
    """Whether anything else keeps the node busy."""
    loads = node.seen.items("state", "load")
    if loads is None:
        return Verdict(Level.OK, "not readable")
    return _judge(loads[0] <= IDLE_LOAD * node.threads, f"{loads[0]:.2f} on {node.threads} threads")


def congestion_control(node: Node) -> Verdict:
    """Whether the congestion control that the workloads pin is there; the node's own default does not matter."""
    available = node.seen.items("congestion_control", "available") or ()
    current = node.seen.text("congestion_control", "current")
    return _judge("cubic" in available, f"{', '.join(available) or 'unknown'} (default {current})")


def pause(node: Node) -> Verdict:
    """Whether the card throttles its peer by pause frames."""
    frames = node.seen.mapping("nic", "pause")
    if frames is None:
        return Verdict(Level.OK, "not supported or not readable")
    on = [name for name in ("RX", "TX") if frames.get(name)]
    return _judge(not on, f"on: {', '.join(on)}" if on else "off")


def card(node: Node) -> Verdict:
    """Which network card carries the cable."""
    if not node.seen.flag("nic", "hardware"):
        return _judge(node.kind == "local", f"no NIC ({node.seen.text('nic', 'driver') or 'unknown'})")
    parts = [node.seen.text("nic", name) for name in ("driver", "firmware")]
    speed = node.seen.whole("nic", "speed_mbps")
    return Verdict(Level.OK, ", ".join(filter(None, [*parts, f"{speed} Mbit/s" if speed else None])))


def node_state(node: Node) -> Verdict:
    """Whether the cluster has something to say against a node."""
    wrong = node.seen.mapping("state", "conditions") or {}
    return _judge(not wrong, "; ".join(f"{name}: {words}" for name, words in wrong.items()) or "Ready")


def cordon(node: Node) -> Verdict:
    """Whether somebody keeps new pods off a node, or is about to empty it. Those of labctl come all the same."""
    cordoned = node.seen.flag("state", "cordoned")
    return _judge(not cordoned, "cordoned: is it about to be drained?" if cordoned else "not cordoned")


def taints(node: Node) -> Verdict:
    """What keeps others off a node: known, the pods tolerate all of it."""
    found = ", ".join(map(str, node.seen.items("state", "taints") or ()))
    return Verdict(Level.OK, f"{found} (tolerated)" if found else "none")


def node_address(node: Node) -> Verdict:
    """By which address a node is reached: its first; another where the pods are of another family."""
    first = node.seen.text("inventory", "address")
    others = ", ".join(str(one) for one in node.seen.items("cluster", "addresses") or () if one != first)
    seen = "none" if first is None else f"{first} (and {others} for pods of that family)" if others else first
    return _judge(first is not None, seen, Level.ERROR)


def kubelet(node: Node) -> Verdict:
    """What runs the pods."""
    return Verdict(
        Level.OK, ", ".join(str(node.seen.text("cluster", name)) for name in ("kubelet", "runtime", "system"))
    )


def threads(node: Node) -> Verdict:
    """How many processes `--processes max` means."""
    count = node.seen.whole("cpu", "threads")
    return _judge(count is not None, str(count or "not told"), Level.ERROR)


def network(node: Node) -> Verdict:
    """Which network the cluster has."""
    found = node.seen.mapping("cluster", "network")
    if found is None:
        return Verdict(Level.WARNING, "not visible without the right to list daemonsets")
    return Verdict(Level.OK, ", ".join(found) or "no daemon of a network known by name")


def admission(node: Node) -> Verdict:
    """Who changes or refuses pods that are created: known. What came of it, every sample says."""
    hooks = node.seen.mapping("state", "admission")
    if hooks is None:
        return Verdict(Level.OK, "not visible without the right to list webhook configurations")
    return Verdict(
        Level.OK, "; ".join(f"{kind}: {', '.join(names)}" for kind, names in hooks.items() if names) or "none"
    )


def bundle(node: Node) -> Verdict:
    """For which variants the node has the images of its cluster's bundle: known, for a plan goes by it."""
    edition = catalog.load().editions.get(str((node.seen.mapping("versions") or {}).get("edition")))
    there = (node.seen.mapping("state") or {}).get("bundle")
    if edition is None or not there:
        return Verdict(Level.OK, "no cluster of labctl's")
    lacking = [
        variant
        for variant in catalog.load().variants
        if any(name in edition.images and f"image-{name}" not in there for name in edition.needed_by(variant))
    ]
    words = f"edition {edition.name}, " + (f"without images of {', '.join(lacking)}" if lacking else "for all variants")
    return Verdict(Level.OK, words)


PROVISION = "run `labctl provision`"
REAL = ("vm", "metal")


def rules() -> tuple[Rule, ...]:
    """Every rule, in the order in which findings are shown."""
    variants = catalog.load().variants.values()
    kernels = (_rule_of(variant.name, variant.kernel) for variant in variants if variant.kernel)
    of_cable = (replace(rule, of_cable=True) for rule in OF_CABLE)
    of_machine = (replace(rule, of_machine=True) for rule in (*kernels, *OF_MACHINE))
    return (CABLE, *of_cable, *OF_NODES, *of_machine, *OF_CLUSTER)


def _rule_of(variant: str, needed: Kernel) -> Rule:
    """That the kernel can carry a variant."""
    wanted = "has what the variant needs" + (f" (>= {needed.at_least})" if needed.at_least else "")
    return Rule(
        f"kernel for {variant}", wanted, kernel_of(needed), f"boot a kernel that has it, or leave {variant} out"
    )


CABLE = Rule("cable", "", cable, "check cable_interface in the inventory and the plug; local lab: `labctl lab create`")

OF_CABLE: tuple[Rule, ...] = (
    Rule("cable address", "", cable_address, "set the address on the node, or correct cable_address in the inventory"),
    Rule("network card", "a NIC", card, "a cable without a NIC measures software alone: name the card's interface"),
    Rule(
        "segmentation offload", "off", segmentation, "`labctl lab destroy`, then `labctl lab create`", kinds=("local",)
    ),
    Rule("pause frames", "off", pause, "ethtool -A INTERFACE rx off tx off autoneg off", kinds=("metal",)),
)

OF_NODES: tuple[Rule, ...] = (
    Rule("python", ">= 3.8", python, ""),
    Rule("netperf", "installed", netperf, PROVISION),
    Rule("tools", "installed", tools, PROVISION),
    Rule("congestion control", "cubic available", congestion_control, "load the module tcp_cubic"),
    Rule("irqbalance", "stopped and disabled", irqbalance, "systemctl disable --now irqbalance"),
    Rule("cluster's bundle", "known", bundle, ""),
    Rule("clock", "synchronised", clock, "start chrony or systemd-timesyncd", kinds=REAL),
)

# What variants need of a kernel comes before them.
OF_MACHINE: tuple[Rule, ...] = (
    Rule("WireGuard", "known", wireguard, "boot a kernel that has it, or leave encryption wireguard out"),
    Rule("IPsec", "ESP with AES-GCM", esp, "boot a kernel that has it, or leave encryption ipsec out"),
    Rule("AES of the CPU", "known", crypto_flags, ""),
    Rule("debugging kernel", "none", debugging, "boot a kernel built without it"),
    Rule("CPU accounting", "known", accounting, ""),
    Rule("governor", "performance", governor, "cpupower frequency-set -g performance"),
    Rule("boost", "known", boost, ""),
    Rule(
        "idle driver",
        "one that heeds a latency request",
        idle_driver,
        "virtual machine: modprobe cpuidle-haltpoll force=1, or boot with idle=poll; else measure with --idle system",
    ),
    Rule(
        "idle states", "kept from while measuring", idle_states, "make /dev/cpu_dma_latency writable for labctl's user"
    ),
    Rule("idle governor", "known", idle_governor, ""),
    Rule("conntrack table", "", conntrack, "raise net.netfilter.nf_conntrack_max"),
    Rule("virtual machine", "known", virtualization, "measure on real machines, or call the lab's kind vm"),
    Rule("stolen CPU time", f"<= {STEAL_PCT:g} %", steal, "give the machine CPUs of its own"),
    Rule("load", f"<= {IDLE_LOAD:g} per thread", load, "stop what runs beside the measurement"),
)

# What can be told of a node through the API of its cluster alone.
OF_CLUSTER: tuple[Rule, ...] = tuple(
    replace(rule, kinds=(CLUSTER,))
    for rule in (
        Rule("node", "Ready, under no pressure", node_state, "kubectl describe node NODE says why"),
        Rule("cordon", "not cordoned", cordon, "kubectl uncordon NODE, or name another node"),
        Rule("taints", "known", taints, ""),
        Rule("address", "an InternalIP or ExternalIP", node_address, "kubectl get node NODE -o wide shows none"),
        Rule("kubelet", "known", kubelet, ""),
        Rule("CPU threads", "known", threads, "name a node whose kubelet tells its capacity"),
        Rule("network", "known", network, "ask for the right to list daemonsets, to have the network on record"),
        Rule("admission", "known", admission, ""),
    )
)
