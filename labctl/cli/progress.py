"""How work is told on a terminal, and in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from labctl.cli.console import Live, clock, note, out
from labctl.core.tables import counted
from labctl.engine.events import Difference, Event, Listener, TaskStart
from labctl.engine.inventory import Inventory, open_lab
from labctl.engine.session import Session
from labctl.labs import lock
from labctl.labs.lock import LabLock
from labctl.matrix.execution import Measured, Progress, VisitBegun, VisitDisturbed, VisitFailed
from labctl.plan.plan import Plan
from labctl.results.tables import sample_words


class Terminal(Live):
    """Tells how a stage goes, on standard error."""

    def tasks(self, changed: str = "changed  {node}: {task}") -> Listener:
        """Show each task as it starts, and each one that changed something or failed as a line that stays.

        `changed` is how a task that changed something is told. Differences that were asked for are results.
        """

        def listener(event: Event) -> None:
            if isinstance(event, TaskStart):
                self.step(event.task)
            elif isinstance(event, Difference):
                out(f"{event.node}: {event.task}\n{event.text}\n")
            elif not event.ok:
                self.timed(f"failed   {event.node}: {event.title}")
            elif event.changed:
                self.timed(changed.format(node=event.node, task=event.title))

        return listener

    def planned(self, plan: Plan) -> None:
        """Say what is about to be measured."""
        size = f"{len(plan.setups)} setups, {plan.samples} samples"
        self.line(f"{plan.id}: {size}, about {clock(plan.estimated_s)}")

    def progress(self, plan: Plan) -> Callable[[Progress], None]:
        """One line per sample, the step in hand between them."""

        def progress(event: Progress) -> None:
            if isinstance(event, VisitBegun):
                where = f"{event.setup} round {event.round}/{event.rounds}"
                self.timed(f"visit {event.number}/{event.total}: {where}, {clock(event.left_s)} left")
            elif isinstance(event, Measured):
                number = f"{event.number:>{len(str(event.total))}}/{event.total}"
                words = sample_words(event.sample)
                self.timed(f"{number}  {event.sample.id:<40} {words}  {clock(event.left_s)} left")
            elif isinstance(event, VisitFailed):
                for problem in (one for failure in event.failures for one in failure.told):
                    self.timed(f"{event.setup} round {event.round} failed: {problem}")
            elif isinstance(event, VisitDisturbed):
                where = f"{event.setup} round {event.round}"
                for change in event.changes:
                    self.timed(f"{where}: {change}")
                self.timed(f"{where}: {counted(event.void, 'sample')} of it do not count; matrix --resume retakes them")
            elif event.node:
                self.timed(f"{event.setup} round {event.round}: {event.node}: failed: {event.text}")
            else:
                self.step(f"{event.setup} round {event.round}/{plan.rounds}: {event.text}", event.left_s)

        return progress


def warn_of_disturbing(lab: Inventory | None = None) -> None:
    """Say whose measurement is about to be disturbed: on this machine, and on the nodes of `lab` that are looked at."""
    measurer = lock.measured_by()
    if measurer:
        note(f"warning: this disturbs a measurement on this machine: lab {measurer.owner.lab}, {measurer}")
    user = lock.used_by(lab) if lab else None
    if user and (measurer is None or measurer.owner.pid != user.owner.pid):
        note(f"warning: this disturbs who works on the lab's nodes: lab {user.owner.lab}, {user}")


@contextmanager
def opened() -> Iterator[Session]:
    """A session. An ansible.cfg of this directory that does not hold is named."""
    with Session() as session:
        if session.settings.ignored:
            note(f"warning: {session.settings.ignored}")
        yield session


@contextmanager
def working(lab: str, command: str, measures: bool = False) -> Iterator[tuple[Session, Inventory, LabLock]]:
    """A session with a lab that no other labctl uses meanwhile.

    With nodes of this machine, work that measures waits until nobody else measures there; other work only says whom it
    disturbs, whatever its lab: Ansible itself takes this machine's CPUs.
    """
    with opened() as session:
        inventory = open_lab(session, lab)
        if not measures:
            warn_of_disturbing()
        with lock.locked(inventory, command) as held:
            if held.dead:
                note(f"lab {inventory.name} is taken over from a labctl that no longer runs: {held.dead}")
            for claim in held.beside:
                note(f"warning: another user says that this lab is in use: {claim}")
            turn = lock.measuring(inventory, command, note) if measures else nullcontext(())
            with turn as held.also:
                yield session, inventory, held
