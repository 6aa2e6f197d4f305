"""The instruments of every sample. A further one is a module of its own and an entry here."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple, Type

from labctl_agent.counters import Counters
from labctl_agent.instrument import Instrument, Scene
from labctl_agent.sampler import Sampler

# In the order in which they begin. They end in the opposite order, so the first encloses the others.
INSTRUMENTS: Tuple[Type[Instrument], ...] = (Counters, Sampler)


class Instruments:
    """All of them, around one sample."""

    def __init__(self, scene: Scene, kinds: Tuple[Type[Instrument], ...] = INSTRUMENTS) -> None:
        self.waiting = [kind(scene) for kind in kinds]
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
