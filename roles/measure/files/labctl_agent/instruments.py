"""The instruments of every sample. A further one is a module of its own and an entry here.

Those of an end look at one end of the sample, each helper at its own. Those of a kernel look at a machine as a whole
and are asked of one helper per kernel, which sees all of it: two nodes may share one.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Generic, List, Tuple, TypeVar

from labctl_agent.counters import Counters
from labctl_agent.idle import Idle
from labctl_agent.instrument import Instrument, Machine, Scene
from labctl_agent.load import Load
from labctl_agent.looks import Looks
from labctl_agent.sampler import Sampler

Seen = TypeVar("Seen", Scene, Machine)

# In the order in which they begin. They end in the opposite order, so the first encloses the others.
OF_AN_END: Tuple[Callable[[Scene], Instrument], ...] = (Counters, Sampler, Looks)
OF_A_KERNEL: Tuple[Callable[[Machine], Instrument], ...] = (Idle, Load)


class Instruments(Generic[Seen]):
    """All of one of these, around one sample."""

    def __init__(self, seen: Seen, kinds: Tuple[Callable[[Seen], Instrument], ...]) -> None:
        self.waiting = [kind(seen) for kind in kinds]
        self.begun: List[Instrument] = []

    def begin(self) -> None:
        for instrument in self.waiting:
            instrument.begin()
            self.begun.append(instrument)

    def end(self) -> Dict[str, Any]:
        readings: Dict[str, Any] = {}
        while self.begun:
            readings.update(self.begun.pop().end())
        return readings
