"""Whether a packet that XFRM decrypted survives bpf_redirect_peer: tried on the node's kernel, once per boot.

Before commit c4327229 (Linux 6.15, and stable kernels that took it over) the packet keeps XFRM's security path on its
way into the pod's namespace, whose policies, of which there are none, then drop it: XfrmInNoPols counts that. The try
sends such packets through namespaces that end with it: a sender that encrypts, the node that decrypts and redirects, a
pod that waits.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable

from ansible.module_utils.datapath_bpf import BPF_MOUNT, bpf, mount_private_bpf
from ansible.module_utils.datapath_links import index_of
from ansible.module_utils.labctl_node.files import read_text, write_text
from ansible.module_utils.labctl_node.run import run

# Where the answer is kept: a file system that a boot empties.
ANSWER = "/run/labctl/redirect_peer"
_WORDS = {"yes": True, "no": False}
# How long packets are sent, and how long the whole try may take; an emulated node needs seconds.
SENDING_S = 3.0
TRY_S = 20.0
NODE, SENDER, POD, PORT = "192.0.2.1", "192.0.2.2", "198.51.100.2", 9999
LINKS = f"""
link add cable type veth peer name cable netns sender
link add host type veth peer name eth0 netns pod
address add {NODE}/24 dev cable
link set cable up
link set host up
"""
STATE = (
    f"xfrm state add src {SENDER} dst {NODE} proto esp spi 0x1000 mode tunnel "
    f"aead rfc4106(gcm(aes)) 0x{'01' * 20} 128\n"
)
OF_SENDER = f"""
address add {SENDER}/24 dev cable
link set cable up
route add {POD} via {NODE}
xfrm policy add src {SENDER} dst {POD} dir out tmpl src {SENDER} dst {NODE} proto esp mode tunnel
"""
OF_POD = f"""
link set eth0 up
address add {POD}/32 dev eth0
route add default dev eth0
"""
# tc commands that hang the pinned program on the node's end of the cable.
PIN = f"{BPF_MOUNT}/try"
FILTER = f"""
qdisc add dev cable clsact
filter add dev cable ingress bpf direct-action object-pinned {PIN}
"""
REDIRECT_PEER = 155
PROTOCOL_AT = 14 + 9  # the protocol's octet of IPv4, behind the Ethernet header
CLONE_NEWNET = 0x40000000
PROG_LOAD, OBJ_PIN, SCHED_CLS = 5, 6, 3


class _Program(ctypes.Structure):
    """The part of union bpf_attr that BPF_PROG_LOAD has to have."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_char_p),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
    )


class _Pin(ctypes.Structure):
    """The part of union bpf_attr that BPF_OBJ_PIN has to have."""

    _fields_ = (("pathname", ctypes.c_char_p), ("bpf_fd", ctypes.c_uint32), ("file_flags", ctypes.c_uint32))


def decrypted_passes() -> bool | None:
    """Return whether decrypted packets reach a pod by bpf_redirect_peer. None where the kernel cannot be asked.

    The answer is kept until the next boot, for the try switches the kernel's hooks on and off again.
    """
    kept = _WORDS.get(read_text(ANSWER) or "")
    if kept is not None:
        return kept
    answer = _ask()
    if answer is not None:
        os.makedirs(os.path.dirname(ANSWER), exist_ok=True)
        write_text(ANSWER, "yes\n" if answer else "no\n")
    return answer


def _ask() -> bool | None:
    # A process of its own goes into the namespaces, so that this one stays where it is.
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, {True: b"yes", False: b"no", None: b""}[_try()])
        finally:  # whatever kept it from an answer, there is none
            os._exit(0)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], TRY_S)
        answer = os.read(reader, 3) if ready else b""
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return _WORDS.get(answer.decode())


def program(index: int) -> bytes:
    """Return the instructions: what is UDP goes to the peer of the interface with this index, all else to the stack."""
    instructions = (
        (0xBF, 0x16, 0, 0),  # r6 = r1, where LD_ABS looks for the packet
        (0x30, 0, 0, PROTOCOL_AT),  # r0 = octet of the packet
        (0x55, 0, 4, socket.IPPROTO_UDP),  # not UDP: four further
        (0xB7, 1, 0, index),  # r1 = index
        (0xB7, 2, 0, 0),  # r2 = flags
        (0x85, 0, 0, REDIRECT_PEER),
        (0x95, 0, 0, 0),  # return its answer
        (0xB7, 0, 0, 0),  # r0 = TC_ACT_OK
        (0x95, 0, 0, 0),
    )
    return b"".join(struct.pack("=BBhi", *instruction) for instruction in instructions)


def _try() -> bool | None:
    libc = ctypes.CDLL(None, use_errno=True)

    def done(code: int) -> None:
        if code != 0:
            raise OSError(ctypes.get_errno(), "no namespace of its own")

    def enter(path: str) -> None:
        with open(path, "rb") as namespace:
            done(libc.setns(namespace.fileno(), CLONE_NEWNET))

    done(libc.unshare(CLONE_NEWNET))
    # The pin and the names of namespaces are in mounts that nobody else sees.
    mount_private_bpf()
    done(libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, None))
    run(["ip", "-batch", "-"], "netns add sender\nnetns add pod\n")
    run(["ip", "-batch", "-"], LINKS + STATE)
    run(["ip", "-netns", "sender", "-batch", "-"], OF_SENDER + STATE)
    run(["ip", "-netns", "pod", "-batch", "-"], OF_POD)
    _pin(program(index_of("host")))
    run(["tc", "-batch", "-"], FILTER)
    # The node's namespace lives as long as somebody holds it.
    with open("/proc/self/ns/net", "rb"):
        enter("/run/netns/sender")
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        enter("/run/netns/pod")
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind((POD, PORT))
        return _arrives(sender, receiver, lambda: _counter("XfrmInNoPols"))


def _arrives(sender: socket.socket, receiver: socket.socket, refused: Callable[[], int]) -> bool | None:
    """Return True when a datagram arrives, False when the receiver's policies refuse one, None when neither happens."""
    receiver.settimeout(0.05)
    until = time.monotonic() + SENDING_S
    while time.monotonic() < until:
        sender.sendto(b"labctl", (POD, PORT))
        try:
            receiver.recv(16)
            return True
        except socket.timeout:
            if refused():
                return False
    return None


def _counter(name: str) -> int:
    counters = str(read_text("/proc/self/net/xfrm_stat")).splitlines()
    return int(dict(line.split() for line in counters)[name])


def _pin(instructions: bytes) -> None:
    held = ctypes.create_string_buffer(instructions, len(instructions))
    loaded = bpf(
        PROG_LOAD,
        _Program(prog_type=SCHED_CLS, insn_cnt=len(instructions) // 8, insns=ctypes.addressof(held), license=b"GPL"),
    )
    bpf(OBJ_PIN, _Pin(pathname=PIN.encode(), bpf_fd=loaded))
