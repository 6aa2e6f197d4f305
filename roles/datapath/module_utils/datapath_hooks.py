"""Everything that takes packets on the interfaces of this network namespace, on their way in or out.

That is queueing disciplines that somebody set, filters with their actions, and programs by tc and by tcx.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from ansible.module_utils.datapath_bpf import program_info, programs_of
from ansible.module_utils.datapath_netlink import GET_FILTER, GET_QDISC, Entry, attributes_of, dump, text_of

ROOT = 0xFFFFFFFF
# Where filters hang on a qdisc of the kinds clsact and ingress.
FILTERED = ("clsact", "ingress")
PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
# Attributes of filters (include/uapi/linux/pkt_cls.h): of bpf, of u32, and by kind the one with the actions.
BPF_NAME, BPF_ID, U32_SELECTOR = 7, 11, 5
ACTIONS = {"bpf": 1, "cgroup": 1, "matchall": 2, "basic": 3, "flower": 3, "fw": 4, "route": 6, "u32": 7, "flow": 9}


@dataclass(frozen=True)
class Hook:
    """`where` is root, ingress, egress or the parent's number, `kind` that of a qdisc or filter, or tcx.

    `name` is a program's: the kernel's 15 characters, or file and section where it was loaded without a name, as by
    iproute2; of other filters, their actions. `number` and `maps` are a program's.
    """

    device: str
    where: str
    kind: str
    name: str = ""
    number: Optional[int] = None
    maps: Tuple[int, ...] = ()

    def __str__(self) -> str:
        return " ".join(word for word in (self.device, self.where, self.kind, self.name) if word)


def qdiscs(entries: Sequence[Entry], names: dict[int, str]) -> List[Hook]:
    """Return the queueing disciplines that somebody set. The ones that the kernel brings itself have no handle."""
    return [
        Hook(names[entry.index], _place(entry.parent), entry.kind)
        for entry in entries
        if entry.handle and entry.index in names
    ]


def _place(parent: int) -> str:
    if parent == ROOT:
        return "root"
    return "" if parent >= PARENTS["ingress"] - 1 else f"{parent >> 16:x}:{parent & 0xFFFF:x}"


def filters(device: str, where: str, entries: Sequence[Entry]) -> List[Hook]:
    """Return the filters at one place. Heads of lists and hash tables, which take nothing, are left out."""
    found = []
    for entry in entries:
        options = entry.options
        if not entry.handle or (entry.kind == "u32" and U32_SELECTOR not in options):
            continue
        acting = attributes_of(options.get(ACTIONS.get(entry.kind, 0), b""))
        actions = ", ".join(text_of(attributes_of(action).get(1, b"")) for _, action in sorted(acting.items()))
        if entry.kind == "bpf" and BPF_ID in options:
            number = int(struct.unpack("=I", options[BPF_ID])[0])
            found.append(_program(device, where, "bpf", number, text_of(options.get(BPF_NAME, b"")), actions))
        else:
            found.append(Hook(device, where, entry.kind, actions))
    return found


def _program(device: str, where: str, kind: str, number: int, called: str = "", actions: str = "") -> Hook:
    info = program_info(number)
    name = ", ".join(word for word in (info["name"] or called, actions) if word)
    return Hook(device, where, kind, name, number, tuple(info["maps"]))


def hooks(device: str = "") -> List[Hook]:
    """Return the hooks on one interface, or on all of this namespace."""
    names = {index: name for index, name in socket.if_nameindex() if device in ("", name)}
    found = qdiscs(list(dump(GET_QDISC)), names)
    filtered = {hook.device for hook in found if hook.kind in FILTERED}
    for index, name in names.items():
        for where, parent in PARENTS.items():
            found += [_program(name, where, "tcx", number) for number in programs_of(index, where)]
            if name in filtered:
                found += filters(name, where, list(dump(GET_FILTER, index, parent)))
    return found
