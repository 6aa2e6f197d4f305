"""Instruments: all of them around a sample, each inside those before it; a further one is a class."""

from __future__ import annotations

from typing import Any

import pytest
from labctl_agent.instrument import Scene
from labctl_agent.instruments import OF_AN_END, Instruments
from labctl_agent.namespaces import Inside
from labctl_agent.places import Node
from labctl_agent.watched import Watched

SCENE = Scene({"interval_s": 0.1}, Inside(Node().enter_network), "lo", True, Watched(lambda: ()))


def test_every_sample_has_counters_and_ticks() -> None:
    instruments = Instruments(SCENE, OF_AN_END)
    instruments.begin()
    assert instruments.end().keys() == {"counters", "ticks"}
    assert instruments.end() == {}, "what has ended does not end again"


def test_the_first_to_begin_is_the_last_to_end() -> None:
    order: list[str] = []

    class Outer:
        name = "outer"

        def __init__(self, scene: Scene) -> None:
            self.interval = scene.sample["interval_s"]

        def begin(self) -> None:
            order.append(f"{self.name} begins")

        def end(self) -> dict[str, Any]:
            order.append(f"{self.name} ends")
            return {self.name: self.interval}

    class Inner(Outer):
        name = "inner"

    instruments = Instruments(SCENE, (Outer, Inner))
    assert order == []
    instruments.begin()
    assert instruments.end() == {"outer": 0.1, "inner": 0.1}
    assert order == ["outer begins", "inner begins", "inner ends", "outer ends"]


def test_one_that_cannot_begin_says_so_and_only_the_begun_end() -> None:
    class Broken:
        def __init__(self, scene: Scene) -> None:
            pass

        def begin(self) -> None:
            raise RuntimeError("no such counter")

        def end(self) -> dict[str, Any]:
            return {"never": None}

    instruments = Instruments(SCENE, (*OF_AN_END, Broken))
    with pytest.raises(RuntimeError, match="no such counter"):
        instruments.begin()
    assert instruments.end().keys() == {"counters", "ticks"}
