"""The encryption between the nodes. Which tunnel a word means depends on the nodes' kernels, and is part of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from labctl.catalog import Catalog, Encryption
from labctl.catalog.dimensions.dimension import Choice, Dimension, Value, Values
from labctl.catalog.dimensions.edition import EDITION
from labctl.catalog.tunnel import Tunnel
from labctl.core.errors import Problem


def encryption_of(choice: Choice) -> Encryption:
    """The encryption that was chosen."""
    return Encryption(str(choice.values[ENCRYPTION.name]))


def tunnel_of(choice: Choice) -> Tunnel | None:
    """The tunnel that it means on the nodes of the lab; None without encryption."""
    return choice.lab.tunnels.of(encryption_of(choice))


def passes_peer(choice: Choice) -> bool:
    """Whether decrypted packets go into the pod by bpf_redirect_peer: not every kernel lets them survive it."""
    return encryption_of(choice) in choice.variant.redirect_peer and choice.lab.tunnels.redirect_peer is True


class EncryptionDimension(Dimension):
    """`tunnel` in a setup is what encrypts it, `redirect_peer` whether decrypted packets go past the stack."""

    def read(self, word: str, catalog: Catalog) -> Value:
        """One of the words."""
        return Encryption(str(super().read(word, catalog)))

    def problems(self, choice: Choice) -> Iterator[Problem]:
        """An encryption that the kernels of the lab do not have."""
        encryption = encryption_of(choice)
        if lacking := choice.lab.tunnels.lacking.get(encryption):
            what = f"the lab's nodes cannot do encryption {encryption}"
            hint = "use another kernel or lab (`labctl check` shows what each node has), or leave it out"
            yield Problem(what, self.option, lacking, hint)

    def refusal(self, choice: Choice) -> str | None:
        """Why the pair does not exist, in this edition or on these kernels."""
        variant, encryption, tunnels = choice.variant, encryption_of(choice), choice.lab.tunnels
        edition = choice.values[EDITION.name]
        if reason := variant.refusal(encryption, None if edition is None else str(edition)):
            return reason
        if encryption in variant.tunnel_bytes and tunnels.of(encryption) is Tunnel.WIREGUARD_GO:
            return "the kernels of the nodes have no WireGuard (CONFIG_WIREGUARD), and a CNI takes no wireguard-go"
        if encryption in variant.needs_redirect_peer and tunnels.redirect_peer is False:
            what = "what bpf_redirect_peer takes from XFRM into a pod"
            return f"the kernels of the nodes drop {what} (they lack c4327229)"
        return None

    def settle(self, choice: Choice) -> Values:
        """Which WireGuard it is, and what becomes of decrypted packets, is part of what is measured."""
        return {**super().settle(choice), "tunnel": tunnel_of(choice), "redirect_peer": passes_peer(choice)}

    def expected(self, choice: Choice) -> tuple[Mapping[str, object], ...]:
        """What the variant says of itself with this encryption."""
        encryption, variant = encryption_of(choice), choice.variant
        return (variant.encrypted.get(encryption, {}), variant.redirect_peer[encryption] if passes_peer(choice) else {})

    def shown(self, values: Values) -> Value:
        """The tunnel by its name, not the word that asked for it."""
        tunnel = values["tunnel"]
        if tunnel is None:
            return super().shown(values)
        return Tunnel(str(tunnel)).label + ("-peer" if values["redirect_peer"] else "")

    def variables(self, values: Values) -> Values:
        """What makes the tunnel."""
        more = {"setup_tunnel": values["tunnel"], "setup_redirect_peer": values["redirect_peer"]}
        return {**super().variables(values), **more}


ENCRYPTION = EncryptionDimension(
    name="encryption",
    help="Encryptions, separated by commas [default: none].",
    plain=Encryption.NONE,
    mark="+{}",
    words=tuple(Encryption),
    header="encryption",
    role="tunnel",
)
