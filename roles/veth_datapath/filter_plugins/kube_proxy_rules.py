"""Filter plugin: the part of a saved kube-proxy rule set that serves the first so many services."""

from __future__ import annotations

import re
from collections.abc import Callable

from ansible.errors import AnsibleFilterError

SERVICE = re.compile(r'^-A KUBE-SERVICES .*--comment "(?P<comment>[^"]+)".* -j (?P<chain>KUBE-SVC-\w+)$')
ENDPOINT = re.compile(r"^-A (?P<service>KUBE-SVC-\w+) .* -j (?P<chain>KUBE-SEP-\w+)$")
CHAIN = re.compile(r"^(?::|-A )(?P<chain>\S+)")
TARGET = re.compile(r" -j (?P<chain>\S+)")
COMMENT = re.compile(r'--comment "(?P<comment>[^"]+)"')


def kube_proxy_rules(saved: str, services: int) -> str:
    """Return the saved rules with the first `services` service ports, in the order in which packets meet them.

    Everything else of kube-proxy (its hooks, marks and forwarding rules) stays, for no service at all too. Raises
    AnsibleFilterError for a number that the saved rules cannot give.
    """
    lines = saved.splitlines()
    found = [match for match in map(SERVICE.match, lines) if match]
    if not 0 <= services <= len(found):
        raise AnsibleFilterError(
            f"veth_datapath_services is {services}: the saved rules of kube-proxy have 0 to {len(found)} services"
        )
    gone_comments = {match["comment"] for match in found[services:]}
    gone = {match["chain"] for match in found[services:]}
    endpoints = [match for match in map(ENDPOINT.match, lines) if match]
    gone |= {match["chain"] for match in endpoints if match["service"] in gone}
    return "\n".join(line for line in lines if not _belongs_to(line, gone, gone_comments)) + "\n"


def _belongs_to(line: str, chains: set[str], comments: set[str]) -> bool:
    chain, target, comment = CHAIN.match(line), TARGET.search(line), COMMENT.search(line)
    if chain and chain["chain"] in chains:
        return True
    if target and target["chain"] in chains:
        return True
    return bool(comment and chain and chain["chain"] == "KUBE-SERVICES" and comment["comment"] in comments)


class FilterModule:
    """What Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[[str, int], str]]:
        return {"kube_proxy_rules": kube_proxy_rules}
