"""Resident helper on one node while samples are measured: standard library only, Python 3.8 or newer.

Started once per node by the `netperf_sample` action plugin through Ansible's own connection, it reads one
JSON request a line on standard input and writes one JSON response a line on standard output, so that a sample
costs no new login and no new interpreter. At the end of its input it kills what it started and exits; so it does
when no request comes for a while (a cut connection has no end of input), and when a helper of the same node follows it.

Requests (`op`): `hello`, `stat`, `begin`, `run` (client only), `end`. Every response carries `ok`; a refused
request carries `error`. Times are seconds since the epoch by this node's clock, CPU times are jiffies.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterable, Optional

PREFIX = "labctl:"
NETSERVER_UNIT = "labctl-netserver.service"
CLONE_NEWNET = 0x40000000
CLONE_NEWPID = 0x20000000
# A process that enters a pod takes all of these, the mount namespace last: /proc is another's from then on.
POD_NAMESPACES = ("cgroup", "ipc", "uts", "net", "mnt")
POD_MARK = "LABCTL_POD_UID"  # the variable by which role netperf_pods marks the container of netserver
PR_SET_PDEATHSIG = 1
PF_EXITING = 0x4
NEVER = 3600.0
SILENCE_S = 90  # longer without a request than the controller waits for any answer: it is gone, or cannot be reached
LISTENING_S = 10.0
KUBELET_S = 30.0  # kubelet starts a container that ended at once, then after 10 s, 20 s, ...
LISTEN = "0A"
# Columns of an interface in /proc/net/dev.
CABLE_COLUMNS = {
    "rx_bytes": 0,
    "rx_packets": 1,
    "rx_errors": 2,
    "rx_dropped": 3,
    "tx_bytes": 8,
    "tx_packets": 9,
    "tx_errors": 10,
    "tx_dropped": 11,
}
# linux/sockios.h, linux/rtnetlink.h, linux/if_link.h
SIOCGIFADDR = 0x8915
RTM_NEWLINK, RTM_GETLINK, NLM_F_REQUEST, IFLA_CARRIER_CHANGES = 16, 18, 1, 35
Counters = Dict[str, Optional[int]]
libc = ctypes.CDLL(None, use_errno=True)


def read(path: str) -> Optional[str]:
    """The text of `path`, or None where it does not exist or cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def set_namespace(path: str, kind: int = 0) -> None:
    """Move the calling thread into the namespace that `path` shows."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, kind) != 0:
            raise OSError(ctypes.get_errno(), "setns " + path)
    finally:
        os.close(fd)


def same_namespace(one: str, other: str) -> bool:
    """Whether two files of /proc/<pid>/ns show one namespace."""
    return os.path.samestat(os.stat(one), os.stat(other))


def protocol_counters(path: str, protocols: tuple[str, ...]) -> dict[str, int]:
    """Counters of a /proc/net/snmp style file: pairs of lines, names above values."""
    found: dict[str, int] = {}
    lines = (read(path) or "").splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        protocol = names.split(":", 1)[0]
        if protocol in protocols:
            found.update(zip((protocol.lower() + "." + n for n in names.split()[1:]), map(int, values.split()[1:])))
    return found


def endpoint_counters() -> Counters:
    """TCP's own counters in the endpoint's network namespace, where this thread lives."""
    net = "/proc/thread-self/net/"
    counters: Counters = {"sockets.tcp_tw": None}
    counters.update(protocol_counters(net + "snmp", ("Tcp",)))
    counters.update(protocol_counters(net + "netstat", ("TcpExt",)))
    time_wait = re.search(r"^TCP:.* tw (\d+)", read(net + "sockstat") or "", re.MULTILINE)
    if time_wait:
        counters["sockets.tcp_tw"] = int(time_wait.group(1))
    return counters


def carrier_changes(interface: str) -> Optional[int]:
    """How often an interface lost or got its carrier, by rtnetlink(7): /sys may show another namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        index = socket.if_nametoindex(interface)
        # struct nlmsghdr, then struct ifinfomsg: a request for one interface.
        link.send(struct.pack("=IHHIIBxHiII", 32, RTM_GETLINK, NLM_F_REQUEST, 1, 0, 0, 0, index, 0, 0))
        answer = link.recv(1 << 16)
    length, kind = struct.unpack_from("=IH", answer)
    at = 32
    while kind == RTM_NEWLINK and at + 4 <= length:
        size, name = struct.unpack_from("=HH", answer, at)
        if name == IFLA_CARRIER_CHANGES:
            return int(struct.unpack_from("=I", answer, at + 4)[0])
        at += max(4, (size + 3) & ~3)
    return None


