"""A lab as Ansible reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from labctl.core import paths, trust
from labctl.core.documents import LARGEST_YAML, read_bytes, repeated
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.engine import schema
from labctl.engine.forms import DIRECTORY, control_characters
from labctl.engine.schema import Host
from labctl.engine.session import Session

ENDS = ("client", "server")
KUBECONFIG = "netperf_pods_kubeconfig"
STATE, CACHE = "LABCTL_STATE_DIR", "LABCTL_CACHE_DIR"
CLUSTER_GROUPS = ("control_plane", "worker")
MAX_SOURCES = 200  # files of an inventory: a directory with more is something else
MAX_TOLD = 10  # problems with files that are told at once
BESIDE = ("host_vars", "group_vars", "vars_plugins")  # that Ansible reads otherwise than as sources
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What Ansible passes over by its endings (INVENTORY_IGNORE_EXTS).
PASSED_OVER = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry")


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
    """The lab of this name or path. UsageError where there is none, or with everything that is wrong with it."""
    lab = paths.resolve_lab(name)
    require_source(lab)
    listed = session.inventory(lab)
    where = str(lab)
    meta = listed.get("_meta", {})
    hostvars: Mapping[str, Mapping[str, Any]] = meta.get("hostvars", {})
    ends, problems = _ends(listed, hostvars, where)
    members = dict.fromkeys(chain(*(_members(listed, group) for group in (*ENDS, *CLUSTER_GROUPS))))
    hosts = {host: _host(host, hostvars.get(host, {}), meta.get("labctl", {}).get(host)) for host in members}
    if len(ends) == len(ENDS):
        client, server = (hosts[ends[end]] for end in ENDS)
        kind = client.values.get("lab_kind")
        others = [host for name, host in hosts.items() if name not in ends.values()]
        problems += schema.problems(kind, client, server, others, where)
        problems += _directory_problems() if kind in schema.MADE else []
        problems += _kubeconfig_problems(client, server)
        for other in _members(listed, "all"):
            problems += [] if other in hosts else schema.name_problems(kind, other, where)
    if problems:
        raise UsageError(*problems)
    groups = {name: _members(listed, name) for name in CLUSTER_GROUPS}
    return Inventory(lab, str(client.values["lab_name"]), str(kind), client.name, server.name, hostvars, groups)


def require_source(lab: Path) -> None:
    """Raise UsageError for a directory that cannot be an inventory, before Ansible runs what is in it.

    Ansible takes every file below for a source, and starts those that are executable.
    """
    if control_characters(str(lab)):
        raise UsageError(Problem("the path of a lab cannot hold such characters", ascii(str(lab)), hint="rename it"))
    found = list(islice(_sources(lab), MAX_SOURCES + 1))
    hint = "name a lab (local, vm), or the directory of an inventory: one with hosts.yml, or a file like it"
    if not found:
        raise UsageError(Problem("there is no inventory in this directory", str(lab), "no file to read", hint))
    if len(found) > MAX_SOURCES:
        seen = f"more than {MAX_SOURCES} files that Ansible would read, and run where they are executable"
        raise UsageError(Problem("this directory is no inventory", str(lab), seen, hint))
    problems = [
        Problem("this is no file of an inventory", str(path), why, hint) for path in found if (why := _no_text(path))
    ]
    if problems:
        raise UsageError(*problems[:MAX_TOLD])


def _directory_problems() -> list[Problem]:
    """What is wrong with the directories that the environment names for labs of this machine."""
    given = {name: os.environ[name] for name in (STATE, CACHE) if os.environ.get(name)}
    return [
        Problem(f"{name}: {why}", "the environment", ascii(value), f"give {DIRECTORY.allowed}")
        for name, value in given.items()
        if (why := DIRECTORY.why_not(value))
    ]


def _kubeconfig_problems(*ends: Host) -> list[Problem]:
    """Why a cluster's kubeconfig is not believed: it may name a program that logs in, and kubectl runs that."""
    named = dict.fromkeys(str(end.values[KUBECONFIG]) for end in ends if end.values.get(KUBECONFIG))
    doubts = (trust.doubted(Path(os.path.expanduser(path))) for path in named)  # noqa: PTH111 - for any name at all
    return [doubt.problem("the kubeconfig") for doubt in doubts if doubt is not None]


def _sources(directory: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The files that Ansible would take for sources of an inventory, its way of choosing them.

    A link back to a directory `above`, in which Ansible would go round, is one of them.
    """
    above = (*above, directory.resolve())
    for path in sorted(directory.iterdir()):
        if path.name in BESIDE:
            yield from (one for one in path.rglob("*") if not one.is_dir())
        elif path.name.startswith(".") or path.name.endswith(PASSED_OVER):
            continue
        elif path.is_dir() and path.resolve() not in above:
            yield from _sources(path, above)
        else:
            yield path


def _no_text(path: Path) -> str | None:
    """Why a file cannot be a source; None for one that may be."""
    try:
        content = read_bytes(path, largest=LARGEST_YAML)
    except LabctlError as error:
        return error.problems[0].seen
    if b"\0" in content:
        return "not a text"
    return None if os.access(path, os.X_OK) else _multiplied(content)


def _multiplied(content: bytes) -> str | None:
    """Why nobody could hold what a file of YAML stands for; None for any other. What is wrong else Ansible tells."""
    if not (b"&" in content and b"*" in content):
        return None
    try:
        return next(filter(None, map(repeated, yaml.compose_all(content, Loader=LOADER))), None)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None


def _host(name: str, raw: Mapping[str, Any], seen: Mapping[str, Any] | None) -> Host:
    """What is known of a host; without Ansible's rendering its variables are what is written."""
    if seen is None:
        return Host(name, raw, {}, {}, raw)
    rendered: Mapping[str, Mapping[str, Any]] = seen["rendered"]
    values = {one: result["value"] for one, result in rendered.items() if "value" in result}
    errors = {one: str(result["error"]) for one, result in rendered.items() if "error" in result}
    return Host(name, values, errors, seen["places"], raw)


def _ends(
    listed: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]], lab: str
) -> tuple[dict[str, str], list[Problem]]:
    """The client and the server of a lab, and what is wrong with them. UsageError for several pairs of them."""
    found = {group: _members(listed, group) for group in ENDS}
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
    if len(ends) == len(ENDS) and ends["client"] == ends["server"]:
        problems.append(Problem("client and server are the same host", lab, ends["client"], "name two hosts"))
        return {}, problems
    return ends, problems


def _members(listed: Mapping[str, Any], group: str) -> tuple[str, ...]:
    """The hosts of a group and of the groups below it, each once."""
    entry = listed.get(group, {})
    below = (host for child in entry.get("children", ()) for host in _members(listed, child))
    return tuple(dict.fromkeys([*entry.get("hosts", ()), *below]))
