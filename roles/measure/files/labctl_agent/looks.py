"""An instrument: looks at the watched processes again and again. What it saw is told with them."""

from __future__ import annotations

import threading
from typing import Any, Dict

from labctl_agent.instrument import Scene

LOOK_S = 0.1  # ten times a second: enough to tell shares of the time, and nothing beside the traffic


class Looks:
    """One look every tenth of a second, and one at the end."""

    def __init__(self, scene: Scene) -> None:
        self.watched = scene.watched
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def loop(self) -> None:
        while not self.stopped.wait(LOOK_S):
            self.watched.look()

    def begin(self) -> None:
        self.thread.start()

    def end(self) -> Dict[str, Any]:
        self.stopped.set()
        self.thread.join()
        self.watched.look()
        return {}
