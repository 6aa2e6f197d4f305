"""Attaches a program to a new control group: `python3 - GROUP KIND`, for what sockets of the group do.

`connect`: it sees connect(2), as that of a CNI in place of kube-proxy does; `receive`: every packet. It lets all pass,
and goes with the group. No tool loads a program without a compiled object.
"""

import ctypes
import os
import platform
import sys
from pathlib import Path

PROG_LOAD, PROG_ATTACH = 5, 8
# Type of the program, and where it is attached.
KINDS = {"connect": (18, 10), "receive": (8, 0)}
NUMBER = {"x86_64": 321, "aarch64": 280}
RETURN_1 = bytes.fromhex("b7000000010000009500000000000000")  # r0 = 1; exit


class Load(ctypes.Structure):
    """Of union bpf_attr, for BPF_PROG_LOAD."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("instructions", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log", ctypes.c_uint64 * 2),
        ("version_and_flags", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
        ("interface", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
    )


class Attach(ctypes.Structure):
    """Of union bpf_attr, for BPF_PROG_ATTACH."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("group", "program", "type", "flags"))


def bpf(command: int, attributes: ctypes.Structure) -> int:
    """Ask the kernel; returns what it returns."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = ctypes.sizeof(attributes)
    answer = int(libc.syscall(NUMBER[platform.machine()], command, ctypes.byref(attributes), size))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def attach(group: str, kind: str) -> None:
    """Make the group, and have the program on it."""
    Path(group).mkdir()
    code, license_ = ctypes.create_string_buffer(RETURN_1), ctypes.create_string_buffer(b"GPL")
    texts = ctypes.addressof(code), ctypes.addressof(license_)
    program, place = KINDS[kind]
    load = Load(program, 2, *texts, name=b"stranger", attach_type=place)
    bpf(PROG_ATTACH, Attach(os.open(group, os.O_RDONLY), bpf(PROG_LOAD, load), place, 0))


attach(*sys.argv[1:])
