"""Bringing nodes to where setups can be deployed, and taking a cluster off them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from labctl.bundle import index as bundles
from labctl.bundle import install
from labctl.catalog import CLUSTER
from labctl.catalog.editions import Use
from labctl.core.errors import Problem, UsageError
from labctl.core.tables import counted
from labctl.engine.events import Event, Listener, TaskResult
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Outcome
from labctl.engine.session import AnsibleOptions, Session


def provision(
    session: Session,
    lab: Inventory,
    options: AnsibleOptions,
    listener: Listener = lambda _: None,
    allow_reboot: bool = False,
    cluster: Mapping[str, object] | None = None,
) -> Outcome:
    """Bring the nodes to where every setup can be deployed; with the inventory of a `cluster`, make them one.

    UsageError for nodes that are not labctl's to change.
    """
    if lab.kind == CLUSTER:
        what = "an existing cluster is measured as it is: there is nothing to provision"
        raise UsageError(Problem(what, str(lab.path), hint="labctl matrix"))
    allowed = {"all": {"hosts": {host: {"kernel_allow_reboot": True} for host in lab.hosts}}} if allow_reboot else None
    if cluster is not None:
        install.require_groups(lab.groups, str(lab.path))
    with session.source(allowed) as more, session.source(cluster) as members:
        sources = [lab.path, *more, *members]
        return session.run_playbook("provision.yml", sources, options=options, listener=listener)


def idle_cluster(event: Event) -> Mapping[str, str]:
    """What an idle cluster takes of a node's CPU, in words by node, where the event says it."""
    if not isinstance(event, TaskResult) or event.action != "kubernetes_idle" or not event.ok:
        return {}
    parts = ", ".join(f"{program} {percent:g}" for program, percent in event.data["percent"].items() if percent)
    return {event.node: f"{event.data['total']:g} % of one CPU ({parts or 'nothing that counts'})"}


def taken_of_bundle(event: Event) -> str | None:
    """What a node is about to take of a bundle, in words, where the event says it; importing images takes minutes."""
    if not isinstance(event, TaskResult) or event.action != "bundle_files" or event.changed or not event.ok:
        return None
    files = event.data.get("wanted") or ()
    if not files:
        return None
    size = sum(file["bytes"] for file in files) / 2**20
    images = ", ".join(file["name"] for file in files if file["use"] == Use.IMAGE)
    importing = f"; of them the images {images} are imported when all have arrived" if images else ""
    return f"{event.node} takes {counted(len(files), 'file')} of the bundle, {size:.0f} MB{importing}"


def cluster_from(directory: Path, edition: str | None) -> Mapping[str, object]:
    """The inventory of a cluster from the bundle in `directory`, every file verified, of the edition that is meant."""
    bundle = bundles.verify(directory)
    return install.inventory(bundle, directory, bundles.choose(bundle, edition, directory))


def reset(session: Session, lab: Inventory, options: AnsibleOptions, listener: Listener = lambda _: None) -> Outcome:
    """Take the cluster off the nodes; fails with every trace of it that is left."""
    return session.run_playbook("reset.yml", [lab.path], options=options, listener=listener)
