"""Under which conditions a visit was measured: held against the run's first, and against itself after its samples."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from labctl.core.files import read_record, write_json
from labctl.engine.inventory import Inventory
from labctl.nodes.fingerprint import Span, parse
from labctl.plan.plan import Visit
from labctl.runs import attempts, conditions
from labctl.runs.attempts import Change
from labctl.runs.conditions import Beginning, Conditions
from labctl.runs.folder import RunFolder

LAB = Inventory(Path("lab"), "lab", "local", "node1", "node2", {"node1": {}, "node2": {}})
NETEM = ['netem {"delay": 1}']
SAMPLES = ("base.tcp_rr.1/1-1", "base.tcp_rr.1/1-2")

Documents = dict[str, Any]


class Run:
    """A run folder whose first attempt has been made, and visits of it."""

    def __init__(self, path: Path, documents: Documents) -> None:
        self.folder = RunFolder(path)
        self.documents = documents
        self.attempt = 0
        self.begin(documents)

    def begin(self, documents: Documents, drift: tuple[Change, ...] = ()) -> None:
        """Make an attempt."""
        self.attempt += 1
        prints = {node: parse(document, node) for node, document in documents.items()}
        made = attempts.observe(self.attempt, "{}", LAB, prints)
        attempts.write(self.folder, attempts.Attempt(**{**vars(made), "drift": drift}))

    def visit(
        self,
        setup: str,
        number: int,
        documents: Documents,
        seal: Documents | None = None,
        ids: tuple[str, ...] = SAMPLES,
        deployment: int = 1,
    ) -> Conditions:
        """Visit a setup, as an execution does."""
        place = self.folder.visit(setup, number, deployment)
        write_json(place / conditions.FINGERPRINT, documents)
        found = Beginning(self.folder, self.attempt).judge(Visit(number, setup), deployment, ids, documents, seal or {})
        write_json(place / conditions.VISIT, found)
        return found


@pytest.fixture
def documents(repository: Path) -> Documents:
    found: Documents = json.loads((repository / "tests" / "fixtures" / "fingerprint" / "local.json").read_text())
    return found


@pytest.fixture
def run(tmp_path: Path, documents: Documents) -> Run:
    return Run(tmp_path / "run", documents)


def changed(documents: Documents, *path: str, value: object) -> Documents:
    """The documents with another value on node2."""
    found = copy.deepcopy(documents)
    place = found["node2"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return found


def test_a_run_in_which_nothing_changes_has_no_void_samples(run: Run, documents: Documents) -> None:
    routed = changed(documents, "sysctl", "setup", "net.ipv4.ip_forward", value="1")
    for number in (1, 2, 3):
        assert run.visit("base", number, documents, seal=documents).changes == ()
        found = run.visit("routed", number, routed, seal=routed)
        assert (found.changes, found.void, found.sealed) == ((), (), True)
    assert conditions.void(run.folder) == {}


def test_a_qdisc_added_between_rounds_is_named_and_voids_the_visits_under_it(run: Run, documents: Documents) -> None:
    shaped = changed(documents, "network", "qdiscs", "cable0", value=NETEM)
    assert run.visit("base", 1, documents, seal=documents).void == ()
    found = run.visit("base", 2, shaped, seal=shaped)
    (change,) = found.changes
    assert (change.span, change.reference, change.node) == (Span.RUN, "attempts/1.json", "node2")
    assert (change.path, change.before, change.after) == ("network.qdiscs.cable0", ["noqueue"], NETEM)
    assert found.void == SAMPLES
    (reason,) = found.reasons
    assert "node2: network.qdiscs.cable0 is" in reason
    assert "in the run's first (attempts/1.json)" in reason
    # Put back, the next visit counts again; and the one that does not count is no reference.
    assert run.visit("base", 3, documents, seal=documents).void == ()
    assert conditions.void(run.folder) == {(sample, 1): (reason,) for sample in SAMPLES}


def test_what_a_setup_sets_is_held_against_the_first_visit_of_the_same(run: Run, documents: Documents) -> None:
    routed = changed(documents, "sysctl", "setup", "net.ipv4.ip_forward", value="1")
    run.visit("base", 1, documents)
    run.visit("routed", 1, routed)
    (change,) = run.visit("routed", 2, documents).changes
    assert (change.span, change.reference) == (Span.SETUP, "setups/routed/1/fingerprint.json")
    assert (change.path, change.before, change.after) == ("sysctl.setup.net.ipv4.ip_forward", "1", "0")


def test_a_visit_in_which_nothing_was_taken_is_nobodys_first(run: Run, documents: Documents) -> None:
    run.visit("base", 1, changed(documents, "link", "mtu", value=1400), ids=())
    assert run.visit("base", 2, documents).changes == ()


def test_what_changes_while_samples_are_taken_voids_all_of_them(run: Run, documents: Documents) -> None:
    rules = {"ip nat": {"rules": 1, "sha256": "ab"}}
    seal = changed(documents, "network", "netfilter", value=rules)
    for section in ("memory", "versions", "state", "machine"):  # are not read a second time
        del seal["node2"][section]
    found = run.visit("base", 1, documents, seal=seal)
    assert {change.span for change in found.changes} == {Span.VISIT}
    assert "node2: network.netfilter.ip nat.rules changed during this visit: none became 1" in found.reasons
    assert found.void == SAMPLES


def test_agents_that_are_others_in_the_next_deployment_may_not_change_in_one(run: Run, documents: Documents) -> None:
    def running(pod: str) -> Documents:
        deployed = {"settings": {}, "images": {}, "instances": {"kube-system/agent on node2": [f"pod {pod}"]}}
        return changed(documents, "deployed", value=deployed)

    run.visit("base", 1, running("a"), seal=running("a"))
    assert run.visit("base", 2, running("b"), seal=running("b")).changes == ()
    (reason,) = run.visit("base", 3, running("c"), seal=running("d")).reasons
    assert reason == (
        'node2: deployed.instances.kube-system/agent on node2 changed during this visit: ["pod c"] became ["pod d"]'
    )


def test_drift_that_was_accepted_is_a_new_beginning(run: Run, documents: Documents) -> None:
    run.visit("base", 1, documents)
    shaped = changed(documents, "network", "qdiscs", "cable0", value=NETEM)
    run.begin(documents)  # nothing drifted: still the first beginning
    assert run.visit("base", 2, shaped).void == SAMPLES
    run.begin(shaped, drift=(Change("fingerprint", "node2: network.qdiscs.cable0", ["noqueue"], NETEM),))
    assert run.visit("base", 2, shaped, deployment=2).void == ()
    (change,) = run.visit("base", 3, documents).changes
    assert change.reference == "attempts/3.json"


def test_a_damaged_file_of_another_visit_hinders_nothing(run: Run, documents: Documents) -> None:
    place = run.folder.visit("base", 1)
    place.mkdir(parents=True)
    (place / conditions.VISIT).write_text("{")
    assert run.visit("base", 2, documents).changes == ()
    assert conditions.void(run.folder) == {}


def test_a_visit_that_was_cut_short_says_that_it_is_not_sealed(run: Run, documents: Documents) -> None:
    run.visit("base", 1, documents)
    path = run.folder.visit("base", 1) / conditions.VISIT
    read = read_record(Conditions, path)
    assert (read.schema, read.sealed, read.samples) == ("labctl.visit/1", False, SAMPLES)


def test_a_long_value_is_cut_in_words_and_whole_in_the_file(run: Run, documents: Documents) -> None:
    value = ["x" * 1000]
    found = run.visit("base", 1, changed(documents, "network", "qdiscs", "cable0", value=value))
    assert found.changes[0].after == value
    assert len(found.reasons[0]) < 400