def node_counters(cable: str) -> Counters:
    """What the node counts: its cable, forwarding, connection tracking, XFRM."""
    counters: Counters = {"cable." + name: None for name in (*CABLE_COLUMNS, "carrier_changes")}
    # Not from /sys/class/net: a container's /sys may show another network namespace than its own.
    for line in (read("/proc/thread-self/net/dev") or "").splitlines():
        name, _, values = line.strip().partition(":")
        if name == cable:
            columns = values.split()
            counters.update(("cable." + counter, int(columns[at])) for counter, at in CABLE_COLUMNS.items())
            counters["cable.carrier_changes"] = carrier_changes(cable)
    counters.update(protocol_counters("/proc/thread-self/net/snmp", ("Ip",)))
    count = read("/proc/sys/net/netfilter/nf_conntrack_count")
    counters["conntrack.count"] = int(count) if count else None
    counters.update({"conntrack." + name: None for name in ("insert_failed", "drop", "early_drop")})
    rows = [row.split() for row in (read("/proc/thread-self/net/stat/nf_conntrack") or "").splitlines()]
    for column, name in enumerate(rows[0]) if len(rows) > 1 else ():
        if "conntrack." + name in counters and name != "count":
            counters["conntrack." + name] = sum(int(row[column], 16) for row in rows[1:])
    for line in (read("/proc/thread-self/net/xfrm_stat") or "").splitlines():
        name, value = line.split()
        counters["xfrm." + name] = int(value)
    return counters


def kernel_counters() -> dict[str, int]:
    """Monotonic machine-wide counters, by which the caller sees whether two nodes share one kernel."""
    lines = (line.split() for line in (read("/proc/stat") or "").splitlines())
    return {line[0]: int(line[1]) for line in lines if line[0] in ("intr", "ctxt", "processes", "softirq")}


def both_clocks() -> dict[str, float]:
    """The time of day and the monotonic clock at one moment: read again if something came between the two."""
    for _ in range(5):
        before, wall, after = time.monotonic(), time.time(), time.monotonic()
        if after - before < 0.001:
            break
    return {"t": wall, "mono": (before + after) / 2}


def cpu_tick() -> dict[str, Any]:
    """CPU times and network softirq counts, cumulative."""
    stat = {}
    for line in (read("/proc/stat") or "").splitlines():
        fields = line.split()
        if not fields[0].startswith("cpu"):
            break
        stat[fields[0]] = [int(value) for value in fields[1:]]
    tick: dict[str, Any] = dict(both_clocks(), stat=stat)
    for line in (read("/proc/softirqs") or "").splitlines():
        name, _, values = line.strip().partition(":")
        if name in ("NET_RX", "NET_TX"):
            tick[name.lower()] = [int(value) for value in values.split()]
    return tick


def last_cpu(pid: int) -> int | None:
    """The CPU that process `pid` ran on last, or None when it is gone."""
    text = read("/proc/%d/stat" % pid)
    return int(text.rpartition(")")[2].split()[36]) if text else None


def process_stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; empty when it is gone."""
    return (read("/proc/%d/stat" % pid) or "").rpartition(")")[2].split()


def is_stopped(pid: int) -> bool:
    """Whether somebody stopped the process (SIGSTOP, a debugger)."""
    return process_stat(pid)[:1] in (["T"], ["t"])


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or on its way: the first one of a pod waits in the kernel for all others to end."""
    stat = process_stat(pid)
    return not stat or stat[0] in "ZX" or bool(int(stat[6]) & PF_EXITING)


def boot(node: bool) -> str:
    """What tells one boot of this node from the next; a container that is a node may show its host's boot id.

    In a container of a pod process 1 is no node's: it may be started again without harm.
    """
    started = "".join(process_stat(1)[19:20]) if node else ""
    return "%s %s" % ((read("/proc/sys/kernel/random/boot_id") or "").strip(), started)


