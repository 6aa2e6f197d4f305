"""The MTU of the cable. What a tunnel leaves of it is the endpoints'."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.catalog import CLUSTER, Catalog
from labctl.catalog.dimensions.dimension import Choice, Dimension, Value, Values
from labctl.catalog.dimensions.encryption import encryption_of, tunnel_of
from labctl.core.errors import Problem
from labctl.core.words import whole

MIN_MTU = 576  # what every IPv4 host has to accept
NORMAL_MTU = 1500
MAX_MTU = 9702  # the largest of the 2021 lab's NIC (Intel E810)


class MtuDimension(Dimension):
    """`endpoint_mtu` in a setup is the largest packet that the endpoints exchange, None where it is the link's MTU."""

    def read(self, word: str, _catalog: Catalog) -> Value:
        """A number of bytes."""
        return whole(self.option, word, MIN_MTU, MAX_MTU, "an MTU")

    def refused_on(self, kind: str, text: str) -> Problem | None:
        """The cable of a cluster is not ours to set."""
        if kind != CLUSTER:
            return None
        return Problem("an existing cluster keeps its own MTU", self.option, text, "leave it out")

    def problems(self, choice: Choice) -> Iterator[Problem]:
        """An MTU that leaves too little inside a tunnel, or that an end of the cable cannot carry."""
        lab, mtu, tunnel = choice.lab, _mtu(choice), tunnel_of(choice)
        lacking = encryption_of(choice) in lab.tunnels.lacking
        if tunnel is not None and not lacking and tunnel.inner_mtu(mtu) < MIN_MTU:
            seen = f"{tunnel.inner_mtu(mtu)} bytes are left inside the tunnel, and IPv4 needs {MIN_MTU}"
            what = f"an MTU of {mtu} is too small for {encryption_of(choice)}"
            yield Problem(what, self.option, seen, "give a larger one")
        if lab.largest_mtu is not None and mtu > lab.largest_mtu:
            what = f"an MTU of {mtu} is beyond what the cable of {lab.name} carries"
            yield Problem(
                what, self.option, f"at most {lab.largest_mtu} bytes", "give a smaller one, or use another card"
            )

    def settle(self, choice: Choice) -> Values:
        """With what a tunnel leaves of it, by arithmetic or as the CNI has it."""
        tunnel, mtu = tunnel_of(choice), _mtu(choice)
        own = choice.variant.tunnel_bytes.get(encryption_of(choice))
        inside = None if tunnel is None else tunnel.inner_mtu(mtu) if own is None else mtu - own
        return {self.name: mtu, "endpoint_mtu": inside}

    def variables(self, values: Values) -> Values:
        """The MTU of the link, and of its endpoints."""
        return {**super().variables(values), "setup_endpoint_mtu": values["endpoint_mtu"] or values[self.name]}


def _mtu(choice: Choice) -> int:
    return int(choice.values[MTU.name] or NORMAL_MTU)


MTU = MtuDimension(
    name="mtu",
    help="MTUs, separated by commas [default: 1500].",
    plain=NORMAL_MTU,
    mark=".mtu{}",
    header="MTU",
)
