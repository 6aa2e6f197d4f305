"""Looking at a lab: the fingerprints of its nodes, and what may be done on this machine if it carries them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from labctl.engine.events import FINGERPRINT, Event, Listener, TaskResult
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Outcome
from labctl.engine.session import AnsibleOptions, Session
from labctl.nodes.fingerprint import Fingerprint, parse

CHANGES_NOTHING = "check.yml"


@dataclass(frozen=True)
class Look:
    """What `check` saw: a fingerprint per node that answered, how the playbook ended, and when (ISO 8601, UTC).

    `no_root` says why labctl cannot be root on this machine, as far as it can tell; None where it can.
    """

    fingerprints: Mapping[str, Fingerprint]
    outcome: Outcome
    no_root: str | None = None
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def look(
    session: Session,
    lab: Inventory,
    options: AnsibleOptions,
    listener: Listener = lambda _: None,
    playbook: str = CHANGES_NOTHING,
) -> Look:
    """Fingerprint the nodes; changes nothing on them.

    With `playbook` clear.yml what an earlier run left deployed is taken down first.
    """
    fingerprints: dict[str, Fingerprint] = {}

    def collect(event: Event) -> None:
        if isinstance(event, TaskResult) and FINGERPRINT in event.data and event.ok:
            fingerprints[event.node] = parse(event.data[FINGERPRINT], event.node)
        listener(event)

    looks = playbook == CHANGES_NOTHING
    outcome = session.run_playbook(playbook, [lab.path], options=options, listener=collect, looks=looks)
    return Look(fingerprints, outcome, no_root(options))


def no_root(options: AnsibleOptions) -> str | None:
    """Why labctl cannot be root on this machine; None where it is, or sudo lets it, or was given a password."""
    if os.geteuid() == 0 or options.become_password is not None:
        return None
    try:
        tried = subprocess.run(["sudo", "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        return f"labctl is not root on this machine, and has no sudo ({error.strerror})"
    words = tried.stderr.decode(errors="replace").strip()
    return f"labctl is not root on this machine ({words}): --ask-become-pass" if tried.returncode else None


def is_provisioned(seen: Look) -> bool:
    """Whether the last task of provision.yml left its mark on every node."""
    return all(fingerprint.text("versions", "provisioned") for fingerprint in seen.fingerprints.values())
