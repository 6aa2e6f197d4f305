"""WireGuard between two nodes: the kernel's own, or Debian's wireguard-go where the kernel has none."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import socket

from ansible.module_utils.datapath_keys import decoded, private_key
from ansible.module_utils.datapath_links import link_of
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import CommandFailed, run
from ansible.module_utils.labctl_node.units import last_words, look, remove_unit, start_unit, stop_unit, unit_exists
from ansible.module_utils.labctl_node.wait import wait_until

DEVICE = "labctl-wg0"
UNIT = "labctl-wireguard.service"
PROGRAM = "/usr/bin/wireguard-go"
SOCKET = f"/var/run/wireguard/{DEVICE}.sock"
TUN = "/dev/net/tun"
START_S = 10.0


def kernel_has_wireguard() -> bool:
    """Whether the kernel makes a WireGuard device, tried in a network namespace that ends with the try."""
    try:
        run(["unshare", "--net", "ip", "link", "add", DEVICE, "type", "wireguard"])
    except CommandFailed:
        return False
    return True


def refuse_foreign(port: int) -> None:
    """Refuse a device of our name, and a UDP port that something else holds."""
    if link_of(DEVICE):
        raise Refused(
            f"This node has an interface {DEVICE} that labctl did not record as its own.",
            hint=f"If nothing needs it: ip link delete {DEVICE}",
        )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 - where WireGuard listens: on every address
        except OSError as taken:
            if taken.errno != errno.EADDRINUSE:
                raise
            raise Refused(
                f"UDP port {port} of this node is taken, by a tunnel or a program that labctl did not make.",
                hint="`wg show all listen-port` and `ss -ulnp` name it. Stop it, or give the tunnel another port "
                "(tunnel_port in the lab's inventory).",
            ) from taken


def configuration(port: int, peer_address: str, peer_network: str, peer_key: str) -> str:
    """Return what `wg setconf` reads. Holds the private key."""
    decoded(peer_key, "the other node's public key")
    return (
        f"[Interface]\nPrivateKey = {private_key()}\nListenPort = {port}\n"
        f"[Peer]\nPublicKey = {peer_key}\nEndpoint = {peer_address}:{port}\nAllowedIPs = {peer_network}\n"
    )


def unit_text() -> str:
    """Return the unit of wireguard-go."""
    return (
        "[Unit]\nDescription=wireguard-go of labctl\n\n"
        f"[Service]\nType=exec\nEnvironment=LOG_LEVEL=error\nExecStart={PROGRAM} --foreground {DEVICE}\n"
    )


def build(kind: str, port: int, peer_address: str, peer_network: str, peer_key: str, mtu: int) -> None:
    """Bring the device up, with its peer."""
    text = configuration(port, peer_address, peer_network, peer_key)
    if kind == "kernel":
        _add_kernel_device()
    else:
        _start_program()
    run(["wg", "setconf", DEVICE, "/dev/stdin"], text)
    run(["ip", "link", "set", "dev", DEVICE, "addrgenmode", "none"])
    run(["ip", "link", "set", "dev", DEVICE, "mtu", str(mtu), "up"])
    _speak_first(peer_key)


def _speak_first(peer_key: str) -> None:
    """Let the device send a keepalive now, and with it agree on a session with its peer.

    A peer that is older than this device would go on in a session that died with the one before, for up to 15 s.
    """
    for interval in ("1", "off"):
        run(["wg", "set", DEVICE, "peer", peer_key, "persistent-keepalive", interval])


def _add_kernel_device() -> None:
    try:
        run(["ip", "link", "add", DEVICE, "type", "wireguard"])
    except CommandFailed as failure:
        what = f"Kernel {platform.release()} has no WireGuard."
        raise Refused(what, seen=failure.output.strip(), hint="That takes CONFIG_WIREGUARD.") from failure


def _start_program() -> None:
    if not os.path.exists(TUN):
        raise Refused(
            "wireguard-go needs a TUN device, and this node has none.", where=TUN, hint="It takes CONFIG_TUN."
        )
    if not os.path.exists(PROGRAM):
        raise Refused("wireguard-go is not installed.", where=PROGRAM, hint="Run `labctl provision` first.")
    start_unit(UNIT, unit_text())
    if not wait_until(lambda: os.path.exists(SOCKET) or not look(UNIT)[0], START_S) or not look(UNIT)[0]:
        raise Refused(f"wireguard-go does not serve {DEVICE}.", where=UNIT, seen=last_words(UNIT))


def remove() -> None:
    """Remove what of it is there."""
    if unit_exists(UNIT):
        stop_unit(UNIT)
        remove_unit(UNIT)
        if not wait_until(lambda: link_of(DEVICE) is None, START_S):
            raise Refused(f"{UNIT} was stopped, and {DEVICE} is still there.", hint=f"ip link delete {DEVICE}")
        with contextlib.suppress(FileNotFoundError):  # it removed it itself
            os.remove(SOCKET)
        with contextlib.suppress(OSError):  # gone, or others have sockets there
            os.rmdir(os.path.dirname(SOCKET))
    elif link_of(DEVICE):
        run(["ip", "link", "delete", "dev", DEVICE])


def observe() -> str:
    """Return the device's configuration, the private key among it."""
    return run(["wg", "showconf", DEVICE])


def carried(device: str = DEVICE) -> dict[str, int]:
    """Return bytes received and sent by a device's one peer, as WireGuard counts them: with its own headers."""
    received, sent = run(["wg", "show", device, "transfer"]).split()[1:3]
    return {"received": int(received), "sent": int(sent)}
