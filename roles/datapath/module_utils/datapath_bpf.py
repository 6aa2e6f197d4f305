"""The bpf system call, for what no tool does, and a BPF file system of one's own for what is pinned.

Programs that hang on an interface by tcx (Linux 6.6 and later) are asked for here: tc does not list them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List

from ansible.module_utils.datapath_namespace import mount_privately, refused_as
from ansible.module_utils.labctl_node.refused import Refused

# The number of bpf(2) by machine.
NUMBERS = {"x86_64": 321, "aarch64": 280}
BPF_MOUNT = "/sys/fs/bpf"
# Commands of bpf(2), and the attach types of enum bpf_attach_type.
MAP_LOOKUP, PROG_BY_ID, MAP_BY_ID, INFO_BY_FD, PROG_QUERY = 1, 13, 14, 15, 16
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
    with refused_as("No private BPF filesystem can be mounted.", hint="This takes CAP_SYS_ADMIN and CAP_BPF."):
        mount_privately("bpf", BPF_MOUNT)


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


class _ById(ctypes.Structure):
    """The part of union bpf_attr that BPF_PROG_GET_FD_BY_ID and BPF_MAP_GET_FD_BY_ID read."""

    _fields_ = (("number", ctypes.c_uint32), ("next", ctypes.c_uint32), ("flags", ctypes.c_uint32))


class _Info(ctypes.Structure):
    """The part of union bpf_attr that BPF_OBJ_GET_INFO_BY_FD reads."""

    _fields_ = (("descriptor", ctypes.c_uint32), ("length", ctypes.c_uint32), ("info", ctypes.c_uint64))


class _Element(ctypes.Structure):
    """The part of union bpf_attr that BPF_MAP_LOOKUP_ELEM reads."""

    _fields_ = (
        ("descriptor", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


class _ProgramInfo(ctypes.Structure):
    """The first part of struct bpf_prog_info, which every kernel of ours has (4.15)."""

    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("code", ctypes.c_uint32 * 2),
        ("code_at", ctypes.c_uint64 * 2),
        ("loaded", ctypes.c_uint64),
        ("user", ctypes.c_uint32),
        ("map_count", ctypes.c_uint32),
        ("maps", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
    )


class _MapInfo(ctypes.Structure):
    """The first part of struct bpf_map_info."""

    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


@contextmanager
def _opened(command: int, number: int) -> Iterator[int]:
    """Hold the program or map of this number. Raise Refused where there is none any more."""
    try:
        descriptor = bpf(command, _ById(number=number))
    except OSError as refusal:
        what = f"The kernel does not give its BPF {'program' if command == PROG_BY_ID else 'map'} {number}."
        raise Refused(what, seen=str(refusal), hint="Was it replaced in this moment? Then try again.") from refusal
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def program_info(number: int) -> Dict[str, Any]:
    """Return `name` of a program, as much of it as the kernel keeps (15 characters), and the numbers of its `maps`."""
    maps = (ctypes.c_uint32 * MOST)()
    info = _ProgramInfo(map_count=MOST, maps=ctypes.addressof(maps))
    with _opened(PROG_BY_ID, number) as descriptor:
        bpf(INFO_BY_FD, _Info(descriptor, ctypes.sizeof(info), ctypes.addressof(info)))
    return {"name": info.name.decode(), "maps": list(maps[: info.map_count])}


def map_name(number: int) -> str:
    """Return the name of a map."""
    info = _MapInfo()
    with _opened(MAP_BY_ID, number) as descriptor:
        bpf(INFO_BY_FD, _Info(descriptor, ctypes.sizeof(info), ctypes.addressof(info)))
    return str(info.name.decode())


def counts_in(number: int, entries: int) -> List[int]:
    """Return the first entries of a per-CPU array of 64-bit counters, each summed over the CPUs."""
    values = (ctypes.c_uint64 * possible_cpus())()
    found = []
    with _opened(MAP_BY_ID, number) as descriptor:
        for entry in range(entries):
            key = ctypes.c_uint32(entry)
            bpf(MAP_LOOKUP, _Element(descriptor, 0, ctypes.addressof(key), ctypes.addressof(values)))
            found.append(sum(values))
    return found


def possible_cpus() -> int:
    """Return for how many CPUs the kernel keeps values: the highest one that it could ever have, and one."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as stream:
        return int(stream.read().strip().replace(",", "-").rsplit("-", 1)[-1]) + 1


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
