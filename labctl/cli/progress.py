"""How work is told on a terminal, and in a log."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from labctl.cli import console
from labctl.engine.events import TaskStart
from labctl.engine.inventory import open_lab
from labctl.engine.session import Session
from labctl.labs import lock
from labctl.matrix.execution import Measured, VisitFailed
from labctl.results.tables import sample_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labctl.engine.events import Listener, TaskResult
    from labctl.engine.inventory import Inventory
    from labctl.labs.lock import LabLock
    from labctl.matrix.execution import Progress
    from labctl.plan.plan import Plan


class Terminal:
    """Tells how a stage goes, on standard error; its clock begins now."""

    def __init__(self) -> None:
        self._live = console.Live()

    def line(self, text: str) -> None:
        """Say something that stays."""
        self._live.line(text)

    def timed(self, text: str) -> None:
        """Say something that stays, with the time since the stage began."""
        self._live.line(f"{self._live.elapsed}  {text}")

    def clear(self) -> None:
        """The stage is over."""
        self._live.clear()

    def tasks(self, changed: str = "changed  {node}: {task}") -> Listener:
        """Show each task as it starts, and each one that changed something or failed as a line that stays.

        `changed` is how a task that changed something is told.
        """

        def listener(event: TaskStart | TaskResult) -> None:
            if isinstance(event, TaskStart):
                self._live.step(event.task)
            elif not event.ok:
                self.timed(f"failed   {event.node}: {event.task}")
            elif event.changed:
                self.timed(changed.format(node=event.node, task=event.task))

        return listener

    def planned(self, plan: Plan) -> None:
        """Say what is about to be measured."""
        size = f"{len(plan.setups)} setups, {plan.samples} samples"
        self.line(f"{plan.id}: {size}, about {console.clock(plan.estimated_s)}")

    def progress(self, plan: Plan) -> Callable[[Progress], None]:
        """One line per sample, the step in hand between them."""

        def progress(event: Progress) -> None:
            if isinstance(event, Measured):
                number = f"{event.number:>{len(str(event.total))}}/{event.total}"
                words = sample_words(event.sample)
                self.timed(f"{number}  {event.sample.id:<40} {words}  {console.clock(event.left_s)} left")
            elif isinstance(event, VisitFailed):
                for failure in event.failures:
                    self.timed(f"{event.setup} round {event.round} failed: {failure.problem()}")
            elif event.node:
                self.timed(f"{event.setup} round {event.round}: {event.node}: failed: {event.text}")
            else:
                self._live.step(f"{event.setup} round {event.round}/{plan.rounds}: {event.text}", event.left_s)

        return progress


@contextmanager
def working(lab: str, command: str) -> Iterator[tuple[Session, Inventory, LabLock]]:
    """A session with a lab that no other labctl uses meanwhile."""
    with Session() as session:
        inventory = open_lab(session, lab)
        with lock.locked(inventory, command) as held:
            if held.dead:
                console.note(f"lab {inventory.name} is taken over from a labctl that no longer runs: {held.dead}")
            yield session, inventory, held
