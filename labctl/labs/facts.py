"""What a plan needs to know of a lab: from a look at it, from the last look that was kept, or from its inventory.

The facts of every look are kept for this user (`<state of the user>/looks/<lab>.json`), so that a lab that does not
run can be planned for. Deleting them costs no more than that.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from labctl.catalog.editions import Use
from labctl.catalog.lab import LabFacts, Origin, Source
from labctl.core import paths
from labctl.core.errors import LabctlError, Problem
from labctl.core.files import read_record, write_json
from labctl.engine.inventory import Inventory
from labctl.engine.session import AnsibleOptions, Session
from labctl.labs import embedded, lock
from labctl.labs.look import Look, look
from labctl.nodes import encryption, idle
from labctl.nodes.fingerprint import Fingerprint

PATIENCE_S = 5  # for a node to answer, where there is something to go by without it


@dataclass(frozen=True)
class KeptLook:
    """The facts of the last look at a lab, and the SHA-256 of the inventory that it was looked at by."""

    schema: Literal["labctl.look/1"]
    inventory_sha256: str
    facts: LabFacts


@dataclass(frozen=True)
class Known:
    """What is known of a lab, and what stands in the way of knowing or keeping more."""

    facts: LabFacts
    problems: tuple[Problem, ...] = ()


def of_look(lab: Inventory, seen: Look) -> LabFacts:
    """The facts that a look found. Raises LabctlError where it did not come to its end."""
    seen.outcome.require()
    nodes = seen.fingerprints.values()
    threads = [fingerprint.whole("cpu", "threads") for fingerprint in nodes]
    known = [count for count in threads if count]
    if len(known) < 2:
        raise LabctlError(Problem("a node does not say how many CPU threads it has", str(lab.path), str(threads)))
    return LabFacts(
        name=lab.name,
        kind=lab.kind,
        client=lab.client,
        server=lab.server,
        threads=min(known),
        emulated=any(fingerprint.emulated for fingerprint in nodes),
        tunnels=encryption.facts(tuple(nodes)),
        largest_mtu=min((limit for one in nodes if (limit := one.whole("link", "max_mtu"))), default=None),
        edition=next((one.text("versions", "edition") for one in nodes), None),
        origin=Origin(Source.LOOK, seen.time),
        awake_refused=idle.awake_refused(lab.kind, seen.fingerprints, seen.no_root),
        carried=carried(lab, seen.fingerprints),
    )


def carried(lab: Inventory, fingerprints: Mapping[str, Fingerprint]) -> tuple[str, ...] | None:
    """The files of a bundle that a cluster has: images on both ends, anything else on its control plane.

    None where there is no cluster, or the nodes that were looked at do not tell.
    """
    nodes = [parts for name in fingerprints if (parts := _of_bundle(fingerprints[name])) is not None]
    control = [_of_bundle(fingerprints[name]) for name in lab.groups.get("control_plane", ()) if name in fingerprints]
    if len(nodes) < 2 or len(control) != 1 or control[0] is None:
        return None
    images = set.intersection(*(parts[Use.IMAGE] for parts in nodes))
    return tuple(sorted(images | control[0][Use.ARCHIVE] | control[0][Use.PROGRAM]))


def _of_bundle(node: Fingerprint) -> dict[Use, set[str]] | None:
    """The names of what of a bundle is on a node, by what they are; None where it does not say."""
    told = (node.mapping("state") or {}).get("bundle")
    if not told:
        return None
    pairs = [str(word).partition("-") for word in told]
    return {use: {name for kind, _, name in pairs if kind == use} for use in Use}


def of_inventory(lab: Inventory, why: str) -> LabFacts:
    """What the inventory alone says; `why` there is no more to go by."""
    return LabFacts(lab.name, lab.kind, lab.client, lab.server, None, origin=Origin(Source.INVENTORY, None, why))


def known(session: Session, lab: Inventory, options: AnsibleOptions) -> Known:
    """What can be known of a lab without making it or waiting for it.

    Raises LabctlError where its nodes answer and do not let themselves be looked at.
    """
    if lab.kind in embedded.KINDS and not embedded.is_up(lab.name):
        return earlier(lab, "it does not run now")
    seen = look(session, lab, replace(options, timeout_s=PATIENCE_S))
    if seen.outcome.unanswered:
        found = earlier(lab, f"{' and '.join(seen.outcome.unreachable)} cannot be reached now")
        return replace(found, problems=(*seen.outcome.problems, *found.problems))
    return Known(of_look(lab, seen), keep(lab, seen))


def keep(lab: Inventory, seen: Look) -> tuple[Problem, ...]:
    """Keep the facts of a look for plans made while the lab does not run; why they cannot be, where they cannot.

    A look that did not see both ends, or did not come to its end, is not kept.
    """
    if not seen.outcome.ok or not {lab.client, lab.server} <= seen.fingerprints.keys():
        return ()
    kept = KeptLook("labctl.look/1", _sha256(lab), of_look(lab, seen))
    try:
        write_json(_path(lab), kept)
    except LabctlError as error:
        what = "what was seen of the lab cannot be kept for plans made while it does not run"
        return tuple(Problem(what, problem.where, problem.seen) for problem in error.problems)
    return ()


def earlier(lab: Inventory, why: str) -> Known:
    """What is known of a lab that cannot be looked at, for the reason `why`."""
    path = _path(lab)
    try:
        kept = _read(path)
    except LabctlError as error:
        hint = "the next look at the lab (labctl check) writes it anew"
        problems = tuple(replace(problem, hint=hint) for problem in error.problems)
        return Known(of_inventory(lab, f"{why}, and what is kept of the last look at it is damaged"), problems)
    if kept is None:
        return Known(of_inventory(lab, f"{why}, and no look at it is kept"))
    if kept.inventory_sha256 != _sha256(lab):
        why += ", and its inventory has changed since"
    facts = replace(
        kept.facts,
        name=lab.name,
        kind=lab.kind,
        client=lab.client,
        server=lab.server,
        # What labctl makes anew has no cluster, whatever it had when it was last seen.
        edition=None if lab.kind in embedded.KINDS else kept.facts.edition,
        carried=None if lab.kind in embedded.KINDS else kept.facts.carried,
        origin=Origin(Source.LAST_LOOK, kept.facts.origin.time, why),
    )
    return Known(facts)


def _read(path: Path) -> KeptLook | None:
    """What is kept; None where nothing is. Raises LabctlError where it cannot be used."""
    return read_record(KeptLook, path) if os.path.lexists(path) else None


def _path(lab: Inventory) -> Path:
    return paths.user_state_dir() / "looks" / f"{lock.key(lab)}.json"


def _sha256(lab: Inventory) -> str:
    """Of all that the inventory says: no more is kept of it, since it may hold secrets."""
    content = json.dumps([lab.client, lab.server, lab.hosts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
