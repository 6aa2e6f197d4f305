"""The keys of a tunnel: made on the node, for one deployment, and never anywhere else.

Each node makes an X25519 key and shows the other its public half, whatever the tunnel. WireGuard takes the keys as they
are. The static keys of ESP follow on either node from the secret that both halves give, so none of them is ever sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os

from ansible.module_utils.datapath_record import forget
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import CommandFailed, run_bytes

KEY_FILE = "/run/labctl/tunnel.key"
KEY_BYTES = 32
ANEW = "Undeploy the setup, and deploy it again."
# What stands before the 32 bytes of an X25519 key in the containers that openssl reads (RFC 8410, section 10).
PRIVATE_PREFIX = bytes.fromhex("302e020100300506032b656e04220420")
PUBLIC_PREFIX = bytes.fromhex("302a300506032b656e032100")


def make_key() -> bool:
    """Make this node's private key, readable by root alone, unless it has one; returns whether it was made."""
    if os.path.exists(KEY_FILE):
        return False
    os.makedirs(os.path.dirname(KEY_FILE), exist_ok=True)
    handle = os.open(KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
    return True


def forget_key() -> bool:
    """Remove this node's private key; returns whether there was one. The folder goes too when nothing else is in it."""
    there = os.path.exists(KEY_FILE)
    if there:
        forget(KEY_FILE)
    return there


def decoded(text: str, what: str) -> bytes:
    """Return the 32 bytes of a key in base64. Refused where it is none; the message does not show it."""
    try:
        octets = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as wrong:
        raise Refused(f"A key is not base64: {what}.", hint=ANEW) from wrong
    if len(octets) != KEY_BYTES:
        raise Refused(f"A key has {KEY_BYTES} bytes: {what}.", seen=f"{len(octets)} bytes", hint=ANEW)
    return octets


def private_key() -> str:
    """Return this node's private key in base64."""
    try:
        mode = os.stat(KEY_FILE).st_mode & 0o777
        with open(KEY_FILE, encoding="ascii") as stream:
            text = stream.read().strip()
    except (FileNotFoundError, UnicodeDecodeError) as wrong:
        raise Refused("This node's tunnel has no key.", where=KEY_FILE, hint=ANEW) from wrong
    if mode != 0o600:
        raise Refused("Others may know the tunnel's key.", where=KEY_FILE, seen=f"mode {mode:04o}", hint=ANEW)
    decoded(text, f"the key in {KEY_FILE}")
    return text


def public_key() -> str:
    """Return the public half of this node's key in base64."""
    private = PRIVATE_PREFIX + decoded(private_key(), f"the key in {KEY_FILE}")
    shown = run_bytes(["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"], private)
    return base64.b64encode(shown[-KEY_BYTES:]).decode()


def shared_secret(peer: str) -> bytes:
    """Return what this node's private key and the other's public one give; the other node gets the same."""
    private = PRIVATE_PREFIX + decoded(private_key(), f"the key in {KEY_FILE}")
    public = PUBLIC_PREFIX + decoded(peer, "the other node's public key")
    # openssl reads the other node's key from a file: a pipe that this process fills beforehand.
    reader, writer = os.pipe()
    try:
        os.write(writer, public)
        os.close(writer)
        peer_file = f"/proc/{os.getpid()}/fd/{reader}"
        argv = ["openssl", "pkeyutl", "-derive", "-keyform", "DER", "-inkey", "/dev/stdin"]
        return run_bytes([*argv, "-peerform", "DER", "-peerkey", peer_file], private)
    except CommandFailed as failure:
        raise Refused("The other node's public key is refused.", seen=failure.output.strip(), hint=ANEW) from failure
    finally:
        os.close(reader)


def derived(secret: bytes, purpose: str, size: int) -> str:
    """Return a key of `size` bytes (32 at most) for one purpose in hexadecimal (HMAC-SHA-256, as in HKDF-Expand)."""
    return hmac.new(secret, f"labctl {purpose}".encode() + b"\x01", hashlib.sha256).digest()[:size].hex()
