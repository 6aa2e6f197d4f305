"""What has to be the same when a run is resumed, and how a change is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.core.errors import LabctlError
from labctl.core.files import read_record
from labctl.engine.inventory import Inventory
from labctl.nodes.fingerprint import parse
from labctl.runs import attempts
from labctl.runs.attempts import Attempt, Change
from labctl.runs.folder import RunFolder

OWN = {"ansible_become_password": "secret", "mine": 1, "netperf_pods_token": "secret", "cable_password": "secret"}
HOSTS: dict[str, dict[str, object]] = {
    "node1": {"ansible_host": "10.0.0.1", "cable_interface": "eth1", **OWN},
    "node2": {"ansible_host": "10.0.0.2", "cable_interface": "eth1"},
    "jump": {"ansible_host": "10.0.0.9"},
}
LAB = Inventory(Path("/labs/metal"), "metal", "metal", "node1", "node2", HOSTS)


@pytest.fixture
def one(repository: Path) -> Attempt:
    document = json.loads((repository / "tests" / "fixtures" / "fingerprint" / "local.json").read_text())
    document = document.get("node1", document)
    fingerprints = {node: parse(document, node) for node in ("node1", "node2")}
    return attempts.observe(1, "{}", LAB, fingerprints)


def changed(one: Attempt, *path: str, value: object) -> Attempt:
    """The attempt with another value in the fingerprint of node2."""
    fingerprints = json.loads(json.dumps(one.fingerprints))
    place = fingerprints["node2"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return replace(one, number=2, fingerprints=fingerprints)


def test_the_same_lab_has_not_changed(one: Attempt) -> None:
    moved = replace(LAB, path=Path("/elsewhere"))
    assert attempts.changes(one, replace(one, number=2, lab=attempts.lab_record(moved))) == ()


def test_nothing_that_no_role_declares_and_no_secret_is_taken_from_an_inventory(one: Attempt) -> None:
    assert one.lab.variables == {
        node: {"ansible_host": HOSTS[node]["ansible_host"], "cable_interface": "eth1"} for node in ("node1", "node2")
    }


def test_what_a_role_of_labctl_declares_is_taken_and_nothing_secret_in_it() -> None:
    vault = {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256"}
    values = {"MTU": 1400, "encryption": {"key": "secret", "type": "wireguard"}, "image": vault}
    own: dict[str, object] = {"cni_cilium_values": values, "cni_cilium_timeout_s": 7, "cable_interface": vault}
    record = attempts.lab_record(replace(LAB, hosts={"node1": own, "node2": {}}))
    assert record.variables["node1"] == {
        "cni_cilium_timeout_s": 7,
        "cni_cilium_values": {"MTU": 1400, "encryption": {"type": "wireguard"}},
    }


def test_a_variable_of_a_role_that_changed_is_drift(one: Attempt) -> None:
    def observed(hosts: dict[str, dict[str, object]]) -> Attempt:
        return replace(one, lab=attempts.lab_record(replace(LAB, hosts=hosts)))

    before = {**HOSTS, "node2": {**HOSTS["node2"], "measure_rest_limit_s": 30}}
    now = {**HOSTS, "node2": {**HOSTS["node2"], "measure_rest_limit_s": 3, "cni_cilium_values": {"MTU": 9}}}
    assert attempts.changes(observed(before), observed(now)) == (
        Change("lab", "node2: cni_cilium_values", None, {"MTU": 9}),
        Change("lab", "node2: measure_rest_limit_s", 30, 3),
    )


def test_every_change_is_named(one: Attempt) -> None:
    hosts = {**HOSTS, "node2": {**HOSTS["node2"], "ansible_host": "10.0.0.7"}}
    record = attempts.lab_record(replace(LAB, name="other", hosts=hosts))
    now = replace(one, number=2, lab=record, plan_sha256="00", host="elsewhere", labctl="9")
    assert attempts.changes(one, now) == (
        Change("lab", "name", "metal", "other"),
        Change("lab", "node2: ansible_host", "10.0.0.2", "10.0.0.7"),
        Change("plan", "plan.json, its SHA-256", one.plan_sha256, "00"),
        Change("controller", "host", one.host, "elsewhere"),
        Change("labctl", "version", one.labctl, "9"),
    )


def test_a_node_that_changed_is_named_with_the_value(one: Attempt) -> None:
    before = parse(one.fingerprints["node2"], "node2").text("kernel", "release")
    (change,) = attempts.changes(one, changed(one, "kernel", "release", value="9.9"))
    assert change == Change("fingerprint", "node2: kernel.release", before, "9.9")
    problem = change.problem()
    assert problem.where == "node2: kernel.release"
    assert problem.seen == f"recorded {before}, now 9.9"
    assert "--accept-drift" in (problem.hint or "")


@pytest.mark.parametrize(
    "path",
    [
        ("boot", "time_s"),  # the captured nodes are containers: what they call their boot is their own start
        ("memory", "huge_pages"),
        ("link", "gso_max_size"),
        ("network", "netfilter"),
        ("sysctl", "setup", "net.ipv4.ip_forward"),
    ],
)
def test_whatever_changed_while_nothing_was_deployed_is_drift(one: Attempt, path: tuple[str, ...]) -> None:
    (change,) = [one for one in attempts.changes(one, changed(one, *path, value="other")) if one.now == "other"]
    assert change.where == f"node2: {'.'.join(path)}"


def test_what_changes_by_itself_is_no_drift(one: Attempt) -> None:
    assert attempts.changes(one, changed(one, "boot", "id", value="started again")) == ()
    assert attempts.changes(one, changed(one, "congestion_control", "available", value=["reno"])) == ()


def test_a_node_that_was_not_fingerprinted_is_named(one: Attempt) -> None:
    now = replace(one, number=2, fingerprints={"node1": one.fingerprints["node1"]})
    assert [change.where for change in attempts.changes(one, now)] == ["node2"]


def test_an_attempt_comes_back_from_its_file(one: Attempt, tmp_path: Path) -> None:
    drift = (Change("lab", "name", None, ["x"]),)
    attempts.write(RunFolder(tmp_path), replace(one, drift=drift))
    assert read_record(Attempt, tmp_path / "attempts" / "1.json") == replace(one, drift=drift)


def test_an_attempt_of_another_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    path.write_text('{"schema": "labctl.attempt/0"}')
    with pytest.raises(LabctlError) as raised:
        read_record(Attempt, path)
    (problem,) = raised.value.problems
    assert (problem.what, problem.where) == ("the schema is not labctl.attempt/1", f"{path}:schema")
    assert "the labctl that wrote it" in (problem.hint or "")
