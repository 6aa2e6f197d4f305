"""Fingerprints captured on a real local lab and then changed in one place, and what is found of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Failure
from labctl.nodes import findings as check
from labctl.nodes.findings import Finding
from labctl.nodes.fingerprint import Fingerprint
from labctl.nodes.rules import Level

CAPTURE = Path(__file__).resolve().parent.parent.parent / "fixtures" / "fingerprint" / "local.json"

Change = Callable[[dict[str, Any]], object]


def inventory(kind: str) -> Inventory:
    return Inventory(Path("lab"), "lab", kind, "node1", "node2", {"node1": {}, "node2": {}})


def seen(**changes: Change) -> dict[str, Fingerprint]:
    """The captured fingerprints of an idle lab whose kernel has ESP, after the change named for a node (or `both`)."""
    documents = json.loads(CAPTURE.read_text())
    for name, document in documents.items():
        document["state"]["load"] = [0.1, 0.1, 0.1]
        document["tunnels"]["esp"] = True
        for which in ("both", name):
            if which in changes:
                changes[which](document)
    return {name: Fingerprint(document) for name, document in documents.items()}


def put(path: str, value: object) -> Change:
    """A change that sets the value at a dotted path."""

    def change(document: dict[str, Any]) -> None:
        *folders, last = path.split(".")
        for folder in folders:
            document[folder] = {} if document[folder] is None else document[folder]
            document = document[folder]
        document[last] = copy.deepcopy(value)

    return change


def bad(
    kind: str,
    fingerprints: Mapping[str, Fingerprint],
    failures: Sequence[Failure] = (),
    unreachable: Sequence[str] = (),
    limited: bool = False,
) -> list[Finding]:
    found = check.findings(inventory(kind), fingerprints, failures, unreachable, limited=limited)
    return [finding for finding in found if finding.level is not Level.OK]


def only(kind: str, **changes: Change) -> Finding:
    """The one finding that a change leads to."""
    (finding,) = bad(kind, seen(**changes))
    return finding
