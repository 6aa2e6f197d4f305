"""What tests of the engine share: a session, and small playbooks on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.engine.events import Event
from labctl.engine.outcome import Outcome
from labctl.engine.session import Session
from tests.unit.engine.play import LOCAL, Run


@pytest.fixture
def session() -> Iterator[Session]:
    with Session() as opened:
        yield opened


@pytest.fixture
def play(tmp_path: Path, session: Session) -> Run:
    """Run tasks (YAML) on this machine; the outcome and the events."""

    def run(tasks: str, inventory: str = LOCAL, **arguments: object) -> tuple[Outcome, list[Event]]:
        (tmp_path / "hosts.yml").write_text(inventory)
        body = "".join(f"    {line}\n" for line in tasks.strip().splitlines())
        (tmp_path / "play.yml").write_text(f"- name: A play\n  hosts: all\n  gather_facts: false\n  tasks:\n{body}")
        events: list[Event] = []
        outcome = session.run_playbook(
            str(tmp_path / "play.yml"),
            [tmp_path / "hosts.yml"],
            listener=events.append,
            **arguments,  # type: ignore[arg-type]
        )
        return outcome, events

    return run
