"""An attempt is one start of labctl on a run: what it found before it touched anything (attempts/<number>.json).

The first attempt makes the run, every `--resume` adds one. What differs from the attempt before is drift: the samples
on both sides of it were not taken under the same conditions.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from labctl import __version__
from labctl.catalog.lab import SYSTEM
from labctl.core import paths
from labctl.core.errors import Problem
from labctl.core.files import write_json
from labctl.core.records import load_yaml
from labctl.engine.inventory import Inventory
from labctl.nodes.fingerprint import Fingerprint, differences, shown
from labctl.nodes.fingerprint import parse as parse_fingerprint
from labctl.runs.folder import RunFolder

# Host variables that say where a node is. Beside them those count that labctl's own roles declare: they decide what is
# deployed and how. The rest of a user's inventory changes no number.
PLACES = ("ansible_host", "ansible_port", "lab_", "cable_", "pod_", "endpoint_")
# Values that are nobody's business are left out, whoever declares them, and so is what Ansible Vault keeps.
SECRET = re.compile(r"(?i)passw|token|secret|private|credential|(^|_)keys?$")
VAULT = "__ansible_vault"


@dataclass(frozen=True)
class Change:
    """One thing that is not what it was. `where` is a node with a path, an option or a file; null is "none"."""

    what: Literal["lab", "plan", "fingerprint", "controller", "labctl"]
    where: str
    recorded: object
    now: object

    def problem(self) -> Problem:
        """The change as a problem to show."""
        seen = f"recorded {shown(self.recorded)}, now {shown(self.now)}"
        hint = "put it back, or go on with --accept-drift: the change is then recorded and reported"
        return Problem(f"the {self.what} is not what the run began with", self.where, seen, hint)

    def __str__(self) -> str:
        return f"{self.what}, {self.where}: {shown(self.recorded)} became {shown(self.now)}"


@dataclass(frozen=True)
class LabRecord:
    """The lab as its inventory describes it; `variables` by node are those that decide what is measured where."""

    name: str
    client: str
    server: str
    inventory: str
    variables: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Attempt:
    """attempts/<number>.json. `fingerprints` by node are documents of roles/fingerprint, with nothing deployed.

    `awake_refused` says why the CPUs could not be kept awake, None where nothing was in the way of it.
    """

    schema: Literal["labctl.attempt/1"]
    number: int
    started: str
    host: str
    pid: int
    labctl: str
    plan_sha256: str
    lab: LabRecord
    fingerprints: Mapping[str, object]
    drift: tuple[Change, ...]
    awake_refused: str | None = None


def observe(
    number: int,
    plan_text: str,
    lab: Inventory,
    fingerprints: Mapping[str, Fingerprint],
    awake_refused: str | None = None,
) -> Attempt:
    """This attempt, without its drift."""
    return Attempt(
        schema="labctl.attempt/1",
        number=number,
        started=datetime.now(UTC).isoformat(),
        host=platform.node(),
        pid=os.getpid(),
        labctl=__version__,
        plan_sha256=hashlib.sha256(plan_text.encode()).hexdigest(),
        lab=lab_record(lab),
        fingerprints={node: fingerprint.data for node, fingerprint in fingerprints.items()},
        drift=(),
        awake_refused=awake_refused,
    )


def lab_record(lab: Inventory) -> LabRecord:
    """What of a lab has to stay for a run."""
    declared = role_variables()
    variables = {
        node: {
            name: without_secrets(values[name])
            for name in sorted(values)
            if (name in declared or name.startswith(PLACES)) and not SECRET.search(name) and not _in_vault(values[name])
        }
        for node, values in lab.ends.items()
    }
    return LabRecord(lab.name, lab.client, lab.server, str(lab.path), variables)


def role_variables() -> frozenset[str]:
    """The variables that labctl's roles declare (their argument_specs), by name, without what is not to be logged."""
    found = set()
    for path in (paths.content_root() / "roles").glob("*/meta/argument_specs.yml"):
        for entry in load_yaml(path)["argument_specs"].values():
            found |= {name for name, option in entry.get("options", {}).items() if not option.get("no_log")}
    return frozenset(found)


def without_secrets(value: object) -> object:
    """A value of an inventory without what its name, or Ansible Vault, keeps secret."""
    if isinstance(value, Mapping):
        kept = {name: below for name, below in value.items() if not SECRET.search(name) and not _in_vault(below)}
        return {name: without_secrets(below) for name, below in kept.items()}
    return [without_secrets(below) for below in value if not _in_vault(below)] if isinstance(value, list) else value


def _in_vault(value: object) -> bool:
    return isinstance(value, Mapping) and VAULT in value


def changes(before: Attempt, now: Attempt) -> tuple[Change, ...]:
    """What differs between two attempts that has to be the same in both."""
    return (*lab_changes(before, now), *_plan_changes(before, now), *_fingerprint_changes(before, now))


def lab_changes(before: Attempt, now: Attempt) -> Iterator[Change]:
    """The lab's names and places; where its inventory lies does not matter."""
    for name in ("name", "client", "server"):
        recorded, seen = getattr(before.lab, name), getattr(now.lab, name)
        if recorded != seen:
            yield Change("lab", name, recorded, seen)
    for node in sorted(before.lab.variables.keys() & now.lab.variables.keys()):
        old, new = before.lab.variables[node], now.lab.variables[node]
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield Change("lab", f"{node}: {name}", old.get(name), new.get(name))


def idle_changes(policy: str, before: Attempt, now: Attempt) -> Iterator[Change]:
    """Whether what the plan's policy `awake` takes is there in one attempt and not in the other."""
    recorded, seen = (f"refused: {one.awake_refused}" if one.awake_refused else "granted" for one in (before, now))
    if policy != SYSTEM and (before.awake_refused is None) != (now.awake_refused is None):
        yield Change("lab", f"idle policy {policy}", recorded, seen)


def _plan_changes(before: Attempt, now: Attempt) -> Iterator[Change]:
    if before.plan_sha256 != now.plan_sha256:
        yield Change("plan", "plan.json, its SHA-256", before.plan_sha256, now.plan_sha256)
    if before.host != now.host:
        yield Change("controller", "host", before.host, now.host)
    if before.labctl != now.labctl:
        yield Change("labctl", "version", before.labctl, now.labctl)


def _fingerprint_changes(before: Attempt, now: Attempt) -> Iterator[Change]:
    for node in sorted(before.fingerprints.keys() | now.fingerprints.keys()):
        old, new = before.fingerprints.get(node), now.fingerprints.get(node)
        if old is None or new is None:
            yield Change("fingerprint", node, *("none" if one is None else "taken" for one in (old, new)))
            continue
        where = f"attempts/{before.number}.json: {node}"
        for found in differences(parse_fingerprint(old, where), parse_fingerprint(new, node)):
            yield Change("fingerprint", f"{node}: {found.path}", found.first, found.second)


def write(folder: RunFolder, attempt: Attempt) -> None:
    """Store an attempt in the run folder."""
    write_json(folder.attempt(attempt.number), attempt)
