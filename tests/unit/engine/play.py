"""Playing small playbooks on this machine."""

from __future__ import annotations

from collections.abc import Callable

from labctl.engine.events import Event
from labctl.engine.outcome import Outcome

LOCAL = """
all:
  hosts:
    here:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""

Run = Callable[..., tuple[Outcome, list[Event]]]
