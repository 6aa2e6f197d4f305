"""The preflight: what stands between a lab and numbers one can trust. Looks at fingerprints, changes nothing.

`playbooks/check.yml` fetches the fingerprints; this module turns them, and the failures of nodes that gave none, into
findings: what was wanted, what was seen, what to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from labctl.catalog import CLUSTER
from labctl.core.errors import Problem
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Failure
from labctl.engine.settings import Overruled
from labctl.nodes.fingerprint import Difference, Fingerprint, node_differences
from labctl.nodes.rules import PROVISION, Level, Node, Rule, rules

HOST = "host"  # the machine that carries a local lab
BOTH = "both"
HERE = "ansible"  # that of this machine
NOT_CHANGED = "host's, not changed"
INSTALL_PYTHON = "install python3 on the node, or set ansible_python_interpreter in the inventory"
FOLLOW = "the message is Ansible's own: follow it"
AGAIN = "mend what was found, and check again"
NOTHING = "nothing is in the way"
ALIKE = "the same at both ends"
SHOWN = 3  # differences named in one finding


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `node` is a node's name, `both` or `host`; `action` is empty where nothing is to be done."""

    level: Level
    node: str
    subject: str
    wanted: str
    seen: str
    action: str = ""


@dataclass(frozen=True)
class Pair:
    """Something in which the two ends should not differ: dotted paths with all that is below them.

    A difference belongs to the pair that names the longest part of its path. Where the ends agree, the value at
    `shown` (else at the first path, where that is one value) tells in what.
    """

    subject: str
    paths: tuple[str, ...]
    action: str
    level: Level = Level.WARNING
    shown: str | None = None


PAIRS: tuple[Pair, ...] = (
    Pair("MTU", ("link.mtu",), "set the same MTU at both ends of the cable", Level.ERROR),
    Pair("netperf version", ("versions.netperf",), PROVISION, Level.ERROR),
    Pair("kernel", ("kernel",), "boot the same kernel with the same options on both nodes", shown="kernel.release"),
    Pair("CPU", ("cpu", "machine"), "use two machines of one kind, set alike", shown="cpu.model"),
    Pair("mitigations", ("cpu.mitigations",), "boot both nodes with the same mitigations= and microcode"),
    Pair("card and its settings", ("nic",), "set both cards alike, with the same firmware", shown="nic.driver"),
    Pair("link settings", ("link",), "set both ends of the cable alike", shown="link.qdisc"),
    Pair("versions", ("versions",), PROVISION, shown="versions.distribution_version"),
    Pair("services", ("services",), "run the same services on both nodes"),
    Pair("netfilter and tc", ("network",), "remove the rules and programs that only one node has"),
    Pair("encryption", ("tunnels",), "boot the same kernel on both nodes", shown="tunnels.wireguard"),
    Pair("settings", ("sysctl", "congestion_control", "memory"), "set both nodes alike"),
)

# Words of ssh and Ansible about a node that gave no fingerprint, and what they say was missing.
ABSENT: tuple[tuple[str, str, str], ...] = (
    ("an agent that takes samples does not", "measuring", "an agent of labctl starts there"),
    ("Permission denied", "SSH key", "accepted by the node"),
    ("Host key verification failed", "host key", "the known one"),
    ("REMOTE HOST IDENTIFICATION", "host key", "the known one"),
    ("interpreter", "python", ">= 3.8 on the node"),
    ("minimum of Python", "python", ">= 3.8 on the node"),
    ("python3: not found", "python", ">= 3.8 on the node"),
    ("password is required", "root", "sudo without a password, or --ask-become-pass"),
    ("sudo password", "root", "sudo without a password, or --ask-become-pass"),
)


def findings(
    inventory: Inventory,
    fingerprints: Mapping[str, Fingerprint],
    failures: Sequence[Failure],
    unreachable: Collection[str] = (),
    overruled: Sequence[Overruled] = (),
    limited: bool = False,
) -> tuple[Finding, ...]:
    """Every finding about a lab, whatever its level: nodes first, then the machine, then the two ends compared.

    `fingerprints` is by node, `failures` those of the play: a node in neither has an error of its own, which says
    whether it was left out of a look that was `limited`. `unreachable` are the nodes that did not answer; of a cluster
    nobody asks them. `overruled` are the user's settings of Ansible that do not hold in labctl's plays.
    """
    names = (inventory.client, inventory.server)
    nodes = [Node(name, inventory.kind, fingerprints[name]) for name in names if name in fingerprints]
    ended = _of_cluster(failures) if inventory.kind == CLUSTER else _of_nodes(failures, unreachable)
    # What ends the look at a cluster ends it for both nodes, and is told.
    told = {failure.node for failure in failures} | set(fingerprints)
    silent = () if inventory.kind == CLUSTER and failures else (name for name in names if name not in told)
    absent = chain(ended, (_not_asked(name, limited) for name in silent))
    shared = inventory.kind == "local"
    own = (_rule(rule, node) for node in nodes for rule in _rules(node) if not (shared and rule.of_machine))
    machine = (_of_host(rule, nodes[0]) for rule in rules() if shared and nodes and rule.of_machine)
    ends = _pairs(*nodes) if len(nodes) == 2 else ()
    return tuple(chain(absent, own, machine, ends, map(_overruled, overruled)))


def failed(found: Iterable[Finding]) -> bool:
    """Whether any finding is an error: numbers would be wrong or impossible."""
    return any(finding.level is Level.ERROR for finding in found)