def interface_towards(address: str) -> str:
    """The interface by which this namespace reaches an IPv4 address; empty when that cannot be told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # nothing is sent
        except OSError:
            return ""
        own = socket.inet_aton(probe.getsockname()[0])
        for _, name in socket.if_nameindex():
            request = struct.pack("16s240x", name.encode())
            try:
                if fcntl.ioctl(probe, SIOCGIFADDR, request)[20:24] == own:
                    return name
            except OSError:
                continue  # it has no IPv4 address
    return ""


def systemctl(*arguments: str) -> str:
    done = subprocess.run(
        ["systemctl", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=30
    )
    if done.returncode:
        raise RuntimeError("systemctl %s: %s" % (" ".join(arguments), done.stderr.strip()))
    return done.stdout.strip()


def children(pid: int) -> list[int]:
    """Process ids of the children of `pid`."""
    return [int(child) for child in (read("/proc/%d/task/%d/children" % (pid, pid)) or "").split()]


def flush_conntrack(addresses: list[str]) -> int | None:
    """Delete the tracked connections between two addresses; how many there were, None where that is unknown."""
    count = read("/proc/sys/net/netfilter/nf_conntrack_count")
    if count is None:
        return None
    if int(count) == 0:
        return 0
    command = ["conntrack", "--delete", "--orig-src", addresses[0], "--orig-dst", addresses[1]]
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, universal_newlines=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    deleted = re.search(r"(\d+) flow entries have been deleted", done.stderr)
    return int(deleted.group(1)) if deleted else None


def cgroup_files(pid: int) -> list[str]:
    """The files into which this process writes 0 to join the control groups of process `pid` in which it is not yet.

    Those that process 1 of the node sees: the helper may be in a pod itself, which sees its own control groups only.
    """
    if not same_namespace("/proc/1/ns/cgroup", "/proc/self/ns/cgroup"):
        set_namespace("/proc/1/ns/cgroup")
    own = (read("/proc/self/cgroup") or "").splitlines()
    mounts = []
    for line in (read("/proc/1/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        root, point = left.split()[3:5]
        kind, _, words = right.split()
        if kind in ("cgroup", "cgroup2"):
            mounts.append((kind, root, point, words.split(",")))
    files = []
    for line in (line for line in (read("/proc/%d/cgroup" % pid) or "").splitlines() if line not in own):
        _, controllers, path = line.split(":", 2)
        for kind, root, point, options in mounts:
            fits = kind == "cgroup2" if not controllers else set(controllers.split(",")) <= set(options)
            if fits:
                files.append(os.path.normpath("/proc/1/root/%s/%s/cgroup.procs" % (point, os.path.relpath(path, root))))
                break
    return files


class Pod:
    """The container in which netserver is process 1: found by the pod's uid in its environment, whatever the runtime.

    netperf is started in all of its namespaces and in its control groups. Where the helper lives in one of them
    itself, there is nothing to enter.
    """

    limit_s = KUBELET_S
    when_ended = ": its pod was evicted or deleted, or its container ended"

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.name = "netserver of the pod with uid " + uid
        self.first = 0
        self.started = ""

    def pid(self) -> int:
        """The container's first process, 0 when there is none: kubelet may be about to start it again."""
        if self.first and process_stat(self.first)[19:20] == [self.started] and not has_ended(self.first):
            return self.first
        self.first = self.find()
        self.started = "".join(process_stat(self.first)[19:20]) if self.first else ""
        return self.first

    def find(self) -> int:
        mark = ("%s=%s" % (POD_MARK, self.uid)).encode()
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open("/proc/%s/environ" % entry, "rb") as file:
                    marked = mark in file.read().split(b"\0")
            except OSError:
                continue  # it ended while we looked, or belongs to somebody whose environment is not ours to see
            numbers = re.search(r"^NSpid:.*\t(\d+)$", read("/proc/%s/status" % entry) or "", re.MULTILINE)
            if marked and numbers and numbers.group(1) == "1" and not has_ended(int(entry)):
                return int(entry)
        return 0

    def require(self) -> int:
        pid = self.pid()
        if not pid:
            raise RuntimeError("the pod (uid %s) has no running netserver here: it ended, or was evicted" % self.uid)
        return pid

    def restart(self) -> None:
        """End the tests that are left; and netserver where it hangs itself, whereupon kubelet starts it again."""
        first = self.require()
        for pid in (*children(first), *([first] if is_stopped(first) else ())):
            os.kill(pid, signal.SIGKILL)

    def fork(self) -> int:
        """Fork; the child is born into the container's process namespace."""
        path = "/proc/%d/ns/pid" % self.require()
        if same_namespace(path, "/proc/self/ns/pid"):
            return os.fork()
        set_namespace(path, CLONE_NEWPID)
        child = -1
        try:
            child = os.fork()
        finally:
            if child != 0:
                set_namespace("/proc/self/ns/pid", CLONE_NEWPID)
        return child

    def enter_network(self) -> None:
        """Move the calling thread into the pod's network namespace."""
        path = "/proc/%d/ns/net" % self.require()
        if not same_namespace(path, "/proc/thread-self/ns/net"):
            set_namespace(path, CLONE_NEWNET)

    def enter(self) -> None:
        """Become a process of the container: its control groups, then its other namespaces."""
        spaces = {name: "/proc/%d/ns/%s" % (self.first, name) for name in POD_NAMESPACES}
        if not same_namespace(spaces["mnt"], "/proc/self/ns/mnt"):
            for file in cgroup_files(self.first):
                with open(file, "w", encoding="ascii") as procs:
                    procs.write("0")
        foreign = {name: path for name, path in spaces.items() if not same_namespace(path, "/proc/self/ns/" + name)}
        opened = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in foreign.values()]
        for fd, name in zip(opened, foreign):
            if libc.setns(fd, 0) != 0:
                raise OSError(ctypes.get_errno(), "setns to the pod's " + name)


