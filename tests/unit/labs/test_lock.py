"""One writer per lab: who holds it is told, and a dead owner holds nothing."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from labctl.core.errors import LabctlError
from labctl.engine.inventory import Inventory
from labctl.labs import lock

HOLD = """
import sys, pathlib
from labctl.labs import lock
with lock.held("metal", "lab-metal", "matrix", pathlib.Path(sys.argv[1])) as held:
    held.tell(pathlib.Path("/runs/one"))
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_labctl_is_refused_with_the_owner(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(LabctlError) as raised, lock.held("metal", "lab-metal", "provision", tmp_path):
        pass
    owner.communicate("")
    (problem,) = raised.value.problems
    assert (problem.what, problem.where) == ("another labctl uses this lab", "lab metal")
    assert problem.seen is not None
    assert problem.seen.startswith(f"labctl matrix, process {owner.pid} on {platform.node()}, run /runs/one, since ")
    assert list(tmp_path.iterdir()) == []  # the owner left nothing
    with lock.held("metal", "lab-metal", "provision", tmp_path) as held:
        assert held.dead is None


def test_a_dead_owner_holds_nothing_and_is_named(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    with lock.held("metal", "lab-metal", "provision", tmp_path) as held:
        assert held.dead is not None
        assert (held.dead.pid, held.dead.run, held.dead.command) == (owner.pid, "/runs/one", "matrix")
        content = json.loads(next(tmp_path.iterdir()).read_text())
        assert (content["pid"], content["run"], content["command"]) == (os.getpid(), None, "provision")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", '{"schema": "labctl.lock/0"}', "[]"])
def test_a_half_written_owner_does_not_keep_the_lab(tmp_path: Path, content: str) -> None:
    (tmp_path / "labctl-x.lock").write_text(content)
    with lock.held("x", "x", "matrix", tmp_path) as held:
        assert held.dead is None


def test_other_labs_are_free(tmp_path: Path) -> None:
    with lock.held("one", "lab-one", "matrix", tmp_path), lock.held("two", "lab-two", "matrix", tmp_path):
        assert len(list(tmp_path.iterdir())) == 2


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(LabctlError, match="cannot be opened"), lock.held("x", "x", "matrix", missing):
        pass


def key(name: str, kind: str, client: Mapping[str, object], server: Mapping[str, object]) -> str:
    return lock.key(Inventory(Path("/labs"), name, kind, "a", "b", {"a": client, "b": server}))


def test_a_lab_of_servers_is_locked_by_its_servers() -> None:
    one, two = {"ansible_host": "10.0.0.1"}, {"ansible_host": "10.0.0.2", "ansible_port": 2222}
    other = {"ansible_host": "10.0.0.3"}
    assert key("metal", "metal", one, two) == key("other", "metal", one, two)
    assert key("metal", "metal", one, two) != key("metal", "metal", one, other)
    for kind in ("local", "vm"):
        assert key("mine", kind, one, two) == key("mine", kind, two, one) == "lab-mine"


MEASURE = """
import sys, pathlib
from labctl.engine.inventory import Inventory
from labctl.labs import lock
lock.SHARED = pathlib.Path(sys.argv[1])
lab = Inventory(pathlib.Path("/labs"), sys.argv[2], sys.argv[3], "a", "b", {"a": {}, "b": {}})
with lock.measuring(lab, "matrix", lambda words: print(words, flush=True)) as held:
    for one in held:
        one.tell(pathlib.Path("/runs/" + sys.argv[2]))
    print("measures", flush=True)
    sys.stdin.read()
"""


class Measuring(subprocess.Popen[str]):
    """A labctl that measures on a lab until its input ends."""

    def __init__(self, directory: Path, lab: str, kind: str) -> None:
        directory.chmod(0o1777)
        command = [sys.executable, "-c", MEASURE, str(directory), lab, kind]
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def says(self) -> str:
        assert self.stdout is not None
        return self.stdout.readline().rstrip()


def test_two_labs_of_one_machine_are_measured_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SHARED", tmp_path)
    with Measuring(tmp_path, "first", "local") as first:
        assert first.says() == "measures"
        owner = lock.measured_by()
        assert owner is not None
        assert (owner.lab, owner.pid, owner.run) == ("first", first.pid, "/runs/first")
        with Measuring(tmp_path, "second", "vm") as second:
            words = second.says()
            assert words.startswith("waiting until nobody else measures on this machine, which two labs would share: ")
            assert f"labctl matrix, process {first.pid} on {platform.node()}, run /runs/first, since " in words
            with Measuring(tmp_path, "servers", "metal") as servers:
                assert servers.says() == "measures"  # elsewhere
                servers.communicate("")
            first.send_signal(signal.SIGKILL)  # the kernel frees what it held
            assert second.says() == "measures"
            second.communicate("")
    assert lock.measured_by() is None
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_nobody_measures_on_has_no_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(lock, "SHARED", tmp_path)
    assert lock.measured_by() is None
    (tmp_path / "labctl-measuring.lock").write_text("left by an owner that died")
    assert lock.measured_by() is None
