"""Programs that hang on an interface by tcx (Linux 6.6 and later): tc does not list them, the kernel is asked."""

from __future__ import annotations

import ctypes
import errno
import platform

from ansible.module_utils.datapath_bpf import NUMBERS, bpf
from ansible.module_utils.labctl_node.refused import Refused

# The command of bpf(2), and the attach types of enum bpf_attach_type.
PROG_QUERY = 16
DIRECTIONS = {"ingress": 46, "egress": 47}
MOST = 64
# What a kernel says that has no tcx.
WITHOUT = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT)


class _Query(ctypes.Structure):
    """The part of union bpf_attr that BPF_PROG_QUERY reads and writes, as of Linux 6.6."""

    _fields_ = (
        ("target_ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("query_flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_uint64),
        ("prog_cnt", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("prog_attach_flags", ctypes.c_uint64),
        ("link_ids", ctypes.c_uint64),
        ("link_attach_flags", ctypes.c_uint64),
        ("revision", ctypes.c_uint64),
    )


def programs_of(index: int, direction: str) -> list[int]:
    """Return the numbers of the programs on the interface of this index, in the order in which they run."""
    if platform.machine() not in NUMBERS:
        return []
    ids = (ctypes.c_uint32 * MOST)()
    query = _Query(target_ifindex=index, attach_type=DIRECTIONS[direction], prog_cnt=MOST)
    query.prog_ids = ctypes.addressof(ids)
    try:
        bpf(PROG_QUERY, query)
    except OSError as refusal:
        if refusal.errno in WITHOUT:
            return []
        what = f"The kernel does not say which programs hang on interface {index}."
        raise Refused(what, seen=str(refusal)) from refusal
    return list(ids[: query.prog_cnt])
