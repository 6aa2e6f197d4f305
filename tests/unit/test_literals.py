"""Nothing that a person, a bundle, a cluster or a path says is a template to Ansible: it arrives as it was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml

from labctl import catalog
from labctl.bundle import install
from labctl.bundle.index import Bundle, BundleEdition, BundleFile
from labctl.catalog.editions import Use
from labctl.core.errors import UsageError
from labctl.core.files import OWN_PYTHON, read_yaml, write_yaml
from labctl.engine.events import TaskResult
from labctl.engine.session import Session
from labctl.labs.kubeconfig import ClusterOptions, lab
from labctl.plan.visit import setup_inventory
from tests.unit.synthetic import plan_of

EVIL = "{{ 1/0 }}"
PLAY = """\
- name: What arrives
  hosts: here
  gather_facts: false
  tasks:
    - name: Shown
      ansible.builtin.debug:
        msg: "{{ dict(names | zip(lookup('ansible.builtin.vars', *names, wantlist=True))) }}"
"""


def poisoned(value: Any) -> Any:
    """A record with the template in the place of each text."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: poisoned(getattr(value, field.name)) for field in fields(value)})
    if isinstance(value, Enum):
        return value
    if isinstance(value, Mapping):
        return {name: poisoned(below) for name, below in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(poisoned(below) for below in value)
    return EVIL if isinstance(value, str) else value


def of_a_plan(folder: Path) -> Mapping[str, Any]:
    """What setup.yml says of a node, of a plan that is a template wherever it has a text that nothing reads before."""
    plan = plan_of(catalog.load(), variant="veth-iptables", workload="tcp_rr", processes="1", rounds="1")
    setup = plan.setups[-1]
    evil = replace(
        poisoned(setup), id=setup.id, reference=None, encryption=setup.encryption, vars=poisoned(dict(setup.vars))
    )
    plan = replace(plan, setups=(*plan.setups[:-1], evil), idle=EVIL)
    visit = next(visit for visit in plan.visits if visit.setup == setup.id)
    variables: Mapping[str, Any] = setup_inventory(plan, visit, ["here"], folder / EVIL)["all"]["hosts"]["here"]
    return variables


def of_a_bundle() -> Mapping[str, Any]:
    """What the inventory of a cluster says, of a bundle that says nothing else."""
    names = ("etcd", "pause", "kube-apiserver")
    files = [BundleFile(EVIL, EVIL, name, Use.IMAGE, EVIL, f"{EVIL}/x", EVIL, EVIL, 1) for name in names]
    files += [replace(files[0], name="kubelet", use=Use.PROGRAM), replace(files[0], name="cilium-chart")]
    edition = BundleEdition(EVIL, EVIL, EVIL, (1,))
    bundle = Bundle("labctl.bundle/1", EVIL, EVIL, {EVIL: edition}, tuple(files))
    content = install.inventory(bundle, Path("/", EVIL), EVIL)["all"]
    return {**content["vars"], **content["children"]["cluster"]["vars"]}


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from texts(below)
    elif isinstance(value, (list, tuple)):
        for below in value:
            yield from texts(below)


def test_every_text_of_a_setup_a_bundle_and_a_path_arrives_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "a, b" / EVIL
    folder.mkdir(parents=True)
    given = {**of_a_plan(folder), **of_a_bundle(), "measure_stop_file": str(folder / "stop")}
    assert sum(EVIL in text for text in texts(given)) > 30
    (folder / "play.yml").write_text(PLAY)
    seen: list[dict[str, Any]] = []

    def listen(event: object) -> None:
        if isinstance(event, TaskResult) and event.action == "debug":
            seen.append(dict(event.data["msg"]))

    with Session() as session:
        here = {"ansible_connection": "local", "ansible_python_interpreter": OWN_PYTHON, "names": list(given)}
        write_yaml(folder / "setup.yml", {"all": {"hosts": {"here": {**given, **here}}}}, "Of a test.")
        with session.source({"all": {"hosts": {"here": {"more": EVIL}}}}) as more:
            sources = [folder / "setup.yml", *more]
            session.run_playbook(str(folder / "play.yml"), sources, listener=listen).require()
            listed = session.inventory(*sources)["_meta"]["hostvars"]["here"]
    written = read_yaml(folder / "setup.yml")["all"]["hosts"]["here"]
    (arrived,) = seen
    assert {name: (arrived[name], written[name]) for name in given if arrived[name] != written[name]} == {}
    assert {name: listed[name] for name in given} == arrived
    assert (listed["more"], listed["ansible_python_interpreter"]) == (EVIL, OWN_PYTHON)


def test_the_inventory_of_a_cluster_is_read_as_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    kubeconfig = tmp_path / EVIL.replace("/", "-")
    config = {
        "clusters": [{"name": EVIL, "cluster": {"server": "https://192.0.2.1"}}],
        "contexts": [{"name": EVIL, "context": {"cluster": EVIL}}],
        "current-context": EVIL,
    }
    kubeconfig.write_text(yaml.safe_dump(config))
    with pytest.raises(UsageError, match="this is no name of an image"):
        lab(ClusterOptions(str(kubeconfig), client="a", server="b", image=EVIL))
    options = ClusterOptions(str(kubeconfig), client="a", server="b")
    directory = lab(options)
    with Session() as session:
        variables = session.inventory(directory)["_meta"]["hostvars"]["a"]
        assert (variables["netperf_pods_kubeconfig"], variables["netperf_pods_context"]) == (str(kubeconfig), EVIL)
