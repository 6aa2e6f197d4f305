"""The bpf system call, for what no tool does."""

from __future__ import annotations

import ctypes
import os
import platform

# The number of bpf(2) by machine.
NUMBERS = {"x86_64": 321, "aarch64": 280}


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