class Netns:
    """The node itself, or a named network namespace on it, with netserver as a unit of systemd."""

    name = NETSERVER_UNIT
    limit_s = LISTENING_S
    when_ended = ""

    def __init__(self, netns: str = "") -> None:
        self.netns = netns
        if netns and not os.path.exists("/run/netns/" + netns):
            raise RuntimeError("there is no network namespace " + netns)

    def fork(self) -> int:
        return os.fork()

    def enter(self) -> None:
        self.enter_network()

    def enter_network(self) -> None:
        if self.netns:
            set_namespace("/run/netns/" + self.netns, CLONE_NEWNET)

    def pid(self) -> int:
        """The process of netserver, 0 when it does not run."""
        return int(systemctl("show", "--property=MainPID", "--value", NETSERVER_UNIT) or 0)

    def restart(self) -> None:
        """Replace whatever is left of netserver, however it hangs."""
        if self.pid():
            systemctl("kill", "--kill-who=all", "--signal=KILL", NETSERVER_UNIT)
        systemctl("reset-failed", NETSERVER_UNIT)
        systemctl("restart", NETSERVER_UNIT)


def start_netserver(place: Netns | Pod, port: int) -> int:
    """Start netserver anew and return its process once it listens."""
    place.restart()
    deadline = time.monotonic() + place.limit_s
    while time.monotonic() < deadline:
        pid = place.pid()
        rows = [row.split() for row in (read("/proc/%d/net/tcp" % pid) or "").splitlines()[1:]]
        if pid and any(row[1].endswith(":%04X" % port) and row[3] == LISTEN for row in rows):
            return pid
        time.sleep(0.01)
    raise RuntimeError("%s was started again and does not listen on port %d" % (place.name, port))


class Place:
    """The file that names this node's helper. Whoever takes the place ends the one before, and netperf with it."""

    def __init__(self) -> None:
        self.path = "/run/labctl-agent-%d" % os.stat("/proc/self/ns/net").st_ino  # one per node, also on a shared /run
        self.mark = "%d %s" % (os.getpid(), process_stat(os.getpid())[19])

    def take(self) -> None:
        pid, _, started = (read(self.path) or "0 ").partition(" ")
        if int(pid) and process_stat(int(pid))[19:20] == [started] and int(pid) != os.getpid():
            os.kill(int(pid), signal.SIGKILL)
        if os.access("/run", os.W_OK):
            with open(self.path, "w", encoding="ascii") as file:
                file.write(self.mark)

    def leave(self) -> None:
        if read(self.path) == self.mark:
            os.unlink(self.path)


class Sampler:
    """Takes a CPU tick every `interval` seconds, and notes which CPUs the watched processes run on."""

    def __init__(self, interval: float, watched: Callable[[], Iterable[int]], cpu: bool) -> None:
        self.interval = interval
        self.watched = watched
        self.take: Callable[[], dict[str, Any]] = cpu_tick if cpu else (lambda: dict(both_clocks(), stat={}))
        self.ticks = [self.take()]
        self.cpus: dict[int, set[int]] = {}
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def loop(self) -> None:
        while not self.stopped.wait(self.interval):
            self.tick()

    def tick(self) -> None:
        self.ticks.append(self.take())
        for pid in self.watched():
            cpu = last_cpu(pid)
            if cpu is not None:
                self.cpus.setdefault(pid, set()).add(cpu)

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()
        self.tick()


