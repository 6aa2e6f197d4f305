"""Tunnels: what they cost in bytes, what nodes have, their keys, and what is read of them."""

from __future__ import annotations

import base64
import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import datapath_esp as esp
from ansible.module_utils import datapath_keys as keys
from ansible.module_utils import datapath_peer as peer
from ansible.module_utils import datapath_wireguard as wireguard
from ansible.module_utils import fingerprint_tunnels as seen
from ansible.module_utils.labctl_node.refused import Refused

from labctl.catalog import Encryption
from labctl.catalog.tunnel import Tunnel
from labctl.engine.inventory import Inventory
from labctl.nodes import encryption
from labctl.nodes import findings as check
from labctl.nodes.fingerprint import Fingerprint
from labctl.nodes.rules import Level

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent

# RFC 7748, section 6.1.
BOB = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
BOB_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
ALICE_PUBLIC = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
SHARED = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


def nodes(**changes: object) -> tuple[Fingerprint, ...]:
    """Two nodes of the captured local lab: no WireGuard in the kernel, no ESP. The changes are the second one's."""
    documents = json.loads((REPOSITORY / "tests/fixtures/fingerprint/local.json").read_text())
    documents["node2"]["tunnels"].update(changes)
    return tuple(Fingerprint(document) for document in documents.values())


def test_what_both_nodes_have_is_what_setups_get() -> None:
    mixed = encryption.facts(nodes(wireguard="kernel"))
    assert mixed.of(Encryption.WIREGUARD) is Tunnel.WIREGUARD_GO
    (first, second) = nodes(wireguard="kernel", esp=True)
    assert encryption.facts((second, second)).of(Encryption.WIREGUARD) is Tunnel.KERNEL
    assert encryption.facts((second, second)).lacking == {}
    words = "kernel 6.18.44-fc-v669 takes no ESP with AES-GCM: it lacks CONFIG_INET_ESP, CONFIG_CRYPTO_GCM"
    assert encryption.facts((first, second)).lacking == {Encryption.IPSEC: words}
    assert mixed.of(Encryption.NONE) is None


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(True, True, True), (True, False, False), (True, None, None), (None, False, False), (None, None, None)],
)
def test_decrypted_packets_go_past_the_stack_where_both_kernels_let_them(
    first: bool | None, second: bool | None, both: bool | None
) -> None:
    ends = nodes(esp=True, esp_redirect_peer=first)[1], nodes(esp=True, esp_redirect_peer=second)[1]
    assert encryption.facts(ends).redirect_peer is both


def test_the_try_takes_udp_alone_to_the_peer() -> None:
    words = [struct.unpack("=BBhi", peer.program(7)[at : at + 8]) for at in range(0, 9 * 8, 8)]
    assert (0x30, 0, 0, 23) in words  # looks at the protocol
    target = words.index((0x55, 0, 4, 17)) + 1 + 4
    assert words[target:] == [(0xB7, 0, 0, 0), (0x95, 0, 0, 0)]  # what is not UDP goes on
    assert {(0xB7, 1, 0, 7), (0x85, 0, 0, 155)} <= set(words)


@pytest.mark.parametrize(("said", "answer"), [("yes\n", True), ("no\n", False)])
def test_the_answer_of_a_kernel_is_kept_until_the_next_boot(
    said: str, answer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "ANSWER", str(tmp_path / "labctl" / "redirect_peer"))
    monkeypatch.setattr(peer, "_try", lambda: answer)
    assert peer.decrypted_passes() is answer
    assert (tmp_path / "labctl" / "redirect_peer").read_text() == said
    monkeypatch.setattr(peer, "_try", lambda: not answer)
    assert peer.decrypted_passes() is answer


def test_a_kernel_that_cannot_be_asked_gives_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> bool:
        raise OSError(1, "no namespace of its own")

    monkeypatch.setattr(peer, "ANSWER", str(tmp_path / "labctl" / "redirect_peer"))
    monkeypatch.setattr(peer, "_try", refuse)
    assert peer.decrypted_passes() is None
    assert not (tmp_path / "labctl").exists()


def test_a_node_without_any_wireguard_is_named() -> None:
    facts = encryption.facts(nodes(wireguard=None, tun=False))
    assert facts.wireguard is None
    assert "has neither CONFIG_WIREGUARD nor CONFIG_TUN" in facts.lacking[Encryption.WIREGUARD]


def test_check_shows_what_a_node_encrypts_with() -> None:
    inventory = Inventory(Path("lab"), "lab", "vm", "node1", "node2", {"node1": {}, "node2": {}})
    found = check.findings(inventory, dict(zip(("node1", "node2"), nodes(), strict=True)), ())
    by_subject = {finding.subject: finding for finding in found if finding.node == "node1"}
    assert by_subject["WireGuard"].seen == "WireGuard in user space (wireguard-go)"
    assert (by_subject["IPsec"].level, by_subject["IPsec"].action) == (
        Level.WARNING,
        "boot a kernel that has it, or leave encryption ipsec out",
    )
    assert "CONFIG_INET_ESP" in by_subject["IPsec"].seen
    assert by_subject["AES of the CPU"].seen


