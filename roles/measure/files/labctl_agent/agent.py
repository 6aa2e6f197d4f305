"""What the controller can ask of a node. Times are seconds since the epoch by this node's clock.

`hello` says where everything is; then, for each sample, both ends `begin`, the client's `run`s and the server's `end`s.
Around that the helper that owns a kernel, an end's or a third one on the machine that carries both nodes, is asked to
`kernel_begin` and to `kernel_end`, before the first of them to wait until its machine is at `rest`. `stat` may come at
any time. No request for a while, and the helper ends: a cut connection has no end of input.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any, Callable, Dict, List, Optional

from labctl_agent import hygiene, places, procfs, servers
from labctl_agent.cpus import of_process
from labctl_agent.facts import facts, interface_towards, kernel_counters
from labctl_agent.instrument import Machine, Scene
from labctl_agent.instruments import OF_A_KERNEL, OF_AN_END, Instruments
from labctl_agent.namespaces import Inside
from labctl_agent.parties import Parties, identity
from labctl_agent.processes import Clients
from labctl_agent.rest import rest
from labctl_agent.seat import Seat
from labctl_agent.watched import Watched
from labctl_agent.weight import cpu_weight, enter_outermost_cgroups

SILENCE_S = 90  # longer without a request than the controller waits for any answer: it is gone, or cannot be reached

Operation = Callable[..., Dict[str, Any]]


class Agent:
    """The helper of one node. What a sample needs lives from its `begin` to its end."""

    def __init__(self, tell: Callable[[Dict[str, Any]], None]) -> None:
        self.tell = tell  # says something before the answer
        self.seat = Seat()
        self.place = places.Node()
        self.endpoint: Inside
        self.cgroups: Inside
        self.cable = ""
        self.watch = True
        self.suspect = False  # the server may hang, or still be busy with a test whose client is gone
        self.sample: Dict[str, Any] = {}
        self.addresses: List[str] = []
        self.flush: Optional[hygiene.Flush] = None  # of what the sample left, begun at its end for the next one
        self.asked_for: Dict[str, Any] = {}
        self.server: servers.Server
        self.server_pid = 0
        self.watched: Watched
        self.instruments: Instruments[Scene]
        self.kernel: Instruments[Machine]
        signal.alarm(SILENCE_S)  # its default action ends this process, and what it started with it

    def operations(self) -> Dict[str, Operation]:
        of_an_end = (self.hello, self.begin, self.place_server, self.run, self.time_over, self.end)
        of_a_kernel = (self.rest, self.kernel_begin, self.kernel_end)
        asked = (self.stat, *of_an_end, *of_a_kernel)
        return {operation.__name__: operation for operation in asked}

    def hello(self, netns: str, pod: str, cable: str, peer: str, watch: bool, again: bool) -> Dict[str, Any]:
        """Where processes run: in the pod with this uid, else in this network namespace, else on the node.

        Without the name of a cable it is the interface by which `peer` is reached. `watch` is false for a helper that
        sees no more than its pod: what a node counts and its CPU times stay unknown then. `again` is true where an
        earlier helper may have left the server busy.
        """
        self.seat.take()
        self.suspect, self.asked_for = again, {}
        self.place, self.watch = places.place(netns, pod), watch
        self.cable = (cable or interface_towards(peer)) if watch else ""
        self.endpoint = Inside(self.place.enter_network)  # what cannot be entered is refused now
        self.cgroups = Inside(enter_outermost_cgroups if watch else lambda: None)
        return dict(facts(watch), cable=self.cable or None, agent=identity(os.getpid()), first=identity(1))

    def stat(self) -> Dict[str, Any]:
        return {"t": time.time(), "kernel": kernel_counters()}

    def begin(
        self, sample: Dict[str, Any], addresses: List[str], server: Optional[Dict[str, Any]] = None
    ) -> Dict[str, Any]:
        """Clean up before a sample; with a server also make sure of it, and begin to look."""
        signal.alarm(SILENCE_S + int(sample["time_limit_s"]))
        self.sample, self.addresses, self.server_pid = sample, addresses, 0
        if server:
            if server != self.asked_for:
                self.asked_for, self.server = server, servers.server(self.place, **server)
            self.server_pid = (0 if self.suspect else self.server.pid()) or self.server.start()
            self.suspect = False
        flushed = (self.flush or hygiene.Flush(addresses)).end()
        self.flush = None
        time_wait = self.endpoint.call(hygiene.time_wait)
        if server:
            self.look(Watched(lambda: procfs.children(self.server_pid)))
        where = of_process(self.server_pid or self.place.process())
        told = {"server": identity(self.server_pid)} if server else {}
        return {"hygiene": {"conntrack_flushed": flushed, "time_wait": time_wait}, "cpus": where, **told}

    def look(self, watched: Watched) -> None:
        self.watched = watched
        scene = Scene(self.sample, self.endpoint, self.cable, self.watch, watched)
        self.instruments = Instruments(scene, OF_AN_END)
        self.instruments.begin()

    def place_server(self, cpus: List[int]) -> Dict[str, Any]:
        """The server's part of a sample that is pinned: the CPUs of its processes, one each."""
        self.watched.planned = cpus
        return {}

    def run(
        self, argvs: List[List[str]], cpus: List[Optional[int]], over_after: Optional[float] = None
    ) -> Dict[str, Any]:
        """The client's part: the processes from their common start to the end of the last, and all readings.

        Where the server lingers after the time of the processes, which is not before `over_after` seconds, the caller
        hears of it when that time is over, by {"over": True}, and lets the other end's `time_over` know.
        """
        with Clients(self.place) as clients:
            reason = clients.start(argvs, cpus)
            weight = self.weight(clients.processes[0].pid)
            self.look(Watched(lambda: [process.pid for process in clients.processes]))
            if not reason:
                clients.release()
            ended = clients.wait(self.sample["time_limit_s"], 0, over_after, lambda: self.tell({"over": True}))
            readings = self.instruments.end()
        signal.alarm(SILENCE_S)
        reports = [
            dict(self.watched.report(process.pid), index=index, **process.report())
            for index, process in enumerate(clients.processes)
        ]
        self.flush = hygiene.Flush(self.addresses)
        told = {"servers": None, "switches": switches(reports), "cpu_weight": weight}
        return dict(readings, reason=reason or ended, processes=reports, **told)

    def weight(self, pid: int) -> Optional[int]:
        """The CPU weight of an endpoint's process; unknown to a helper that sees no more than its pod."""
        return self.cgroups.call(lambda: cpu_weight(pid)) if self.watch else None

    def time_over(self, signal: int) -> Dict[str, Any]:
        """The time of all clients is over: what the server runs for them ends its own waiting by this signal."""
        for pid in procfs.children(self.server_pid):
            try:
                os.kill(pid, signal)
            except ProcessLookupError:
                continue  # it has ended
        return {}

    def end(self, failed: bool) -> Dict[str, Any]:
        """The server's part: what is wrong with the server, if the sample failed, and all readings."""
        signal.alarm(SILENCE_S)
        self.suspect = failed
        reason = self.server.trouble(self.server_pid) if failed else None
        readings = self.instruments.end()
        seen = [dict(self.watched.report(pid), pid=pid) for pid in self.watched.seen]
        self.flush = hygiene.Flush(self.addresses)
        told = {"servers": seen, "switches": switches(seen), "cpu_weight": self.weight(self.server_pid)}
        return dict(readings, reason=reason or self.watched.refused, **told)

    def rest(self, parties: Dict[str, Any], limit_s: float, busy_pct: float) -> Dict[str, Any]:
        """Wait until nobody else keeps the machine busy; within a limit."""
        signal.alarm(SILENCE_S + int(limit_s))
        return rest(Parties.told(**parties), limit_s, busy_pct)

    def kernel_begin(self, sample: Dict[str, Any], parties: Dict[str, Any]) -> Dict[str, Any]:
        """Begin to look at the machine. It needs no `hello`: nothing is started for it, so there is no seat to take."""
        signal.alarm(SILENCE_S + int(sample["time_limit_s"]))
        self.kernel = Instruments(Machine(sample, Parties.told(**parties)), OF_A_KERNEL)
        self.kernel.begin()
        return {}

    def kernel_end(self) -> Dict[str, Any]:
        signal.alarm(SILENCE_S)
        return {"kernel": self.kernel.end()}


def switches(processes: List[Dict[str, Any]]) -> Dict[str, Optional[int]]:
    """The context switches of all processes of an end, None where one's are not known, or none was seen."""
    found = {kind: [process["%s_switches" % kind] for process in processes] for kind in ("voluntary", "involuntary")}
    return {kind: sum(each) if each and None not in each else None for kind, each in found.items()}
