"""labctl lab: the labs of this machine as their records tell them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labctl.engine.outcome import Outcome
from tests.unit.cli.run import Run
from tests.unit.lab_records import record
from tests.unit.scripted import Call, ScriptedSession, ended, two_nodes


@pytest.fixture
def state(lab: ScriptedSession, tmp_path: Path) -> Path:
    """The records of labs."""
    return tmp_path / "LABCTL_STATE_DIR"


def test_without_a_lab_the_way_to_one_is_shown(labctl: Run, state: Path) -> None:
    code, _, err = labctl("lab", "list")
    assert (code, err) == (0, "no lab; make one with: labctl lab create\n")
    code, out, _ = labctl("lab", "list", "--format", "json")
    assert (code, json.loads(out)) == (0, [])


def test_labs_are_listed_and_damaged_records_told(labctl: Run, state: Path) -> None:
    record(state, "vms", "vm")
    (state / "labs" / "half").mkdir()
    (state / "labs" / "half" / "lab.json").write_text("{")
    code, out, err = labctl("lab", "list", "--format", "csv")
    assert (code, out) == (0, "lab,kind,state,nodes\nvms,vm,running,node1=10.0.0.1:2201 node2=10.0.0.2:2202\n")
    assert err.startswith("warning: the record of lab half cannot be read")
    (only,) = json.loads(labctl("lab", "list", "--format", "json")[1])
    assert (only["name"], only["state"], only["nodes"][1]["port"]) == ("vms", "running", 2202)


def test_a_lab_that_was_created_is_told_with_its_nodes(labctl: Run, lab: ScriptedSession, state: Path) -> None:
    def create(call: Call) -> Outcome:
        record(state, "mine", "vm", kvm=False)
        call.end("vm_lab", "localhost", changed=True, name="mine")
        return ended("ok")

    lab.plays["lab_create.yml"] = create
    code, out, err = labctl("lab", "create", "-i", "mine")
    assert (code, out) == (0, "lab mine: node1 10.0.0.1:2201, node2 10.0.0.2:2202\n")
    assert "changed  localhost: Task of vm_lab" in err
    assert "the guests are emulated" in err


def test_a_lab_is_destroyed(labctl: Run, lab: ScriptedSession) -> None:
    code, out, _ = labctl("lab", "destroy", "-i", "mine")
    assert (code, out) == (0, "lab mine: nothing is left of it on this machine\n")
    assert lab.played == ["lab_destroy.yml"]


def test_a_lab_is_called_by_its_name_and_not_by_its_directory(labctl: Run, lab: ScriptedSession) -> None:
    lab.variables.update(two_nodes("cil", "local"))
    _, out, _ = labctl("lab", "destroy", "-i", "inventories/mine")
    assert out == "lab cil: nothing is left of it on this machine\n"


def test_a_shell_is_the_labs_ssh_with_a_command_after_it(
    labctl: Run, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(state)
    executed: list[tuple[str, list[str]]] = []
    monkeypatch.setattr("os.execvp", lambda name, argv: executed.append((name, argv)))
    assert labctl("lab", "shell", "-i", "mine", "node2", "--", "uname", "-r")[0] == 0
    ((name, argv),) = executed
    assert name == "ssh"
    assert argv[-3:] == ["root@10.0.0.2", "uname", "-r"]
