"""Netfilter of a node: what tables there are, and the ones that a datapath brings.

Tables come through nftables, by `nft` or by the nft flavour of iptables: only those can be taken away again. The
legacy flavour's tables stay hooked in a namespace until it ends.
"""

from __future__ import annotations

from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import run, run_json

LEGACY = {"ip": "ip_tables_names", "ip6": "ip6_tables_names", "arp": "arp_tables_names"}
RESTORE = "iptables-nft-restore"


def tables() -> list[str]:
    """Return every netfilter table of this namespace as `family name`; a legacy one as `family name (legacy)`."""
    listed = run_json(["nft", "--json", "list", "tables"])
    found = [f"{entry['table']['family']} {entry['table']['name']}" for entry in listed["nftables"] if "table" in entry]
    return sorted(found + legacy_tables())


def legacy_tables() -> list[str]:
    """Return the legacy tables that exist, as `ip filter (legacy)`."""
    # Reading the list of names leaves them alone; asking iptables-legacy for one would bring it into being.
    return [
        f"{family} {name} (legacy)"
        for family, listing in LEGACY.items()
        for name in (read_text(f"/proc/net/{listing}") or "").split()
    ]


def refuse_foreign_tables(variant: str) -> None:
    """Refuse a node with netfilter rules of its own, which would affect the measurement."""
    foreign = tables()
    if foreign:
        raise Refused(
            f"{variant} cannot be told apart from the node's own netfilter rules, which labctl did not make.",
            seen=", ".join(foreign),
            hint="Stop the service that made them (`nft list ruleset` shows them), then deploy again.",
        )


def load_nft(ruleset: str) -> None:
    """Load a ruleset in nft's own language, whole or not at all."""
    run(["nft", "--file", "-"], ruleset)


def load_iptables(rules: str) -> None:
    """Load rules in the form of iptables-save, whole or not at all."""
    run([RESTORE], rules)


def iptables_backend() -> str:
    """Return version and backend as iptables names them, such as `iptables-restore v1.8.9 (nf_tables)`."""
    return run([RESTORE, "--version"]).strip()


def remove_tables(made: list[str]) -> None:
    """Delete the named tables, as far as they are still there."""
    commands = "".join(f"delete table {table}\n" for table in tables() if table in made)
    if commands:
        load_nft(commands)


def observe_rules() -> str:
    """Return all rules without their counters."""
    return run(["nft", "--stateless", "list", "ruleset"])
