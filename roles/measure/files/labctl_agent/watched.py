"""The processes that make the traffic: the CPUs on which they were seen, and whether they may run where they should."""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from labctl_agent import cpus, procfs

# A server's process is there before the tool tells it where to run: until then it is left alone. What it does with its
# affinity is followed for a while, as a slow guest takes longer; after that it is nobody's plan.
# Counted in looks: a clock may be set meanwhile.
OWN_START_LOOKS = 2
START_LOOKS = 10


class Seen:
    """One process, as it was at the last look."""

    def __init__(self) -> None:
        self.planned: Optional[int] = None
        self.looks: Dict[int, int] = {}
        self.between: Tuple[float, float] = (time.time(), 0.0)
        self.switches: Optional[Tuple[int, int]] = None
        self.cpu_s: Optional[float] = None

    def look(self, pid: int, cpu: int) -> None:
        self.looks[cpu] = self.looks.get(cpu, 0) + 1
        self.switches, self.cpu_s = procfs.switches(pid), procfs.cpu_s(pid)
        self.between = (self.between[0], time.time())

    def report(self) -> Dict[str, Any]:
        """What the sample's raw file says of it."""
        voluntary, involuntary = self.switches or (None, None)
        return {
            "cpus": sorted(self.looks),
            "looks": self.looks,
            "planned": self.planned,
            "voluntary_switches": voluntary,
            "involuntary_switches": involuntary,
            "cpu_s": self.cpu_s,
        }


class Watched:
    """Processes that come and go; `planned` are the CPUs that are theirs, one each.

    A tool that is told where its server is to run may be refused that and say nothing. So a process that is not on one
    of these CPUs alone when it had the time to go there is put there, or it is known why that cannot be.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self.pids = pids
        self.planned: List[int] = []
        self.seen: Dict[int, Seen] = {}
        self.refused: Optional[str] = None

    def look(self) -> None:
        for pid in self.pids():
            cpu = procfs.last_cpu(pid)
            if cpu is not None:
                one = self.seen.setdefault(pid, Seen())
                looks = sum(one.looks.values())
                found = self.place(pid, looks >= OWN_START_LOOKS) if self.planned and looks < START_LOOKS else None
                if found is not None:  # of one that ends meanwhile stays what was known
                    one.planned = found
                one.look(pid, cpu)

    def place(self, pid: int, put: bool) -> Optional[int]:
        """The planned CPU on which the process runs and nowhere else, where it is `put` if it is not on one.

        None where it is not there, or was refused.
        """
        try:
            allowed = os.sched_getaffinity(pid)
            if len(allowed) == 1 and allowed <= set(self.planned):
                return allowed.pop()
            if not put:
                return None
            taken = [one.planned for other, one in self.seen.items() if other != pid]
            wanted = min(self.planned, key=taken.count)
            os.sched_setaffinity(pid, {wanted})
        except ProcessLookupError:
            return None  # it has ended
        except OSError as error:
            program = (procfs.read("/proc/%d/comm" % pid) or "").strip()
            self.refused = refusal("%s (process %d)" % (program, pid), wanted, error, sorted(allowed))
            return None
        return wanted

    def report(self, pid: int) -> Dict[str, Any]:
        """What was seen of a process; of one that was not seen, that."""
        return (self.seen.get(pid) or Seen()).report()


def refusal(process: str, cpu: int, error: OSError, allowed: List[int]) -> str:
    """What is said of a process that may not run where it should."""
    return "%s cannot run on CPU %d: %s (it may run on %s)" % (process, cpu, error.strerror, cpus.words(allowed))
