"""Who listens where: read from the kernel's own tables of sockets."""

from __future__ import annotations

import socket
import sys

LISTEN = "0A"


def listens(pid: int, address: str, port: int) -> bool:
    """Whether some socket in the process's network namespace listens on this IPv4 address and port."""
    try:
        with open(f"/proc/{pid}/net/tcp", encoding="ascii") as stream:
            return listening_in(stream.read(), address, port)
    except FileNotFoundError:
        return False


def listening_in(table: str, address: str, port: int) -> bool:
    """Whether a table in the form of /proc/net/tcp has a listening socket on this address and port."""
    number = int.from_bytes(socket.inet_aton(address), sys.byteorder)
    wanted = f"{number:08X}:{port:04X}"
    rows = (line.split() for line in table.splitlines()[1:])
    return any(row[1] == wanted and row[3] == LISTEN for row in rows)
