"""An existing cluster as a lab: the inventory that is written, and what is wrong with the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from labctl.core.errors import UsageError
from labctl.core.files import read_yaml
from labctl.labs.kubeconfig import IMAGE, ClusterOptions, lab


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a kubeconfig with two contexts; inventories are written below the test's directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "config"
    contexts = [{"name": name, "context": {"cluster": "c"}} for name in ("admin@Production 1", "other")]
    path.write_text(yaml.safe_dump({"contexts": contexts, "current-context": "admin@Production 1"}))
    return path


def written(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_yaml(directory / "hosts.yml")["all"]
    return content


def test_a_cluster_is_an_inventory_of_two_of_its_nodes(kubeconfig: Path) -> None:
    directory = lab(ClusterOptions(str(kubeconfig), client="a.example", server="b.example"))
    content = written(directory)
    assert content["children"] == {"client": {"hosts": {"a.example": {}}}, "server": {"hosts": {"b.example": {}}}}
    values = content["vars"]
    assert (values["lab_name"], values["lab_kind"]) == ("production-1", "cluster")
    assert values["netperf_pods_context"] == "admin@Production 1"
    assert (values["netperf_pods_image"], values["netperf_pods_pull"]) == (IMAGE, "IfNotPresent")


def test_the_same_options_give_the_same_lab_and_other_nodes_another_owner(kubeconfig: Path) -> None:
    one = lab(ClusterOptions(str(kubeconfig), client="a", server="b"))
    assert lab(ClusterOptions(str(kubeconfig), client="a", server="b", image="mine")) == one
    assert written(one)["vars"]["netperf_pods_image"] == "mine"
    other = lab(ClusterOptions(str(kubeconfig), client="b", server="a"))
    assert written(other)["vars"]["netperf_pods_owner"] != written(one)["vars"]["netperf_pods_owner"]


@pytest.mark.parametrize(
    ("options", "whats"),
    [
        ({"kubeconfig": None, "client": "a"}, ["--client without --kubeconfig"]),
        ({"client": "a"}, ["no node for the server"]),
        (
            {"client": "a", "server": "a"},
            ["client and server are the same node: there is no path between nodes to measure"],
        ),
        ({"client": "a", "server": "b", "context": "third"}, ["the kubeconfig has no such context"]),
    ],
)
def test_options_that_name_no_lab_are_refused(kubeconfig: Path, options: dict[str, Any], whats: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        lab(ClusterOptions(**{"kubeconfig": str(kubeconfig), **options}))
    assert [problem.what for problem in refused.value.problems] == whats


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "the kubeconfig cannot be read"),
        ("a: [", "the kubeconfig is not YAML"),
        ("kind: Pod", "this is no kubeconfig: it has no contexts"),
        ("contexts: []", "the kubeconfig has no current context"),
    ],
)
def test_what_is_no_kubeconfig_is_told_together_with_the_rest(kubeconfig: Path, text: str | None, what: str) -> None:
    kubeconfig.unlink()
    if text is not None:
        kubeconfig.write_text(text)
    with pytest.raises(UsageError) as refused:
        lab(ClusterOptions(str(kubeconfig), client="a"))
    assert [problem.what for problem in refused.value.problems] == ["no node for the server", what]