class Process:
    """One netperf, held at the barrier until released."""

    def __init__(self, argv: list[str], place: Netns | Pod, cpu: int | None, barrier: int, ready: int) -> None:
        self.argv = argv
        self.stdout = os.memfd_create("stdout")  # a file in memory: netperf never waits for a reader
        self.stderr = os.memfd_create("stderr")
        self.started: float | None = None
        self.ended: float | None = None
        self.exit: int | None = None
        self.signal: int | None = None
        self.pid = place.fork()
        if self.pid == 0:
            self.child(place, cpu, barrier, ready)

    def child(self, place: Netns | Pod, cpu: int | None, barrier: int, ready: int) -> None:
        try:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(self.stdout, 1)
            os.dup2(self.stderr, 2)
            place.enter()
            os.write(ready, b".")
            os.read(barrier, 1)
            os.execvp(self.argv[0], self.argv)  # noqa: S606  (netperf's own argv, no shell wanted)
        except OSError as error:
            os.write(2, ("%s: %s" % (self.argv[0], error)).encode())
            os.write(ready, b".")  # the others are not kept waiting; the exit status tells
        finally:
            os._exit(127)

    def reap(self, status: int) -> None:
        self.ended = time.time()
        self.exit = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        self.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None

    def report(self, index: int, cpus: dict[int, set[int]]) -> dict[str, Any]:
        texts = {}
        for name, fd in (("stdout", self.stdout), ("stderr", self.stderr)):
            with os.fdopen(fd, "rb") as file:
                file.seek(0)
                texts[name] = file.read().decode("utf-8", "replace")
        return dict(
            texts,
            index=index,
            argv=self.argv,
            pid=self.pid,
            started=self.started,
            ended=self.ended,
            exit=self.exit,
            signal=self.signal,
            cpus=sorted(cpus.get(self.pid, ())),
        )


