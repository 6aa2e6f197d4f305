"""The ownership record of a lab, lab.json: written before anything is created, read by whatever removes.

A lab owns what its record names, and nothing else. A record of another boot owns only its files: interfaces,
namespaces and processes did not survive.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from ansible.module_utils.lab_host_checks import NAME, wrong_lab_name, wrong_node_names
from ansible.module_utils.lab_host_removal import remove_lab
from ansible.module_utils.labctl_node.files import read_json, write_json
from ansible.module_utils.labctl_node.machine import boot_id
from ansible.module_utils.labctl_node.processes import Process
from ansible.module_utils.labctl_node.refused import Refused, refuse

SCHEMA = "labctl.lab/2"
T = TypeVar("T")


@dataclass(frozen=True)
class Node:
    """A node as labctl has to know it: how the host reaches it, and its address on the cable."""

    name: str
    address: str
    port: int
    cable_address: str


@dataclass(frozen=True)
class Origin:
    """What the record of any lab says of how it was created; each kind of lab adds the rest."""

    inventory: str
    boot_id: str
    created: str
    release: str


ORIGIN = tuple(field.name for field in fields(Origin))


def origin_now(params: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Origin for a lab that is created now, by a module with these arguments."""
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"inventory": params["inventory"], "boot_id": boot_id(), "created": created, "release": params["release"]}


def origin_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Origin in a record."""
    return {name: data[name] for name in ORIGIN}


class Files:
    """Where the files of one lab lie, of whatever kind it is. Raises Refused for a name that would lead elsewhere."""

    def __init__(self, state_dir: str, lab: str) -> None:
        refuse(wrong_lab_name(lab))
        self.state_dir = state_dir
        self.directory = os.path.join(state_dir, "labs", lab)
        self.record = os.path.join(self.directory, "lab.json")
        self.key = os.path.join(self.directory, "id_ed25519")
        self.known_hosts = os.path.join(self.directory, "known_hosts")

    def pidfile(self, node: str) -> str:
        return os.path.join(self.directory, f"{node}.pid")

    def log(self, node: str) -> str:
        return os.path.join(self.directory, f"{node}.log")

    def seed(self, node: str) -> str:
        """What a node has of its own on top of what all have; holds its host key, so only root reads it."""
        return os.path.join(self.directory, "seeds", node)

    def process(self, node: str) -> Process | None:
        """The process that carries a node as its pidfile names it, whether or not it still runs."""
        known = read_json(self.pidfile(node))
        return None if known is None else Process(**known)

    def begin(self) -> None:
        """Make the lab's directory, with one for the seeds that only root reads. What was there before is gone."""
        self.remove()
        seeds = self.seed("")
        os.makedirs(seeds, mode=0o755)
        os.chmod(seeds, 0o700)

    def remove(self) -> bool:
        """Remove the lab's directory. Returns whether there was one."""
        return remove_lab(self.directory)


def write_record(
    files: Files, kind: str, lab: str, nodes: Sequence[Node], origin: Origin, own: Mapping[str, object]
) -> None:
    """Put the record on the disk, in the lab's directory, which exists. What only its kind has is in `own`."""
    record = {
        "schema": SCHEMA,
        "name": lab,
        "kind": kind,
        **{name: getattr(origin, name) for name in ORIGIN},
        "ssh": {"key": files.key, "known_hosts": files.known_hosts},
        "nodes": [
            {**asdict(node), "user": "root", "pidfile": files.pidfile(node.name), "log": files.log(node.name)}
            for node in nodes
        ],
        "local": None,
        "vm": None,
        kind: own,
    }
    write_json(files.record, record)


def read_record(files: Files, kind: str, make: Callable[[Mapping[str, Any]], T], by_hand: str) -> T | None:
    """What `make` makes of a lab's record; None when there is none of this boot.

    Raises Refused for a lab of another kind, and for a record that cannot be understood, with `by_hand` as what to do.
    """
    try:
        data: Mapping[str, Any] | None = read_json(files.record)
        if data is None:
            return None
        if data["kind"] != kind:
            raise Refused(
                f"A lab of this name exists, and is of the kind {data['kind']}, not {kind}.",
                where=files.record,
                seen=str(data["inventory"]),
                hint="Destroy that one first, or give this one another lab_name.",
            )
        lab = os.path.basename(files.directory)
        if data["name"] != lab:
            raise ValueError(f"it is the record of a lab called {data['name']!r}")
        refuse(wrong_node_names([node["name"] for node in data["nodes"]]))
        return make(data) if data["boot_id"] == boot_id() else None
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(
            "The record of a lab cannot be read, so what it owns is not known.",
            where=files.record,
            seen=f"{type(error).__name__}: {error}",
            hint=f"{by_hand}, then remove this directory.",
        ) from error


def other_records(state_dir: str, lab: str, kind: str, read: Callable[[str, str], T | None]) -> list[T]:
    """What `read` finds of all other labs of a kind that exist in this boot."""
    try:
        names = sorted(os.listdir(os.path.join(state_dir, "labs")))
    except FileNotFoundError:
        return []
    labs = [name for name in names if NAME.fullmatch(name) and name != lab]
    alike = [name for name in labs if _kind(Files(state_dir, name)) in (kind, None)]
    return [record for record in (read(state_dir, name) for name in alike) if record is not None]


def _kind(files: Files) -> str | None:
    """The kind of a lab; None where its record is not understood (whoever reads it will say so)."""
    try:
        data = read_json(files.record)
        return "" if data is None else str(data["kind"])
    except (ValueError, KeyError, TypeError):
        return None
