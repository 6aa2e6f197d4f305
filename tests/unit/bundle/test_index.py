"""Verifying a bundle: every way of being wrong is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.bundle import index as bundle
from labctl.bundle.index import Bundle
from labctl.core.errors import LabctlError, Problem
from tests.unit.bundle.loopback import problems


def test_every_missing_altered_and_unknown_file_is_named(made: tuple[Path, Bundle]) -> None:
    directory, _ = made
    (directory / "2021/images/pause.tar").unlink()
    (directory / "2021/programs/kubelet").write_text("KUBELET\n")
    (directory / "2021/programs/kubeadm").write_text("longer than before\n")
    (directory / "2021/programs/stranger").write_text("x")
    found = {problem.what for problem in problems(lambda: bundle.verify(directory))}
    assert found == {
        "a file of the bundle is missing: 2021/images/pause.tar",
        "a file of the bundle was altered: 2021/programs/kubelet",
        "a file of the bundle was altered: 2021/programs/kubeadm",
        "a file that the index does not name",
    }


def test_an_image_that_the_index_does_not_name_is_missed(made: tuple[Path, Bundle]) -> None:
    directory, _ = made
    index = json.loads((directory / "index.json").read_text())
    index["files"] = [file for file in index["files"] if file["name"] != "etcd"]
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "2021/images/etcd.tar").unlink()
    (problem,) = problems(lambda: bundle.verify(directory))
    assert problem.what == "the bundle has no image etcd for edition 2021"


def test_a_path_out_of_the_bundle_is_refused(made: tuple[Path, Bundle]) -> None:
    directory, _ = made
    index = json.loads((directory / "index.json").read_text())
    index["files"][0]["path"] = "../outside"
    (directory / "index.json").write_text(json.dumps(index))
    assert Problem("a path that leads out of the bundle", str(directory / "index.json"), "../outside") in problems(
        lambda: bundle.verify(directory)
    )


def test_a_directory_without_an_index_is_no_bundle(tmp_path: Path) -> None:
    (problem,) = problems(lambda: bundle.verify(tmp_path))
    assert problem.what == "this is no bundle: its index cannot be read"


def test_the_only_edition_is_meant_where_none_is_named(made: tuple[Path, Bundle]) -> None:
    directory, index = made
    assert bundle.choose(index, None, directory) == "2021"
    (problem,) = problems(lambda: bundle.choose(index, "current", directory))
    assert (problem.what, problem.seen) == ("the bundle does not hold this edition", "current")


def test_of_several_editions_one_has_to_be_named(made: tuple[Path, Bundle]) -> None:
    directory, index = made
    several = replace(index, editions={**index.editions, "current": index.editions["2021"]})
    (problem,) = problems(lambda: bundle.choose(several, None, directory))
    assert (problem.what, problem.hint) == ("the bundle holds several editions", "choose one with --edition")
    assert bundle.choose(several, "current", directory) == "current"


def test_what_the_index_says_of_a_file_has_to_fit(made: tuple[Path, Bundle]) -> None:
    directory, _ = made
    index = json.loads((directory / "index.json").read_text())
    by_name = {file["name"]: file for file in index["files"]}
    by_name["pause"]["reference"] = None
    by_name["runc"]["reference"] = "registry.k8s.io/runc:1"
    by_name["kubelet"]["edition"] = "current"
    (directory / "index.json").write_text(json.dumps(index))
    told = problems(lambda: bundle.verify(directory))
    found = {(problem.what, str(problem.where).rpartition("/")[2]) for problem in told}
    assert found == {
        ("the bundle has no file kubelet for edition 2021", "index.json"),
        ("a file belongs to no edition of the bundle", "kubelet"),
        ("an image has no reference", "pause.tar"),
        ("only images have a reference", "runc"),
    }


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "the index of the bundle is not valid JSON"),
        ('{"schema": "labctl.bundle/1"}', "missing key"),
    ],
)
def test_an_index_that_is_none_is_named(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(LabctlError) as raised:
        bundle.read(tmp_path)
    assert raised.value.problems[0].what == what
    assert str(tmp_path / "index.json") in str(raised.value)
