"""The tc programs of a datapath: loading them, attaching them, reading what they counted.

bpftool loads the object with its maps, tc attaches what is pinned. Both happen in a mount namespace with a BPF
filesystem of its own, so no pin outlives the module: the programs live as long as their filters do.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.datapath_bpf import BPF_MOUNT, counts_in, map_name, mount_private_bpf
from ansible.module_utils.datapath_hooks import hooks
from ansible.module_utils.datapath_links import index_of
from ansible.module_utils.datapath_tunnel import Tunnel, device_of
from ansible.module_utils.labctl_node.files import read_text, sha256_of
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import CommandFailed, run

CABLE_PROGRAM = "cable_ingress"
POD_PROGRAM = "pod_ingress"
TUNNEL_PROGRAM = "tunnel_ingress"
DECRYPTED_PROGRAM = "decrypted_ingress"
# Entries of the counter map, as the .bpf.c file numbers them.
COUNTERS = {CABLE_PROGRAM: (0, 1), POD_PROGRAM: (2, 3), TUNNEL_PROGRAM: (4, 5), DECRYPTED_PROGRAM: (6, 7)}
NAME_LENGTH = 15
# Helpers by their number in the kernel's interface, with the release that brought each.
HELPERS = {
    43: ("bpf_skb_change_head", "Linux 4.10"),
    69: ("bpf_fib_lookup", "Linux 4.18"),
    152: ("bpf_redirect_neigh", "Linux 5.10"),
    155: ("bpf_redirect_peer", "Linux 5.10"),
}
UNKNOWN_HELPER = re.compile(r"(?:unknown func|invalid func|program of this type cannot use helper) \S*?#(\d+)")


def refuse_foreign_programs(interface: str) -> None:
    """Refuse an interface on which somebody else filters packets."""
    if has_clsact(interface):
        raise Refused(
            f"{interface} carries a clsact qdisc that labctl did not make: `tc filter show dev {interface} ingress` "
            "names its programs. Stop what attached them "
            f"(`tc qdisc delete dev {interface} clsact` removes them), then deploy again"
        )


def has_clsact(interface: str) -> bool:
    """Whether programs can be attached to the interface."""
    return any(hook.kind == "clsact" for hook in hooks(interface))


def explain(failure: str, release: str) -> str:
    """Return why a kernel refused the object, naming a missing helper and the kernel that has it."""
    found = UNKNOWN_HELPER.search(failure)
    if found:
        number = int(found.group(1))
        name, since = HELPERS.get(number, (f"BPF helper {number}", "a later release"))
        return f"Kernel {release} lacks {name}, which came with {since}: the programs need Linux 5.10 or later"
    return f"Kernel {release} refuses the tc programs."


def sum_of(path: str) -> str:
    """Return the sha256 of an object on this node."""
    try:
        return sha256_of(path)
    except FileNotFoundError as absent:
        raise Refused(
            "The tc programs are not on this node.", where=path, hint="Run `labctl provision` first."
        ) from absent


def sum_file(path: str) -> str:
    """Return where the sum of an object is written when it is installed."""
    return f"{path}.sha256"


def load(path: str) -> str:
    """Load the object and pin it; return the folder with its pins, which ends with this process."""
    seen, recorded = sum_of(path), read_text(sum_file(path))
    if seen != recorded:
        raise Refused(
            "The tc programs on this node are not those that were installed.",
            where=path,
            seen=f"sha256 {seen}, installed {recorded}",
            hint="Run `labctl provision` again.",
        )
    mount_private_bpf()
    folder = f"{BPF_MOUNT}/labctl"
    try:
        run(["bpftool", "prog", "loadall", path, folder, "type", "classifier", "pinmaps", f"{folder}-maps"])
    except CommandFailed as failure:
        raise Refused(explain(failure.output, platform.release()), seen=failure.output.strip()[-2000:]) from failure
    return folder


def places(cable: str, host_end: str, tunnel: Tunnel | None, redirect_peer: bool) -> dict[str, str]:
    """Return which program hangs on the ingress of which interface.

    What WireGuard decrypts comes in by its own device and leaves by it, so the cable needs no program. What XFRM
    decrypts comes in by the cable once more, as if it had not been encrypted; `redirect_peer` is whether it may go into
    the pod directly. On its way out a packet has to go through the stack, where XFRM takes it.
    """
    if tunnel is None:
        return {cable: CABLE_PROGRAM, host_end: POD_PROGRAM}
    if tunnel.kind == "esp":
        return {cable: CABLE_PROGRAM if redirect_peer else DECRYPTED_PROGRAM}
    return {device_of(tunnel): TUNNEL_PROGRAM, host_end: POD_PROGRAM}


def attach(path: str, cable: str, host_end: str, tunnel: Tunnel | None, redirect_peer: bool) -> None:
    """Attach the programs of the object that the path takes, configured for its interfaces."""
    folder = load(path)
    for key, interface in enumerate((host_end, device_of(tunnel) if tunnel else cable)):
        _set_map(f"{folder}-maps/veth_devices", key, index_of(interface))
    commands = []
    for interface, program in places(cable, host_end, tunnel, redirect_peer).items():
        pin = f"{folder}/{_pin_of(folder, program)}"
        commands += [
            f"qdisc add dev {interface} clsact",
            f"filter add dev {interface} ingress protocol ip prio 1 handle 1 bpf direct-action object-pinned {pin}",
        ]
    run(["tc", "-batch", "-"], "\n".join(commands) + "\n")


def detach(cable: str) -> None:
    """Take the programs off the cable; those of the pod's host end and of a tunnel's device go with these."""
    if has_clsact(cable):
        run(["tc", "qdisc", "delete", "dev", cable, "clsact"])


def observe_programs(interface: str) -> list[dict[str, Any]]:
    """Return the programs on an interface, by tcx and tc, as [{"id": number, "name": ..., "direction": "ingress"}].

    A name has the 15 characters that the kernel keeps.
    """
    return [
        {"id": hook.number, "name": hook.name, "direction": hook.where, "maps": list(hook.maps)}
        for hook in hooks(interface)
        if hook.number is not None
    ]


def ours(name: str) -> str | None:
    """Return which of our programs has this name, of which the kernel keeps 15 characters; None for another's."""
    return next((program for program in COUNTERS if program[:NAME_LENGTH] == name[:NAME_LENGTH]), None)


def read_counters(maps: Sequence[int]) -> dict[str, dict[str, int]]:
    """Return what the programs that share these maps counted: {program: {"hits": packets, "passed": packets}}."""
    for number in maps:
        if map_name(number) == "veth_counters":
            counts = counts_in(number, 2 * len(COUNTERS))
            return {name: {"hits": counts[hits], "passed": counts[passed]} for name, (hits, passed) in COUNTERS.items()}
    raise Refused("The attached programs are not labctl's.", seen="they have no map veth_counters")


def _set_map(pin: str, key: int, value: int) -> None:
    def octets(number: int) -> list[str]:
        return [str(octet) for octet in number.to_bytes(4, sys.byteorder)]

    run(["bpftool", "map", "update", "pinned", pin, "key", *octets(key), "value", *octets(value)])


def _pin_of(folder: str, program: str) -> str:
    # Old libbpf names a pin after the section, newer after the function; both end in the function's name.
    for name in os.listdir(folder):
        if name.endswith(program):
            return name
    raise Refused(f"The object has no program {program}.", seen=", ".join(sorted(os.listdir(folder))))
