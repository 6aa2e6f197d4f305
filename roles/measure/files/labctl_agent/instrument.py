"""What an instrument is: something that begins before a sample's traffic and ends after it."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Protocol

from labctl_agent.namespaces import Inside
from labctl_agent.parties import Parties
from labctl_agent.watched import Watched


class Scene(NamedTuple):
    """What an instrument can look at: one end of one sample."""

    sample: Dict[str, Any]  # as it was planned (docs/run-folder.md, `measure_samples`)
    endpoint: Inside  # calls what is to see the network in which the processes run, also once they have ended
    cable: str  # the interface to the other node
    watch: bool  # whether the node can be seen: a helper that lives in a pod may see no more than that
    watched: Watched


class Machine(NamedTuple):
    """What an instrument of a kernel can look at: the whole machine, from its outermost namespaces, for one sample."""

    sample: Dict[str, Any]  # as it was planned
    parties: Parties = Parties(0, 0, ())


class Instrument(Protocol):
    """Made for one sample, of its Scene or its Machine. What it returns at its end goes into the sample's raw files."""

    def begin(self) -> None: ...

    def end(self) -> Dict[str, Any]: ...
