"""The network of a lab as a whole: what is missing is made, what the record names is removed."""

from __future__ import annotations

import os

from ansible.module_utils import local_lab_links as links
from ansible.module_utils.labctl_node.processes import kill, processes_in_namespace
from ansible.module_utils.labctl_node.run import run
from ansible.module_utils.local_lab_forwarding import claim_uplink, open_uplink, release_uplink, set_forwarding
from ansible.module_utils.local_lab_record import LocalFiles, Record


def build(record: Record, files: LocalFiles) -> list[str]:
    """Create what is missing, and say what that was. A node that does not run gets a fresh namespace."""
    lab = record.plan
    made: list[str] = []
    for node in lab.nodes:
        running = files.process(node.name)
        if os.path.exists(links.netns_path(node)) and not (running and running.alive):
            # What the dead node had set up in its namespace would greet its successor.
            kill(processes_in_namespace(links.netns_path(node)))
            links.delete_link(node.host_interface)
            links.delete_namespace(node)
        if not os.path.exists(links.netns_path(node)):
            links.create_namespace(node)
            made.append(f"namespace {node.netns}")
        if not links.has_management_link(lab, node):
            links.delete_link(node.host_interface)
            links.create_management_link(lab, node)
            made.append(f"link {node.host_interface}")
    if not links.has_cable(lab):
        links.create_cable(lab)
        made.append("cable")
    routes = record.uplink is not None and claim_uplink(files.state_dir, record.uplink, lab.name)
    if not links.has_table(lab):
        links.load_table(lab, None if routes else record.uplink)
        made.append(f"table {lab.table}")
    # Nothing is forwarded before the table says for whom.
    made += [f"forwarding of {node.host_interface}" for node in lab.nodes if set_forwarding(node.host_interface, "1")]
    if record.uplink and open_uplink(record.uplink):
        made.append(f"forwarding of {record.uplink}")
    return made


def remove(record: Record, files: LocalFiles) -> list[str]:
    """Remove what the record names, and say what there was; what is gone already is no error."""
    removed = []
    lab = record.plan
    if release_uplink(files.state_dir, lab.name):
        removed.append(f"forwarding of {record.uplink}")
    for node in lab.nodes:
        if links.delete_link(node.host_interface):
            removed.append(f"link {node.host_interface}")
        if os.path.exists(links.netns_path(node)):
            kill(processes_in_namespace(links.netns_path(node)))
            links.delete_namespace(node)
            removed.append(f"namespace {node.netns}")
    # Last: as long as anything is forwarded, the table says for whom.
    if links.has_table(lab):
        run(["nft", "delete", "table", "ip", lab.table])
        removed.append(f"table {lab.table}")
    return removed