class Agent:
    """Answers the requests. State lives from `begin` to `end` of one sample."""

    def __init__(self) -> None:
        self.where: Netns | Pod = Netns()
        self.cable = ""
        self.watch = True
        self.endpoint: ThreadPoolExecutor | None = None  # a thread that lives in the endpoint's namespace
        self.sampler: Sampler
        self.before: Counters = {}
        self.processes: list[Process] = []
        self.netserver: int | None = None
        self.suspect = False  # netserver may hang, or still be busy with a test whose netperf is gone
        self.place = Place()
        self.wakeup, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup_write)

    def hello(self, netns: str, pod: str, cable: str, peer: str, watch: bool, again: bool) -> dict[str, Any]:
        """Where netperf runs: in the pod with this uid, else in this network namespace, else on the node.

        Without the name of a cable it is the interface by which `peer` is reached. `watch` is false for a helper that
        sees no more than its pod: what a node counts and its CPU times stay unknown then.
        """
        self.place.take()
        self.suspect = again
        self.where, self.watch = Pod(pod) if pod else Netns(netns), watch
        self.cable = (cable or interface_towards(peer)) if watch else ""
        self.endpoint = ThreadPoolExecutor(max_workers=1, initializer=self.where.enter_network)
        self.counters()
        numbers = {"threads": os.sysconf("SC_NPROCESSORS_ONLN"), "hz": os.sysconf("SC_CLK_TCK")}
        return dict(numbers, boot=boot(watch), cable=self.cable or None)

    def stat(self) -> dict[str, Any]:
        return {"t": time.time(), "kernel": kernel_counters()}

    def counters(self) -> Counters:
        if self.endpoint is None:
            raise RuntimeError("no endpoint: hello comes first")
        node = node_counters(self.cable)
        return dict(self.endpoint.submit(endpoint_counters).result(), **(node if self.watch else dict.fromkeys(node)))

    def watched(self) -> list[int]:
        if self.netserver:
            return children(self.netserver)
        return [process.pid for process in self.processes]

    def begin(self, interval: float, addresses: list[str], time_limit: float, port: int | None) -> dict[str, Any]:
        """Everything before a sample; with the control port of netserver on the server, without on the client."""
        signal.alarm(SILENCE_S + int(time_limit))
        self.netserver, self.processes = None, []
        server = port is not None
        if port is not None:
            running = 0 if self.suspect else self.where.pid()
            self.netserver = running or start_netserver(self.where, port)
            self.suspect = False
        flushed = flush_conntrack(addresses)
        self.before = self.counters()
        self.sampler = Sampler(interval, self.watched, self.watch)
        if server:
            self.sampler.thread.start()
        return {"hygiene": {"conntrack_flushed": flushed, "time_wait": self.before["sockets.tcp_tw"]}}

    def run(self, argvs: list[list[str]], time_limit: float, cpus: list[int | None]) -> dict[str, Any]:
        barrier, release = os.pipe2(os.O_CLOEXEC)
        ready_read, ready = os.pipe2(os.O_CLOEXEC)
        try:
            for argv, cpu in zip(argvs, cpus):
                self.processes.append(Process(argv, self.where, cpu, barrier, ready))
            waiting = len(argvs)
            while waiting:
                waiting -= len(os.read(ready_read, waiting))
            self.sampler.thread.start()
            now = time.time()
            for process in self.processes:
                process.started = now
            os.write(release, b"." * len(argvs))
            reason = self.wait(time.monotonic() + time_limit, time_limit)
        finally:
            for fd in (barrier, release, ready_read, ready):
                os.close(fd)
        self.sampler.stop()
        return {"reason": reason, "processes": [p.report(i, self.sampler.cpus) for i, p in enumerate(self.processes)]}

    def overdue(self, time_limit: float) -> str:
        """What a sample says that had to be ended."""
        running = [(index, process) for index, process in enumerate(self.processes) if process.ended is None]
        words = ["%d%s" % (index, " (it was stopped)" if is_stopped(process.pid) else "") for index, process in running]
        return "the time limit of %g s was reached: netperf process %s had not ended" % (time_limit, ", ".join(words))

    def wait(self, deadline: float, time_limit: float) -> str | None:
        """Reap the processes. What ended them early, if anything did; the end of our input ends everything."""
        reason = None
        running = {process.pid: process for process in self.processes}
        while running:
            readable, _, _ = select.select([0, self.wakeup], [], [], max(0.0, deadline - time.monotonic()))
            if 0 in readable:
                self.kill()
                sys.exit("input ended during a sample")
            if self.wakeup in readable:
                os.read(self.wakeup, 4096)
            for pid in list(running):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    running.pop(pid).reap(status)
            if not readable and running and reason is None:
                reason = self.overdue(time_limit)
                self.kill()
                deadline += NEVER
        return reason

    def kill(self) -> None:
        for process in self.processes:
            if process.ended is None:
                os.kill(process.pid, signal.SIGKILL)

    def netserver_says(self) -> str | None:
        """What is wrong with netserver after a sample that failed."""
        if self.netserver is None:
            return None
        if has_ended(self.netserver):
            return "netserver (process %d) ended during the sample%s" % (self.netserver, self.where.when_ended)
        stopped = [pid for pid in (self.netserver, *children(self.netserver)) if is_stopped(pid)]
        return "netserver (process %d) was stopped" % stopped[0] if stopped else None

    def end(self, failed: bool) -> dict[str, Any]:
        signal.alarm(SILENCE_S)
        self.suspect = failed
        reason = self.netserver_says() if failed else None
        if self.sampler.thread.is_alive():
            self.sampler.stop()
        servers = [{"pid": pid, "cpus": sorted(cpus)} for pid, cpus in self.sampler.cpus.items()]
        return {
            "reason": reason,
            "ticks": self.sampler.ticks,
            "counters": {"before": self.before, "after": self.counters()},
            "servers": servers if self.netserver else None,
        }


def main() -> None:
    agent = Agent()
    try:
        answer(agent)
    finally:
        agent.place.leave()


def answer(agent: Agent) -> None:
    """Answer requests until the input ends."""
    operations: dict[str, Callable[..., dict[str, Any]]] = {
        "hello": agent.hello,
        "stat": agent.stat,
        "begin": agent.begin,
        "run": agent.run,
        "end": agent.end,
    }
    signal.alarm(SILENCE_S)  # its default action ends this process, and netperf dies with its parent
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line.decode())
        try:
            response = dict(operations[request.pop("op")](**request), ok=True)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            response = {"ok": False, "error": "%s: %s" % (type(error).__name__, error)}
        sys.stdout.write(PREFIX + json.dumps(response) + "\n")
        sys.stdout.flush()


main()
