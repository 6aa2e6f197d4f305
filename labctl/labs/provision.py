"""Bringing nodes to where setups can be deployed, and taking a cluster off them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labctl.bundle import index as bundles
from labctl.bundle import install
from labctl.bundle.index import Bundle
from labctl.catalog import CLUSTER
from labctl.core.errors import Problem, UsageError
from labctl.engine.events import Event, Listener, TaskResult
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Outcome
from labctl.engine.session import AnsibleOptions, Session


@dataclass(frozen=True)
class ClusterSource:
    """A cluster to provision: an edition from the bundle in `directory`, all of whose files are as they should be."""

    bundle: Bundle
    directory: Path
    edition: str


def provision(
    session: Session,
    lab: Inventory,
    options: AnsibleOptions,
    listener: Listener = lambda _: None,
    allow_reboot: bool = False,
    wanted: ClusterSource | None = None,
) -> Outcome:
    """Bring the nodes to where every setup can be deployed; with `wanted`, make them a cluster.

    UsageError for nodes that are not labctl's to change.
    """
    if lab.kind == CLUSTER:
        what = "an existing cluster is measured as it is: there is nothing to provision"
        raise UsageError(Problem(what, str(lab.path), hint="labctl matrix"))
    allowed = {"all": {"hosts": {host: {"kernel_allow_reboot": True} for host in lab.hosts}}} if allow_reboot else None
    content = None
    if wanted is not None:
        install.require_groups(lab.groups, str(lab.path))
        content = install.inventory(wanted.bundle, wanted.directory, wanted.edition)
    with session.source(allowed) as more, session.source(content) as members:
        sources = [lab.path, *more, *members]
        return session.run_playbook("provision.yml", sources, options=options, listener=listener)


def idle_cluster(event: Event) -> Mapping[str, str]:
    """What an idle cluster takes of a node's CPU, in words by node, where the event says it."""
    if not isinstance(event, TaskResult) or event.action != "kubernetes_idle" or not event.ok:
        return {}
    parts = ", ".join(f"{program} {percent:g}" for program, percent in event.data["percent"].items() if percent)
    return {event.node: f"{event.data['total']:g} % of one CPU ({parts or 'nothing that counts'})"}


def open_bundle(directory: Path, edition: str | None) -> ClusterSource:
    """The bundle in `directory`, every file of it verified, and the edition that is meant."""
    found = bundles.verify(directory)
    return ClusterSource(found, directory, bundles.choose(found, edition, directory))


def reset(session: Session, lab: Inventory, options: AnsibleOptions, listener: Listener = lambda _: None) -> Outcome:
    """Take the cluster off the nodes; fails with every trace of it that is left."""
    return session.run_playbook("reset.yml", [lab.path], options=options, listener=listener)