def _overruled(setting: Overruled) -> Finding:
    """A setting of Ansible that labctl decides for its own plays; for plays of the user's it is as good as any."""
    action = f"nothing: labctl's plays take its own, since {setting.why}"
    return Finding(Level.WARNING, HERE, setting.name, setting.wanted, setting.seen, action)


def _rules(node: Node) -> Iterator[Rule]:
    """The rules that apply: without a cable, nothing is said of what belongs to it."""
    has_cable = node.seen.get("link") is not None
    return (rule for rule in rules() if node.kind in rule.kinds and (has_cable or not rule.of_cable))


def _rule(rule: Rule, node: Node) -> Finding:
    verdict = rule.judge(node)
    action = "" if verdict.level is Level.OK else rule.action
    return Finding(verdict.level, node.name, rule.subject, verdict.wanted or rule.wanted, verdict.seen, action)


def _of_host(rule: Rule, node: Node) -> Finding:
    """What belongs to the user's own machine: told, never changed, never an error."""
    found = _rule(rule, node)
    if found.level is Level.OK:
        return Finding(found.level, HOST, found.subject, found.wanted, found.seen)
    return Finding(Level.WARNING, HOST, found.subject, found.wanted, f"{found.seen} ({NOT_CHANGED})", found.action)


def _of_cluster(failures: Iterable[Failure]) -> Iterator[Finding]:
    """A finding for everything by which a cluster cannot be measured."""
    for one in (problem for failure in failures for problem in failure.told):
        yield Finding(Level.ERROR, CLUSTER, "cluster", NOTHING, _seen(one, CLUSTER), one.hint or AGAIN)


def _of_nodes(failures: Iterable[Failure], unreachable: Collection[str]) -> Iterator[Finding]:
    """A finding for everything by which nodes could not be looked at."""
    for failure in failures:
        for one in failure.told:
            seen = _seen(one, failure.node) if failure.problems else " ".join(failure.message.split())
            subject, wanted = next(
                ((subject, wanted) for words, subject, wanted in ABSENT if words in seen),
                ("answer", "the node answers over SSH") if failure.node in unreachable else ("look", NOTHING),
            )
            action = one.hint or (INSTALL_PYTHON if subject == "python" else AGAIN if failure.problems else FOLLOW)
            yield Finding(Level.ERROR, failure.node, subject, wanted, seen, action)


def _not_asked(node: str, limited: bool) -> Finding:
    """A node that neither failed nor answered."""
    if limited:
        return Finding(Level.ERROR, node, "look", "the node is looked at", "not asked", "leave out --limit")
    return Finding(Level.ERROR, node, "look", "the node is looked at", "not asked: the look ended before", AGAIN)


def _seen(problem: Problem, node: str) -> str:
    """What is wrong in a line, and where beyond the node that the finding is about."""
    where = "" if problem.where in (None, node) else str(problem.where).removeprefix(f"{node}, ")
    what = f"{problem.what} ({where})" if where else problem.what
    return " ".join(": ".join(filter(None, (what, problem.seen))).split())


def _pairs(client: Node, server: Node) -> Iterator[Finding]:
    """The two ends compared: each difference belongs to the first pair that names it."""
    differing: dict[str, list[Difference]] = {pair.subject: [] for pair in PAIRS}
    for difference in node_differences(client.seen, server.seen):
        differing[_owner(difference.path).subject].append(difference)
    for pair in PAIRS:
        mine = differing[pair.subject]
        if not mine and not _looked_at(pair, client, server):
            continue
        # What only one end has is told by that node's own finding: nothing is provisioned yet.
        one_sided = pair.level is Level.ERROR and any(None in (each.first, each.second) for each in mine)
        level = Level.OK if not mine else Level.WARNING if one_sided else pair.level
        yield Finding(level, BOTH, pair.subject, ALIKE, _told(mine, pair, client), pair.action if mine else "")


def _looked_at(pair: Pair, client: Node, server: Node) -> bool:
    """Whether one of the ends tells anything of what a pair compares; the API of a cluster tells next to nothing."""
    told = (end.seen.get(*path.split(".")) for end in (client, server) for path in pair.paths)
    known = (any(each.values()) if isinstance(each, Mapping) else each is not None for each in told)
    return client.kind != CLUSTER or any(known)


def _owner(path: str) -> Pair:
    """The pair that names the longest part of a path; the last one where none does."""

    def named(pair: Pair) -> int:
        return max(len(prefix) if (path + ".").startswith(prefix + ".") else 0 for prefix in pair.paths)

    best = max(PAIRS, key=named)
    return best if named(best) else PAIRS[-1]


def _told(differing: Sequence[Difference], pair: Pair, client: Node) -> str:
    if differing:
        more = f"; {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        return "; ".join(str(each) for each in differing[:SHOWN]) + more
    value = client.seen.get(*(pair.shown or pair.paths[0]).split("."))
    return "the same" if value is None or isinstance(value, Mapping) else str(value)


COLUMNS = ("level", "node", "subject", "wanted", "seen", "what to do")
ORDER = (Level.ERROR, Level.WARNING, Level.OK)


def records(found: Iterable[Finding]) -> list[dict[str, str]]:
    """What is shown of findings, the worst first."""
    ordered = sorted(found, key=lambda finding: ORDER.index(finding.level))
    return [dict(zip(COLUMNS, vars(each).values(), strict=True)) for each in ordered]
