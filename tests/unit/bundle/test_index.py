"""Verifying a bundle: every way of being wrong is named."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.bundle import index as bundle
from labctl.bundle.index import Bundle
from labctl.core.errors import LabctlError
from tests.unit.bundle.loopback import image, problems, tar


def test_every_missing_altered_and_unknown_file_is_named(copied: tuple[Path, Bundle]) -> None:
    directory, _ = copied
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


def test_an_image_that_the_index_does_not_name_is_missed(copied: tuple[Path, Bundle]) -> None:
    directory, _ = copied
    index = json.loads((directory / "index.json").read_text())
    index["files"] = [file for file in index["files"] if file["name"] != "etcd"]
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "2021/images/etcd.tar").unlink()
    (problem,) = problems(lambda: bundle.verify(directory))
    assert problem.what == "the bundle has no image etcd for edition 2021"


def test_a_path_out_of_the_bundle_is_refused(copied: tuple[Path, Bundle]) -> None:
    directory, _ = copied
    index = json.loads((directory / "index.json").read_text())
    index["files"][0]["path"] = "../outside"
    (directory / "index.json").write_text(json.dumps(index))
    (problem,) = problems(lambda: bundle.verify(directory))
    assert problem.what == "a path that leads out of the bundle, or is none"
    assert problem.where == f"{directory / 'index.json'}:files[0].path"
    assert problem.seen == "'../outside'"


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("path", path) for path in ("/etc/passwd", "a/../../b", "..", ".", "", "a//b", "a/", ".making/part", "a\nb")),
        *(("path", path) for path in ("{{ 1/0 }}", "-rf", "a\\b", "a b", "x" * 5000, "index.json", "\x1b[2J")),
        *(("name", name) for name in ("../../etc/cron.d/x", "", ".", "-x", "a/b", "{{ lookup('pipe', 'id') }}", "\n")),
        *(("edition", name) for name in ("../x", "{{ 7*7 }}", "")),
        ("variants", ["../x"]),
        ("reference", "--all-platforms"),
        ("reference", "{{ 1/0 }}"),
        ("reference", "a" * 100_000),
        ("sha256", "abc"),
        ("sha256", "A" * 64),
        ("bytes", -1),
        ("bytes", 1 << 42),  # a sparse file has as many, and reading them takes a day
        ("bytes", 2**60),
        ("origin", "http://a\nb"),
        ("version", "\x1b]0;x\x07"),
    ],
)
def test_no_name_in_an_index_means_anything_else(copied: tuple[Path, Bundle], key: str, value: object) -> None:
    directory, _ = copied
    index = json.loads((directory / "index.json").read_text())
    index["files"][-1][key] = value
    (directory / "index.json").write_text(json.dumps(index))
    for problem in problems(lambda: bundle.read(directory)):
        assert str(problem.where).startswith(f"{directory / 'index.json'}:files[11].{key}")
        assert str(problem).isascii()
        assert len(str(problem)) < 1000
        assert problem.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architecture", "{{ lookup('pipe', 'id') }}"),
        ("created", "now\n"),
        *(("kubernetes", text) for text in ("{{ 1/0 }}", "1.20 2", "")),
        *(("kernel_low", text) for text in ("x", "1.2.3", "1.99999999999", "٣.٣")),
        ("cgroups", [3]),
    ],
)
def test_what_an_index_says_of_its_editions_is_what_it_looks_like(
    copied: tuple[Path, Bundle], key: str, value: object
) -> None:
    directory, _ = copied
    index = json.loads((directory / "index.json").read_text())
    (index if key in index else index["editions"]["2021"])[key] = value
    (directory / "index.json").write_text(json.dumps(index))
    (problem,) = problems(lambda: bundle.read(directory))
    assert key in str(problem.where)


def test_nothing_is_in_an_index_twice(copied: tuple[Path, Bundle]) -> None:
    directory, _ = copied
    index = json.loads((directory / "index.json").read_text())
    index["files"].append(index["files"][0])
    (directory / "index.json").write_text(json.dumps(index))
    told = {(problem.what, problem.seen) for problem in problems(lambda: bundle.read(directory))}
    path, name = index["files"][0]["path"], index["files"][0]["name"]
    assert told == {
        ("2 files of the bundle have the same path", path),
        ("2 files of the bundle have the same name", f"2021 {name}"),
    }


@pytest.mark.parametrize("kind", ["link", "parent", "fifo", "directory", "device"])
def test_nothing_but_files_is_read(copied: tuple[Path, Bundle], tmp_path: Path, kind: str) -> None:
    directory, _ = copied
    target, victim = directory / "2021/images/pause.tar", tmp_path / "victim"
    target.rename(victim)
    if kind == "link":
        target.symlink_to(victim)
    elif kind == "parent":
        victim.rename(target)
        (directory / "2021").rename(tmp_path / "elsewhere")
        (directory / "2021").symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "directory":
        target.mkdir()
    else:
        target.symlink_to("/dev/zero")
    told = problems(lambda: bundle.verify(directory))
    assert {problem.what for problem in told} <= {
        "there is a symbolic link in the bundle",
        "there is a FIFO in the bundle",
        "a file of the bundle is missing: 2021/images/pause.tar",
    }
    assert len(told) == 1


@pytest.mark.parametrize("kind", ["fifo", "link", "directory", "large", "deep", "digits", "binary"])
def test_an_index_that_no_bundle_has_is_refused(copied: tuple[Path, Bundle], tmp_path: Path, kind: str) -> None:
    directory, _ = copied
    index = directory / "index.json"
    if kind == "large":
        os.truncate(index, 3 << 30)
    elif kind in ("deep", "digits", "binary"):
        index.write_bytes({"deep": DEEP.encode(), "digits": b"9" * 100_000, "binary": b"\xff\x00"}[kind])
    else:
        index.rename(tmp_path / "index")
        {"fifo": os.mkfifo, "link": lambda at: at.symlink_to(tmp_path / "index"), "directory": Path.mkdir}[kind](index)
    (problem,) = problems(lambda: bundle.verify(directory))
    assert str(index) in str(problem.where)
    assert problem.hint


@pytest.mark.parametrize("kind", ["file", "nothing", "link"])
def test_what_is_no_directory_is_no_bundle(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bundle"
    if kind == "file":
        path.touch()
    elif kind == "link":
        path.symlink_to(tmp_path / "nothing")
    (problem,) = problems(lambda: bundle.verify(path))
    assert problem.what == "this is no bundle: its index cannot be read"


def test_a_bundle_that_others_can_write_is_not_believed(copied: tuple[Path, Bundle]) -> None:
    directory, _ = copied
    directory.chmod(0o777)
    (problem,) = problems(lambda: bundle.verify(directory))
    assert problem.what.startswith("the bundle is not believed")
    assert "every user may write it" in str(problem.seen)


def test_a_good_checksum_does_not_make_a_bad_archive_good(copied: tuple[Path, Bundle]) -> None:
    directory, _ = copied
    index = json.loads((directory / "index.json").read_text())
    by_name = {file["name"]: file for file in index["files"]}
    for name, content in (
        ("containerd", tar({"../../etc/cron.d/x": b"x"})),
        ("pause", image("other/pause:9")),
    ):
        (directory / by_name[name]["path"]).write_bytes(content)
        by_name[name] |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (directory / "index.json").write_text(json.dumps(index))
    told = {problem.what: problem.seen for problem in problems(lambda: bundle.verify(directory))}
    assert told == {
        "a file of the bundle is of no use: 2021/archives/containerd": (
            "an archive with a way out of its directory: '../../etc/cron.d/x'"
        ),
        "a file of the bundle is of no use: 2021/images/pause.tar": "the archive of another image: other/pause:9",
    }


def test_of_many_unknown_files_some_are_named(copied: tuple[Path, Bundle]) -> None:
    directory, _ = copied
    for number in range(100):
        (directory / f"stranger{number}").touch()
    told = problems(lambda: bundle.verify(directory))
    assert len(told) == bundle.MOST_TOLD + 1
    assert told[-1].what == "80 more files that the index does not name"


def test_a_directory_without_an_index_is_no_bundle(tmp_path: Path) -> None:
    (problem,) = problems(lambda: bundle.verify(tmp_path))
    assert problem.what == "this is no bundle: its index cannot be read"


def test_the_only_edition_is_meant_where_none_is_named(copied: tuple[Path, Bundle]) -> None:
    directory, index = copied
    assert bundle.choose(index, None, directory) == "2021"
    (problem,) = problems(lambda: bundle.choose(index, "current", directory))
    assert (problem.what, problem.seen) == ("the bundle does not hold this edition", "current")


def test_of_several_editions_one_has_to_be_named(copied: tuple[Path, Bundle]) -> None:
    directory, index = copied
    several = replace(index, editions={**index.editions, "current": index.editions["2021"]})
    (problem,) = problems(lambda: bundle.choose(several, None, directory))
    assert (problem.what, problem.hint) == ("the bundle holds several editions", "choose one with --edition")
    assert bundle.choose(several, "current", directory) == "current"


def test_what_the_index_says_of_a_file_has_to_fit(copied: tuple[Path, Bundle]) -> None:
    directory, _ = copied
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
        ("{", "a file is not valid JSON"),
        ('{"created": "\\ud800"}', "a file holds what no record has"),
        ('{"files": [{"bytes": 1000000000000000000000000000000}]}', "a file holds what no record has"),
        (" " * (4 << 20) + "{}", "a file is larger than any of its kind"),
        ('{"schema": "labctl.bundle/1"}', "missing key"),
    ],
)
def test_an_index_that_is_none_is_named(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(LabctlError) as raised:
        bundle.read(tmp_path)
    assert raised.value.problems[0].what == what
    assert raised.value.problems[0].hint == bundle.AGAIN
    assert str(tmp_path / "index.json") in str(raised.value)
