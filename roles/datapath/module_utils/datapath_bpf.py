"""The bpf system call, for what no tool does, and a BPF file system of one's own for what is pinned.

Programs that hang on an interface by tcx (Linux 6.6 and later) are asked for here: tc does not list them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform

from ansible.module_utils.labctl_node.refused import Refused

# The number of bpf(2) by machine.
NUMBERS = {"x86_64": 321, "aarch64": 280}
BPF_MOUNT = "/sys/fs/bpf"
CLONE_NEWNS = 0x00020000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
# The command of bpf(2), and the attach types of enum bpf_attach_type.
PROG_QUERY = 16
DIRECTIONS = {"ingress": 46, "egress": 47}
MOST = 64
# What a kernel says that has no tcx.
WITHOUT = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT)


def bpf(command: int, attributes: ctypes.Structure) -> int:
    """Return what the kernel returns for a command of enum bpf_cmd; raise OSError where it refuses."""
    number = NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(0, f"the number of bpf(2) on {platform.machine()} is not known here")
    libc = ctypes.CDLL(None, use_errno=True)
    answer = int(libc.syscall(number, command, ctypes.byref(attributes), ctypes.sizeof(attributes)))
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


def mount_private_bpf() -> None:
    """Go into a mount namespace with a BPF file system of its own: what is pinned there ends with this process."""
    if not os.path.isdir(BPF_MOUNT):
        raise Refused(
            f"Kernel {platform.release()} has no BPF system call.",
            where=BPF_MOUNT,
            seen="no such directory",
            hint="BPF programs need a kernel built with CONFIG_BPF_SYSCALL.",
        )
    libc = ctypes.CDLL(None, use_errno=True)
    for code in (
        libc.unshare(CLONE_NEWNS),
        libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        libc.mount(b"bpf", BPF_MOUNT.encode(), b"bpf", 0, None),
    ):
        if code != 0:
            reason = os.strerror(ctypes.get_errno())
            raise Refused(
                "No private BPF filesystem can be mounted.", seen=reason, hint="This takes CAP_SYS_ADMIN and CAP_BPF."
            )


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