def test_the_driver_of_the_highest_priority_is_the_one_in_use() -> None:
    def entry(name: str, driver: str, priority: int) -> str:
        return f"name         : {name}\ndriver       : {driver}\npriority     : {priority}\n"

    text = "\n".join(
        [
            entry("gcm(aes)", "gcm_base(ctr(aes-generic),ghash-generic)", 100),
            entry("gcm(aes)", "generic-gcm-vaes-avx10_512", 800),
            entry("sha256", "sha256-generic", 100),
        ]
    )
    assert seen.drivers(text) == {"gcm(aes)": "generic-gcm-vaes-avx10_512"}
    assert seen.drivers("") is None
    # What a try for ESP leaves for a minute where the kernel has no such algorithm: looking twice must not differ.
    assert seen.drivers("name         : rfc4106(gcm(aes))\ndriver       : \npriority     : -1\n") is None


@pytest.fixture
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "labctl" / "tunnel.key"
    monkeypatch.setattr(keys, "KEY_FILE", str(path))
    return path


def test_both_nodes_get_the_same_secret_and_another_one_each_time(own_key: Path) -> None:
    def new_node() -> tuple[str, str]:
        keys.make_key()
        text, public = own_key.read_text(), keys.public_key()
        assert own_key.stat().st_mode & 0o777 == 0o600
        assert keys.forget_key()
        return text, public

    def secret(own: str, peer: str) -> bytes:
        own_key.parent.mkdir(exist_ok=True)
        own_key.write_text(own)
        own_key.chmod(0o600)
        found: bytes = keys.shared_secret(peer)
        assert keys.forget_key()
        return found

    first, second, third = new_node(), new_node(), new_node()
    assert secret(first[0], second[1]) == secret(second[0], first[1])
    assert secret(first[0], third[1]) != secret(first[0], second[1])
    assert not own_key.parent.exists()
    assert not keys.forget_key()


def test_keys_are_those_of_x25519(own_key: Path) -> None:
    own_key.parent.mkdir()
    own_key.write_bytes(base64.b64encode(bytes.fromhex(BOB)))
    own_key.chmod(0o600)
    assert base64.b64decode(keys.public_key()).hex() == BOB_PUBLIC
    assert keys.shared_secret(base64.b64encode(bytes.fromhex(ALICE_PUBLIC)).decode()).hex() == SHARED


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("not base64!", 0o600, "is not base64"),
        (base64.b64encode(bytes(31)).decode(), 0o600, "seen:  31 bytes"),
        (base64.b64encode(bytes(32)).decode(), 0o644, "seen:  mode 0644"),
    ],
)
def test_a_key_that_is_none_is_refused_without_showing_it(own_key: Path, text: str, mode: int, words: str) -> None:
    own_key.parent.mkdir()
    own_key.write_text(text)
    own_key.chmod(mode)
    with pytest.raises(Refused, match=re.escape(words)) as refused:
        keys.public_key()
    assert text not in str(refused.value)


def test_a_public_key_that_is_none_is_refused(own_key: Path) -> None:
    keys.make_key()
    for wrong in ("", "AAAA", base64.b64encode(bytes(32)).decode()):
        with pytest.raises(Refused, match=r"(?i)the other node's public key"):
            keys.shared_secret(wrong)
    with pytest.raises(Refused, match="the other node's public key"):
        wireguard.configuration(51877, "198.18.0.140", "198.19.0.128/25", "AAAA")


def test_each_direction_of_esp_has_a_key_and_a_number_of_its_own() -> None:
    there = esp.state("198.18.0.139", "198.18.0.140", b"secret")
    back = esp.state("198.18.0.140", "198.18.0.139", b"secret")

    def of(line: str, pattern: str) -> Any:
        return re.search(pattern, line)[1]  # type: ignore[index]

    for pattern in (r"spi (0x\w+)", r"aead \S+ 0x(\w+) "):
        assert of(there, pattern) != of(back, pattern)
    assert len(of(there, r"aead \S+ 0x(\w+) ")) == 40
    assert there.endswith("replay-window 128 flag esn")
    assert [line.split(" dir ")[1].split()[0] for line in esp.policies("a", "b", "c", "d")] == ["out", "in", "fwd"]


def test_bytes_of_states_are_read() -> None:
    # `ip -s xfrm state list nokeys` of iproute2 6.1, shortened; the addresses are a lab's.
    text = """src 198.18.0.140 dst 198.18.0.139
\tproto esp spi 0x18c8b(101515) reqid 18517(0x00004855) mode tunnel
\tlifetime current:
\t  343512(bytes), 380(packets)
src 198.18.0.139 dst 198.18.0.140
\tproto esp spi 0x18b8c(101260) reqid 18517(0x00004855) mode tunnel
\tlifetime current:
\t  352212(bytes), 391(packets)
"""
    assert esp.counted_of(text) == [("198.18.0.140", 343512), ("198.18.0.139", 352212)]
