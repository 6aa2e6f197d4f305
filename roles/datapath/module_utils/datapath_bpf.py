"""The bpf system call, for what no tool does, and a BPF file system of one's own for what is pinned."""

from __future__ import annotations

import ctypes
import os
import platform

from ansible.module_utils.labctl_node.refused import Refused

# The number of bpf(2) by machine.
NUMBERS = {"x86_64": 321, "aarch64": 280}
BPF_MOUNT = "/sys/fs/bpf"
CLONE_NEWNS = 0x00020000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18


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
