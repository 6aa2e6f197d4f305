"""A lab as Ansible reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from labctl.core import paths
from labctl.core.errors import Problem, UsageError
from labctl.engine.session import Session


@dataclass(frozen=True)
class Inventory:
    """A lab as Ansible reads it. Values of `hosts` are host variables, templates in them unrendered.

    `groups` are the hosts of the groups that say what a node is in a cluster.
    """

    path: Path
    name: str
    kind: str
    client: str
    server: str
    hosts: Mapping[str, Mapping[str, object]]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def ends(self) -> Mapping[str, Mapping[str, object]]:
        """The host variables of both ends, by node."""
        return {node: self.hosts.get(node, {}) for node in (self.client, self.server)}


def open_lab(session: Session, name: str) -> Inventory:
    """The lab of this name or path. UsageError where there is none, or with everything that it lacks."""
    lab = paths.resolve_lab(name)
    listed = session.inventory(lab)
    hostvars: Mapping[str, Mapping[str, Any]] = listed.get("_meta", {}).get("hostvars", {})
    ends, problems = _ends(listed, hostvars, str(lab))
    facts = {}
    for name, example in (("lab_name", "local"), ("lab_kind", "local, vm, metal or cluster")):
        values = {str(hostvars.get(host, {}).get(name, "")) for host in ends.values()}
        if len(values) != 1 or "" in values:
            problems.append(
                Problem(f"the lab does not set {name}", str(lab), hint=f"set it for all hosts, e.g. {example}")
            )
        facts[name] = next(iter(values), "")
    if problems:
        raise UsageError(*problems)
    groups = {name: _members(listed, name) for name in ("control_plane", "worker")}
    return Inventory(lab, facts["lab_name"], facts["lab_kind"], ends["client"], ends["server"], hostvars, groups)


def _ends(
    listed: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]], lab: str
) -> tuple[dict[str, str], list[Problem]]:
    """The client and the server of a lab, and what is wrong with them. UsageError for several pairs of them."""
    found = {group: listed.get(group, {}).get("hosts", []) for group in ("client", "server")}
    pairs = {str(hostvars.get(host, {}).get("node_pair", "none")) for host in chain(*found.values())}
    if len(pairs) > 1:
        seen = f"node_pair: {', '.join(sorted(pairs))}"
        hint = "one pair is measured so far: make an inventory for each, with one client and one server"
        raise UsageError(Problem("the lab has several pairs of nodes", lab, seen, hint))
    hint = "a lab has one client and one server; put one host into each group"
    problems = [
        Problem(f"the lab needs exactly one host in group '{group}'", lab, ", ".join(hosts) or "no host", hint)
        for group, hosts in found.items()
        if len(hosts) != 1
    ]
    ends = {group: hosts[0] for group, hosts in found.items() if len(hosts) == 1}
    if len(ends) == 2 and ends["client"] == ends["server"]:
        problems.append(Problem("client and server are the same host", lab, ends["client"], "name two hosts"))
    return ends, problems


def _members(listed: Mapping[str, Any], group: str) -> tuple[str, ...]:
    """The hosts of a group and of the groups below it, each once."""
    entry = listed.get(group, {})
    below = (host for child in entry.get("children", ()) for host in _members(listed, child))
    return tuple(dict.fromkeys([*entry.get("hosts", ()), *below]))
