"""What is known of a lab: from a look, from the last one that was kept, from its inventory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from labctl.catalog.lab import LabFacts, Source
from labctl.catalog.tunnel import Tunnel
from labctl.core.errors import LabctlError
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Failure, Outcome
from labctl.engine.session import AnsibleOptions, Session
from labctl.labs import embedded, facts
from labctl.labs.look import Look
from labctl.nodes.fingerprint import Fingerprint

CAPTURE = Path(__file__).resolve().parent.parent.parent / "fixtures" / "fingerprint" / "local.json"
DONE = Outcome("ok", (), 0, 1.0)
LAB = Inventory(
    Path("/labs/far"),
    "far",
    "metal",
    "node1",
    "node2",
    {"node1": {"ansible_host": "a"}, "node2": {"ansible_host": "b"}},
)
OPTIONS = AnsibleOptions(limit="all")
SESSION = cast(Session, None)  # nothing here runs Ansible


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where looks are kept for the user of a test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "labctl" / "looks"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Look], list[AnsibleOptions]]:
    """Let a look see what is given; return the options that it is made with."""

    def let(seen: Look) -> list[AnsibleOptions]:
        made: list[AnsibleOptions] = []

        def look(_session: Session, _lab: Inventory, options: AnsibleOptions) -> Look:
            made.append(options)
            return seen

        monkeypatch.setattr(facts, "look", look)
        return made

    return let


def seen(change: Callable[[dict[str, Any]], None] = lambda _: None, outcome: Outcome = DONE) -> Look:
    documents = json.loads(CAPTURE.read_text())
    for document in documents.values():
        document["versions"].setdefault("edition", None)  # the capture is older than it
    change(documents)
    return Look({node: Fingerprint(document) for node, document in documents.items()}, outcome)


def unreachable(**nodes: str) -> Look:
    failures = tuple(Failure("check.yml", "look", node, words) for node, words in nodes.items())
    return Look({}, Outcome("failed", failures, 0, 1.0, tuple(nodes)))


def only_file(state: Path) -> Path:
    (path,) = state.iterdir()
    return path


def test_a_look_says_what_both_ends_have() -> None:
    def change(documents: dict[str, Any]) -> None:
        documents["node1"]["cpu"]["threads"], documents["node2"]["cpu"]["threads"] = 32, 16
        documents["node1"]["link"]["max_mtu"], documents["node2"]["link"]["max_mtu"] = None, 9702

    found = facts.of_look(LAB, seen(change))
    assert (found.threads, found.largest_mtu, found.tunnels.wireguard) == (16, 9702, Tunnel.WIREGUARD_GO)
    assert (found.origin.source, found.origin.why) == (Source.LOOK, None)


def test_what_a_cluster_carries_is_what_both_ends_and_its_control_plane_have() -> None:
    lab = replace(LAB, groups={"control_plane": ("node1",), "worker": ("node2",)})

    def change(documents: dict[str, Any]) -> None:
        control = ["archive-cilium-chart", "image-cilium", "image-etcd", "program-kubectl"]
        documents["node1"]["state"]["bundle"] = control
        documents["node2"]["state"]["bundle"] = ["image-cilium", "program-kubelet"]

    assert facts.of_look(lab, seen(change)).carried == ("cilium", "cilium-chart", "kubectl")
    assert facts.of_look(replace(LAB, groups={"control_plane": ("node3",)}), seen(change)).carried is None
    assert facts.of_look(lab, seen()).carried is None


def test_a_node_without_threads_is_no_node() -> None:
    with pytest.raises(LabctlError, match="how many CPU threads"):
        facts.of_look(LAB, seen(lambda documents: documents["node2"]["cpu"].update(threads=None)))


def test_a_lab_that_answers_is_looked_at_with_little_patience_and_kept(
    looks: Callable[[Look], list[AnsibleOptions]], state: Path
) -> None:
    made = looks(seen())
    known = facts.known(SESSION, LAB, OPTIONS)
    assert made == [replace(OPTIONS, timeout_s=facts.PATIENCE_S)]
    assert (known.facts.origin.source, known.problems) == (Source.LOOK, ())
    assert json.loads(only_file(state).read_text())["facts"]["threads"] == known.facts.threads


def test_a_lab_that_cannot_be_reached_is_known_from_its_last_look(
    looks: Callable[[Look], list[AnsibleOptions]],
) -> None:
    looks(seen(lambda documents: documents["node1"]["versions"].update(edition="2021")))
    then = facts.known(SESSION, LAB, OPTIONS).facts
    looks(unreachable(node1="ssh: Connection refused", node2="ssh: Connection timed out"))
    now = facts.known(SESSION, LAB, OPTIONS)
    assert replace(now.facts, origin=then.origin) == then
    assert now.facts.edition == "2021"
    assert now.facts.origin.source is Source.LAST_LOOK
    assert now.facts.origin.time == then.origin.time
    assert now.facts.origin.why == "node1 and node2 cannot be reached now"
    assert [problem.seen for problem in now.problems] == ["ssh: Connection refused", "ssh: Connection timed out"]


def test_a_lab_that_nobody_has_looked_at_is_known_from_its_inventory(
    looks: Callable[[Look], list[AnsibleOptions]], state: Path
) -> None:
    looks(unreachable(node2="ssh: No route to host"))
    known = facts.known(SESSION, LAB, OPTIONS).facts
    assert known == LabFacts("far", "metal", "node1", "node2", None, origin=known.origin)
    assert known.origin.source is Source.INVENTORY
    assert known.origin.why == "node2 cannot be reached now, and no look at it is kept"
    assert not state.exists()


def test_an_embedded_lab_that_does_not_run_is_not_touched_and_has_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = replace(LAB, kind="local")
    facts.keep(lab, seen(lambda documents: documents["node1"]["versions"].update(edition="2021")))
    monkeypatch.setattr(embedded, "is_up", lambda _: False)
    known = facts.known(SESSION, lab, OPTIONS).facts
    assert (known.origin.source, known.origin.why) == (Source.LAST_LOOK, "it does not run now")
    assert known.edition is None


def test_a_lab_that_answers_and_refuses_is_an_error(looks: Callable[[Look], list[AnsibleOptions]]) -> None:
    facts.keep(LAB, seen())
    looks(unreachable(node1="ssh: Permission denied (publickey)", node2="ssh: Connection refused"))
    with pytest.raises(LabctlError, match="Permission denied"):
        facts.known(SESSION, LAB, OPTIONS)


def test_an_inventory_that_changed_since_is_said() -> None:
    facts.keep(LAB, seen())
    other = replace(LAB, hosts=dict(LAB.hosts) | {"other": {}})
    assert facts.earlier(other, "away").facts.origin.why == "away, and its inventory has changed since"


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": "labctl.look/0"}', '{"schema": "labctl.look/1"}'])
def test_a_damaged_look_is_said_and_the_inventory_is_used(content: str, state: Path) -> None:
    facts.keep(LAB, seen())
    path = only_file(state)
    path.write_text(content)
    known = facts.earlier(LAB, "away")
    assert known.facts.origin.source is Source.INVENTORY
    assert known.facts.origin.why == "away, and what is kept of the last look at it is damaged"
    assert all(str(path) in str(problem) and "labctl check" in str(problem.hint) for problem in known.problems)
    assert known.problems


@pytest.fixture
def unwritable(state: Path) -> Iterator[Path]:
    """A file where the directory of looks would be: root, too, cannot write there."""
    state.parent.mkdir(parents=True)
    state.write_text("")
    yield state
    state.unlink()


def test_what_cannot_be_kept_is_said_and_costs_nothing_else(
    unwritable: Path, looks: Callable[[Look], list[AnsibleOptions]]
) -> None:
    looks(seen())
    known = facts.known(SESSION, LAB, OPTIONS)
    assert known.facts.origin.source is Source.LOOK
    (problem,) = known.problems
    assert "cannot be kept" in problem.what
    assert str(unwritable) in str(problem.where)


@pytest.mark.parametrize(
    "look",
    [
        seen(outcome=Outcome("failed", (), 0, 1.0)),
        seen(lambda documents: documents.pop("node2")),
    ],
    ids=["failed", "one end"],
)
def test_half_a_look_is_not_kept(look: Look, state: Path) -> None:
    assert facts.keep(LAB, look) == ()
    assert not state.exists()


def test_why_the_cpus_cannot_be_kept_awake_is_known_of_a_look_and_kept(
    looks: Callable[[Look], list[AnsibleOptions]],
) -> None:
    def sleeping(documents: dict[str, Any]) -> None:
        documents["node2"]["cpu"]["idle"] = {"driver": "none", "governor": None, "states": None}

    words = "node2: the kernel has no cpuidle driver (current_driver: none)"
    looks(seen(sleeping))
    assert facts.known(SESSION, LAB, OPTIONS).facts.awake_refused == words
    looks(unreachable(node1="ssh: Connection refused"))
    assert facts.known(SESSION, LAB, OPTIONS).facts.awake_refused == words
    looks(seen())
    assert facts.known(SESSION, LAB, OPTIONS).facts.awake_refused is None


def test_a_state_directory_of_a_name_that_none_can_have_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/" + "x" * 5000)
    assert facts.earlier(LAB, "no").facts.origin.source is Source.INVENTORY
