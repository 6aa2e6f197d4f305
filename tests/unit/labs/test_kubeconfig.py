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
    return write(tmp_path / "config")


def write(path: Path, cluster: Any = None, user: Any = None, context: Any = None, **others: Any) -> Path:
    """Write a kubeconfig of two contexts, with more in the entries of its cluster, its user and its first context."""
    contexts = [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("admin@Production 1", "other")]
    contexts[0]["context"] |= context or {}  # type: ignore[operator]
    content = {
        "contexts": contexts,
        "current-context": "admin@Production 1",
        "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.1:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content | others))
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
        ({"kubeconfig": None, "image_pull_secret": "x"}, ["--image-pull-secret without --kubeconfig"]),
        ({"kubeconfig": "", "client": "a", "server": "b"}, ["an option is empty"]),
        ({"client": "a", "server": "b", "image": "", "context": " "}, ["an option is empty"] * 2),
        ({"client": "{{ 1/0 }}", "server": "../b"}, ["this cannot be the name of a node"] * 2),
        ({"client": "a", "server": "b", "image": "{{ 1/0 }}"}, ["this is no name of an image"]),
        ({"client": "a", "server": "b", "image": "x y"}, ["this is no name of an image"]),
        ({"client": "a", "server": "b", "image_pull_secret": "a/b/c"}, ["this is no name of a secret"]),
        ({"client": "a", "server": "b", "image_pull_secret": "../x"}, ["this is no name of a secret"]),
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
    assert all(problem.hint for problem in refused.value.problems)


def test_a_secret_without_a_namespace_is_that_of_the_context(kubeconfig: Path) -> None:
    def secret(path: Path, name: str) -> object:
        directory = lab(ClusterOptions(str(path), client="a", server="b", image_pull_secret=name))
        return written(directory)["vars"]["netperf_pods_pull_secret"]

    assert secret(kubeconfig, "mine") == "default/mine"
    assert secret(kubeconfig, "team/mine") == "team/mine"
    assert secret(write(kubeconfig, context={"namespace": "bench"}), "mine") == "bench/mine"


def refusal(path: Path) -> list[tuple[str, str | None]]:
    """What and where of all that is wrong with a kubeconfig; each says what to do."""
    with pytest.raises(UsageError) as refused:
        lab(ClusterOptions(str(path), client="a", server="b"))
    assert all(problem.hint for problem in refused.value.problems)
    return [(problem.what, problem.where) for problem in refused.value.problems]


def test_what_a_kubeconfig_refers_to_begins_in_its_own_directory(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = kubeconfig.parent / "clusters" / "one"
    user = {"client-certificate": "pki/crt", "client-key": "pki/key", "tokenFile": "../token"}
    path = write(home / "config", {"certificate-authority": "pki/ca"}, user)
    monkeypatch.chdir(kubeconfig.parent)
    assert refusal(Path("clusters/one/config")) == [
        (f"the kubeconfig's {key} cannot be read", repr(str(home / name)))
        for key, name in (
            ("certificate-authority", "pki/ca"),
            ("client-certificate", "pki/crt"),
            ("client-key", "pki/key"),
            ("tokenFile", "../token"),
        )
    ]
    (home / "pki").mkdir()
    for name in ("pki/ca", "pki/crt", "pki/key", "../token"):
        (home / name).write_text("x")
    assert written(lab(ClusterOptions("clusters/one/config", client="a", server="b")))["vars"][
        "netperf_pods_kubeconfig"
    ] == str(path)
    write(path, {"certificate-authority": "no", "certificate-authority-data": "eA=="})  # the data counts
    assert lab(ClusterOptions(str(path), client="a", server="b"))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_name_that_no_file_can_have_is_that_of_no_file(kubeconfig: Path, name: str) -> None:
    (found,) = refusal(write(kubeconfig, user={"tokenFile": name}))
    assert found[0] == "the kubeconfig's tokenFile cannot be read"
    (found,) = refusal(kubeconfig.parent / f"{name}:{name}")
    assert found[0] == "the kubeconfig cannot be read"


def test_a_program_that_logs_in_has_to_be_there_and_to_ask_nobody(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(kubeconfig.parent / "bin"))
    gone, asks = "the program that logs in is not there", "the login of this kubeconfig wants to ask somebody"
    for command in ("aws", "./bin/aws", "", None):
        assert refusal(write(kubeconfig, user={"exec": {"command": command}}))[0][0] == gone
    (kubeconfig.parent / "bin").mkdir()
    (kubeconfig.parent / "bin" / "aws").touch(mode=0o755)
    for command in ("aws", "./bin/aws", str(kubeconfig.parent / "bin" / "aws")):
        write(kubeconfig, user={"exec": {"command": command, "interactiveMode": "IfAvailable"}})
        assert lab(ClusterOptions(str(kubeconfig), client="a", server="b"))
    assert refusal(write(kubeconfig, user={"exec": {"command": "aws", "interactiveMode": "Always"}}))[0][0] == asks
    assert refusal(write(kubeconfig, user={"exec": "aws"}))[0][0] == gone


def test_one_of_several_contexts_is_taken_and_has_to_be_whole(kubeconfig: Path) -> None:
    options = ClusterOptions(str(kubeconfig), context="other", client="a", server="b")
    assert written(lab(options))["vars"]["netperf_pods_context"] == "other"
    where = f"{kubeconfig}:contexts['admin@Production 1']"
    for changed in ({"cluster": "d"}, {"cluster": None}, {"cluster": ["c"]}):
        write(kubeconfig, context=changed)
        assert refusal(kubeconfig) == [("the context's cluster is not in the kubeconfig", f"{where}.cluster")]
    for name in (None, "", "None"):  # what is called nothing, or "None", is not what nothing names
        named = {"name": name, "cluster": {"server": "https://192.0.2.1:6443"}}
        for cluster in (None, ""):
            write(kubeconfig, context={"cluster": cluster}, clusters=[named])
            assert refusal(kubeconfig) == [("the context's cluster is not in the kubeconfig", f"{where}.cluster")]
    write(kubeconfig, context={"user": "v"})
    assert refusal(kubeconfig) == [("the context's user is not in the kubeconfig", f"{where}.user")]
    assert refusal(write(kubeconfig, {"server": None})) == [("the context's cluster names no server", str(kubeconfig))]
    write(kubeconfig, context={"user": ""})  # a cluster that asks nobody who he is
    assert lab(ClusterOptions(str(kubeconfig), client="a", server="b"))


def test_several_files_are_to_be_made_one(kubeconfig: Path) -> None:
    with pytest.raises(UsageError, match="kubectl config view --flatten"):
        lab(ClusterOptions(f"{kubeconfig}:{kubeconfig}.2", client="a", server="b"))


@pytest.mark.parametrize("kind", ["contexts", "clusters", "users"])
@pytest.mark.parametrize("entry", ["x", 5, None, ["name"]])
def test_entries_that_are_none_are_refused(kubeconfig: Path, kind: str, entry: object) -> None:
    refused = f"an entry of {kind} is not as a kubeconfig has it"
    assert refusal(write(kubeconfig, **{kind: [entry]})) == [(refused, str(kubeconfig))]
    assert refusal(write(kubeconfig, **{kind: [{"name": "u", kind[:-1]: [1]}]})) == [(refused, str(kubeconfig))]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "the kubeconfig cannot be read"),
        ("a: [", "the kubeconfig cannot be read"),
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


def test_a_home_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no home directory") as refused:
        lab(ClusterOptions("~nobody-of-this-name/config", client="a", server="b"))
    assert refused.value.problems[0].where == "--kubeconfig"


def test_a_file_whose_name_no_file_can_have_cannot_be_read(kubeconfig: Path) -> None:
    write(kubeconfig, user={"client-certificate": "x" * 5000, "client-key": "a\0b"})
    with pytest.raises(UsageError) as refused:
        lab(ClusterOptions(str(kubeconfig), client="a", server="b"))
    assert [problem.seen for problem in refused.value.problems] == ["no such file", "no such file"]


def test_aliases_that_multiply_are_refused(kubeconfig: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(10)]
    kubeconfig.write_text("\n".join([*lines, "contexts: [*a10]", ""]))
    with pytest.raises(UsageError, match="aliases that stand for more"):
        lab(ClusterOptions(str(kubeconfig), client="a", server="b"))


def test_a_program_that_logs_in_and_others_may_write_is_not_believed(kubeconfig: Path, tmp_path: Path) -> None:
    program = tmp_path / "login"
    program.touch()
    program.chmod(0o777)
    write(kubeconfig, user={"exec": {"command": str(program)}})
    with pytest.raises(UsageError, match="the program that logs in is not believed") as refused:
        lab(ClusterOptions(str(kubeconfig), client="a", server="b"))
    assert refused.value.problems[0].where == str(program)
    program.chmod(0o755)
    assert lab(ClusterOptions(str(kubeconfig), client="a", server="b")).is_dir()
