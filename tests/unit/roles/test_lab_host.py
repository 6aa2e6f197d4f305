"""What root removes for a lab: its own directory and nothing else, and never while something of it still runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils import lab_host_record as shared
from ansible.module_utils import local_lab_record as local
from ansible.module_utils import vm_lab_guests as guests
from ansible.module_utils import vm_lab_qemu as qemu
from ansible.module_utils.lab_host_removal import mounted_in
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.local_lab_remains import left_of, supervisors

Make = Callable[[str], Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the directory of a lab with a record of this name and a key."""

    def one(name: str) -> Path:
        directory = tmp_path / "labs" / name
        (directory / "seeds" / "node1").mkdir(parents=True)
        (directory / "id_ed25519").write_text("secret")
        (directory / "lab.json").write_text(json.dumps({"schema": "labctl.lab/2", "name": name}))
        return directory

    return one


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../labs", "/", "/etc", "a/b", "Local", "-x", "local\n", "{{ 1/0 }}", "l" * 21, ".removing-one"],
)
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_done(make: Make, tmp_path: Path, name: str) -> None:
    make("one")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Refused, match=r"The lab's name cannot name interfaces and namespaces\.\n  where: lab_name"):
        shared.Files(str(tmp_path), name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_lab_is_removed_and_the_others_stay(make: Make, tmp_path: Path) -> None:
    make("one")
    two = make("two")
    files = shared.Files(str(tmp_path), "one")
    assert files.remove()
    assert not files.remove()
    assert list((tmp_path / "labs").iterdir()) == [two]


def test_what_a_crash_left_without_a_record_is_a_labs(make: Make, tmp_path: Path) -> None:
    (make("one") / "lab.json").unlink()
    assert shared.Files(str(tmp_path), "one").remove()


def moved_over(make: Make, one: Path) -> None:
    make("two").joinpath("lab.json").rename(one / "lab.json")


def without_a_record(_: Make, one: Path) -> None:
    (one / "lab.json").unlink()
    (one / "thesis.tex").touch()


def a_link(make: Make, one: Path) -> None:
    one.rename(one.with_name("x"))
    one.symlink_to(make("two"))


def a_file(_: Make, one: Path) -> None:
    one.rename(one.with_name("x"))
    one.touch()


STRANGE: dict[str, tuple[Callable[[Make, Path], object], str]] = {
    "another lab's record": (moved_over, '"name": "two"'),
    "another program's record": (lambda _, one: (one / "lab.json").write_text("{}"), "its record says {"),
    "an unreadable record": (lambda _, one: (one / "lab.json").write_text("{"), "its record cannot be read"),
    "a deep record": (lambda _, one: (one / "lab.json").write_text("[" * 10**5), "its record cannot be read"),
    "a stranger's files": (without_a_record, "no record, and in it thesis.tex"),
    "a link": (a_link, "a symbolic link"),
    "a file": (a_file, "no directory"),
}


@pytest.mark.parametrize(("change", "seen"), STRANGE.values(), ids=STRANGE)
def test_what_is_not_the_labs_directory_stays(
    make: Make, tmp_path: Path, change: Callable[[Make, Path], object], seen: str
) -> None:
    change(make, make("one"))
    before = sorted(tmp_path.rglob("*"))
    files = shared.Files(str(tmp_path), "one")
    for act in (files.remove, files.begin):
        with pytest.raises(Refused, match=r"This is not the directory of the lab one\.") as refused:
            act()
        assert seen in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_removal_that_was_cut_short_is_finished(make: Make, tmp_path: Path) -> None:
    make("one").rename(tmp_path / "labs" / ".removing-one")
    files = shared.Files(str(tmp_path), "one")
    assert local.others(str(tmp_path), "two") == []
    make("one")
    assert files.remove()
    assert list((tmp_path / "labs").iterdir()) == []
    make("one").rename(tmp_path / "labs" / ".removing-one")
    assert files.remove()
    assert list((tmp_path / "labs").iterdir()) == []


def test_what_cannot_be_removed_is_told(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str) -> None:
        raise PermissionError(1, "Operation not permitted", f"{path}/seeds")

    make("one")
    monkeypatch.setattr("shutil.rmtree", full)
    with pytest.raises(Refused, match=r"cannot be removed\.\n(.|\n)*seen:  .*seeds: Operation not"):
        shared.Files(str(tmp_path), "one").remove()


def test_mounts_are_seen() -> None:
    assert mounted_in("/proc")[0] == "/proc"


def test_a_record_of_another_lab_says_nothing_of_this_one(make: Make, tmp_path: Path) -> None:
    record = make("one") / "lab.json"
    record.write_text(json.dumps({"kind": "local", "name": "two", "boot_id": "x", "nodes": []}))
    with pytest.raises(Refused, match="it is the record of a lab called 'two'"):
        local.read(str(tmp_path), "one")
    record.write_text(json.dumps({"kind": "local", "name": "one", "boot_id": "x", "nodes": [{"name": "../a"}]}))
    with pytest.raises(Refused, match="exactly two nodes"):
        local.read(str(tmp_path), "one")


def test_a_node_that_runs_without_a_record_is_told() -> None:
    lab = f"t{os.getpid()}"
    options = ("--hostname=node-1", f"--machine=labctl-{lab}-node-1")
    argv = ["systemd-nspawn", "-c", "print('runs', flush=True); input()", *options]
    with subprocess.Popen(argv, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as node:
        assert node.stdout is not None
        node.stdout.readline()
        assert supervisors(lab) == {"node-1": [node.pid]}
        assert supervisors(f"{lab}-node") == {}  # lab-node's node 1 would be called alike
        (problem,) = left_of(lab, "/state/labs/x/lab.json", ["node-1", "node-2"])
        node.communicate(b"\n")
    assert problem["what"].startswith(f"The lab {lab} is not gone: this runs under its name")
    assert (problem["where"], problem["seen"]) == ("node node-1", f"process {node.pid} (systemd-nspawn)")
    assert "put it back (/state/labs/x/lab.json) and destroy the lab again" in problem["hint"]
    assert f"`kill -9 {node.pid}`" in problem["hint"]
    assert list(left_of(lab, "", ["node-1"])) == []


def test_a_guest_that_runs_where_no_record_is_is_told(tmp_path: Path) -> None:
    lab = f"t{os.getpid()}"
    directory = tmp_path / "elsewhere" / "node1"
    directory.mkdir(parents=True)
    script = directory / f"labctl-{lab}-node1"
    os.mkfifo(script)
    # A shell takes `-name` for four options of its own, and waits for its script.
    argv = [qemu.QEMU, "-name", script.name]
    with subprocess.Popen(argv, executable="/bin/sh", cwd=directory) as guest:
        (problem,) = guests.left_of(lab, "/state/labs/x/lab.json")
        script.write_text("")
    assert (problem["where"], problem["seen"]) == ("guest node1", f"process {guest.pid} ({qemu.QEMU}) in {directory}")
    assert list(guests.left_of(lab, "")) == []
