"""What TCP remembers of earlier connections to a peer (its metrics): forgotten, and not gathered any more.

A node's network namespace lives through all rounds, a pod's through one visit. So the node's connections would begin
with what earlier setups taught it, and the pod's would not. The switch is namespaced.
"""

from __future__ import annotations

from ansible.module_utils.labctl_node.files import read_text, write_setting
from ansible.module_utils.labctl_node.run import run

SWITCH = "/proc/sys/net/ipv4/tcp_no_metrics_save"
OFF = "1"


def forget_metrics() -> bool:
    """Forget them in this network namespace, and let none be saved from now on; whether that took a change."""
    changed = read_text(SWITCH) != OFF
    if changed:
        write_setting(SWITCH, OFF)
    # What was saved before is used all the same.
    run(["ip", "tcp_metrics", "flush", "all"])
    return changed
