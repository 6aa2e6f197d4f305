"""What a node can encrypt with: tried in network namespaces that end with the try, so nothing is left."""

from __future__ import annotations

import os
import re
from typing import Dict, Optional, Tuple

from ansible.module_utils.datapath_peer import decrypted_passes
from ansible.module_utils.fingerprint_probe import Files, Outputs

TUN = "/dev/net/tun"
_STATE = (
    "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 mode tunnel "
    "aead 'rfc4106(gcm(aes))' 0x0000000000000000000000000000000000000001 128"
)


def _try(command: str) -> Tuple[str, ...]:
    # What cannot be tried at all, for want of unshare or of the right to use it, prints nothing: not known.
    return ("unshare", "--net", "sh", "-c", f"{command} > /dev/null 2>&1 && echo yes || echo no")


COMMANDS = {
    "wireguard": _try("ip link add labctl-wg0 type wireguard"),
    "esp": _try(_STATE),
}
# The algorithms of WireGuard and of our ESP, and the ciphers below them.
ALGORITHMS = ("rfc4106(gcm(aes))", "gcm(aes)", "aes", "rfc7539(chacha20,poly1305)", "chacha20", "curve25519")


def tunnels(files: Files, outputs: Outputs) -> Dict[str, object]:
    """Which WireGuard the node has, whether its kernel takes ESP with AES-GCM, and the drivers of their algorithms.

    WireGuard is `kernel`, else `wireguard-go` where a program can make a device. Drivers are those loaded just now.
    `esp_redirect_peer` is whether decrypted packets survive bpf_redirect_peer, null where there are none or it is not
    known.
    """
    kernel, esp = (_answer(outputs.output(name)) for name in ("wireguard", "esp"))
    tun = os.path.exists(files.path(TUN))
    return {
        "wireguard": "kernel" if kernel else "wireguard-go" if tun else None,
        "tun": tun,
        "esp": esp,
        "esp_redirect_peer": decrypted_passes() if esp else None,
        "drivers": drivers(files.text("/proc/crypto") or ""),
    }


def _answer(text: Optional[str]) -> Optional[bool]:
    return {"yes": True, "no": False}.get((text or "").strip())


def drivers(text: str) -> Optional[Dict[str, str]]:
    """The driver of the highest priority by algorithm, in the text of /proc/crypto; None for none of ours."""
    best: Dict[str, Tuple[int, str]] = {}
    for entry in text.split("\n\n"):
        fields = dict(re.findall(r"^(\w+)\s*: (.*)$", entry, re.MULTILINE))
        name, driver = fields.get("name"), fields.get("driver", "").strip()
        # An entry without one (type larval) is the kernel's note that somebody asks for the algorithm, as our try does.
        if name in ALGORITHMS and driver:
            best[name] = max(best.get(name, (-1, "")), (int(fields.get("priority", 0)), driver))
    return {name: driver for name, (_, driver) in sorted(best.items())} or None
