"""Labs of this machine: made and removed by playbooks, read from their records, logged in to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.core.errors import LabctlError, UsageError
from labctl.core.files import read_yaml, write_json
from labctl.core.records import encode
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Outcome
from labctl.labs import embedded as labs
from labctl.labs.embedded import LabState
from tests.unit.lab_records import let_become_root, record, stop
from tests.unit.scripted import Call, ScriptedSession, ended, failing


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where labs of this machine are recorded."""
    monkeypatch.setenv("LABCTL_STATE_DIR", str(tmp_path / "state"))
    let_become_root(monkeypatch, tmp_path / "bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    directory = tmp_path / "inventories" / "mine"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def session() -> Iterator[ScriptedSession]:
    with ScriptedSession() as opened:
        yield opened


def test_records_that_are_not_understood_are_told_and_the_rest_is_listed(state: Path) -> None:
    for name, content in (("half", '{"schema"'), ("old", '{"schema": "labctl.lab/1"}')):
        (state / "labs" / name).mkdir(parents=True)
        (state / "labs" / name / "lab.json").write_text(content)
    whole = record(state, "whole")
    found, problems = labs.list_labs()
    assert (labs.names(), found) == (("half", "old", "whole"), (whole,))
    assert [problem.what for problem in problems] == [
        "the record of lab half cannot be read",
        "the record of lab old is not of schema labctl.lab/2",
    ]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"schema": "\\ud800"}', None])
def test_a_record_that_no_lab_has_is_told(state: Path, content: str | None) -> None:
    path = state / "labs" / "odd" / "lab.json"
    path.parent.mkdir(parents=True)
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
    found, (problem,) = labs.list_labs()
    assert (found, problem.what, problem.where) == ((), "the record of lab odd cannot be read", str(path))
    assert problem.hint


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"pid": 1}', '{"pid": "\\u0000", "started": 1}', None])
def test_whether_a_node_runs_that_its_pidfile_does_not_say_is_not_made_up(state: Path, content: str | None) -> None:
    """An empty one is what a crash of the machine leaves."""
    pidfile = Path(record(state).nodes[0].pidfile)
    pidfile.unlink()
    if content is None:
        os.mkfifo(pidfile)
    else:
        pidfile.write_text(content)
    with pytest.raises(LabctlError) as refused:
        _ = labs.read("mine").state
    for problem in refused.value.problems:
        assert str(problem.where).startswith(str(pidfile))
        assert problem.hint


@pytest.mark.parametrize("changed", [{"kind": "mettal"}, {"kind": None}, {"nodes": 3}, {"boot_id": []}])
def test_a_record_with_a_value_that_no_lab_has_says_what_to_do(state: Path, changed: dict[str, object]) -> None:
    write_json(state / "labs" / "mine" / "lab.json", encode(record(state)) | changed)
    with pytest.raises(LabctlError) as refused:
        labs.read("mine")
    for problem in refused.value.problems:
        assert str(problem.where).startswith(str(state / "labs" / "mine" / "lab.json"))
        assert problem.hint == "see what it is, or destroy the lab with the labctl that created it"


@pytest.mark.parametrize(
    ("stopped", "expected"),
    [
        ((), LabState.RUNNING),
        (("node2",), LabState.PARTLY),
        (("node1", "node2"), LabState.STOPPED),
    ],
)
def test_a_lab_runs_as_far_as_its_nodes_do(state: Path, stopped: tuple[str, ...], expected: LabState) -> None:
    lab = record(state)
    stop(lab, *stopped)
    assert lab.state is expected
    assert labs.is_up("mine") == (expected is LabState.RUNNING)


@pytest.mark.parametrize("stopped", [(), ("node2",), ("node1", "node2"), None])
def test_a_lab_of_which_nothing_runs_is_not_reached_for(state: Path, stopped: tuple[str, ...] | None) -> None:
    if stopped is not None:
        stop(record(state), *stopped)
    lab = Inventory(Path("mine"), "mine", "local", "node1", "node2", {})
    if stopped in ((), ("node2",)):
        labs.require_running(lab)
    else:
        with pytest.raises(LabctlError, match=r"(?s)lab mine does not run on this machine.*labctl lab create -i mine"):
            labs.require_running(lab)
    labs.require_running(replace(lab, kind="metal"))


def test_after_a_reboot_nothing_runs(state: Path) -> None:
    lab = replace(record(state), boot_id="another")
    write_json(state / "labs" / "mine" / "lab.json", encode(lab))
    assert lab.state is LabState.STOPPED
    assert not labs.is_up("mine")


def test_a_lab_without_a_record_is_not_up() -> None:
    assert not labs.is_up("mine")
    with pytest.raises(LabctlError, match="there is no lab mine on this machine"):
        labs.read("mine")


def test_a_lab_is_made_by_its_playbook_and_read_from_its_record(
    session: ScriptedSession, inventory: Path, state: Path
) -> None:
    def create(call: Call) -> Outcome:
        record(state, "mine", "vm", kvm=False)
        call.end("vm_lab", "localhost", name="mine")
        return ended("ok")

    session.plays["lab_create.yml"] = create
    lab = labs.create(session, "mine")
    assert (lab.name, lab.kind, lab.emulated) == ("mine", "vm", True)
    assert session.calls[0].inventories == (inventory,)


def test_a_lab_that_cannot_be_made_says_why(session: ScriptedSession, inventory: Path) -> None:
    session.plays["lab_create.yml"] = failing("localhost", "no room")
    with pytest.raises(LabctlError, match="no room"):
        labs.create(session, str(inventory))


def test_who_cannot_become_root_is_told_so(
    session: ScriptedSession, inventory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", "")
    for call in (labs.create, labs.destroy):
        with pytest.raises(LabctlError, match="user id 1000, and no sudo on this machine"):
            call(session, "mine")
    assert session.played == []


def test_an_unknown_lab_is_not_made(session: ScriptedSession) -> None:
    with pytest.raises(UsageError, match="There is no lab 'nowhere'"):
        labs.create(session, "nowhere")
    assert session.played == []


def test_a_lab_is_removed_by_its_inventory_also_where_it_does_not_exist(
    session: ScriptedSession, inventory: Path
) -> None:
    labs.destroy(session, "mine")
    assert [(call.name, call.inventories) for call in session.calls] == [("lab_destroy.yml", (inventory,))]


def test_a_lab_whose_inventory_is_gone_is_removed_by_its_record(session: ScriptedSession, state: Path) -> None:
    record(state, "gone", "vm")
    seen: list[object] = []

    def destroy(call: Call) -> Outcome:
        (source,) = call.inventories
        seen.append(read_yaml(source))
        return ended("ok")

    session.plays["lab_destroy.yml"] = destroy
    labs.destroy(session, "gone")
    assert seen == [{"all": {"vars": {"lab_name": "gone", "lab_kind": "vm"}}}]


def test_what_is_neither_a_lab_nor_recorded_cannot_be_removed(session: ScriptedSession) -> None:
    with pytest.raises(UsageError, match="There is no lab 'nowhere'"):
        labs.destroy(session, "nowhere")
    assert session.played == []


def test_a_removal_that_was_cut_short_is_told_and_finished(session: ScriptedSession, state: Path) -> None:
    record(state, "gone", "vm")
    (state / "labs" / "gone").rename(state / "labs" / ".removing-gone")
    (problem,) = labs.list_labs()[1]
    assert (problem.what, problem.hint) == (
        "the removal of lab gone was cut short",
        "finish it: labctl lab destroy -i gone",
    )
    assert labs.names() == ()
    labs.destroy(session, "gone")
    assert session.played == ["lab_destroy.yml"]


@pytest.mark.parametrize("name", ["..", ".", "", "../state", "a/b", ".removing-mine", "mine/../mine", "{{ 1/0 }}"])
def test_no_record_is_found_by_what_is_no_name(session: ScriptedSession, state: Path, name: str) -> None:
    record(state)
    (state / "lab.json").write_text((state / "labs" / "mine" / "lab.json").read_text())
    with pytest.raises(UsageError):
        labs.read(name)
    if name not in (".", ".."):  # those are directories, whose inventory is looked for
        with pytest.raises(UsageError):
            labs.destroy(session, name)
    assert (labs.is_up(name), session.played) == (False, [])


def test_a_record_in_anothers_place_is_told(state: Path) -> None:
    record(state, "one")
    (state / "labs" / "one").rename(state / "labs" / "two")
    (problem,) = labs.list_labs()[1]
    assert problem.what == "the record of lab two is another lab's"
    assert problem.hint == "put it back where it belongs: a lab is destroyed by its record"


def test_a_record_that_others_may_write_is_not_believed(state: Path) -> None:
    record(state)
    (state / "labs" / "mine" / "lab.json").chmod(0o666)
    (problem,) = labs.list_labs()[1]
    assert problem.what.startswith("the record of lab mine is not believed")
    assert problem.seen == "every user may write it (mode 0666)"


def test_places_that_others_decide_on_are_not_used(
    session: ScriptedSession, inventory: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.mkdir()
    cache = state.with_name("cache")
    cache.mkdir()
    monkeypatch.setenv("LABCTL_CACHE_DIR", str(cache))
    for place in (state, cache):
        place.chmod(0o1777)
        for call in (labs.create, labs.destroy):
            with pytest.raises(UsageError, match=rf"is not believed(.|\n)*where: {place}\n(.|\n)*chmod o-w {place}"):
                call(session, "mine")
        place.chmod(0o755)
    assert session.played == []


def test_the_lab_of_another_user_is_his(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()
    Path(record(state).ssh.key).touch()
    labs.require_ones_own("mine")
    labs.require_ones_own("none")
    monkeypatch.setattr("os.geteuid", lambda: me + 1)
    for to_destroy in (False, True):
        with pytest.raises(UsageError) as refused:
            labs.require_ones_own("mine", to_destroy)
        (problem,) = refused.value.problems
        assert problem.what == "the lab mine of this machine is another user's"
        assert str(problem.hint).startswith(f"work as {problem.seen}; or make a lab of your own")
    with pytest.raises(UsageError, match="another user's"):
        labs.shell_command("mine", "node1")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(labs, "owner_of", lambda _: 1000)
    labs.require_ones_own("mine", to_destroy=True)
    with pytest.raises(UsageError, match="another user's"):
        labs.require_ones_own("mine")
    monkeypatch.setenv("SUDO_UID", "1000")
    labs.require_ones_own("mine")


def test_an_inventory_that_no_lab_was_made_from_has_no_nodes(state: Path, inventory: Path) -> None:
    record(state)
    with pytest.raises(LabctlError, match="no lab on this machine was created from this inventory"):
        labs.shell_command(str(inventory), "node1")


def test_one_logs_in_with_the_labs_own_key_and_known_hosts(state: Path) -> None:
    lab = record(state, "mine", "vm")
    argv = labs.shell_command("mine", "node2")
    assert argv[:5] == ("ssh", "-F", "none", "-i", lab.ssh.key)
    assert f"UserKnownHostsFile={lab.ssh.known_hosts}" in argv
    assert argv[-3:] == ("-p", "2202", "root@10.0.0.2")


def test_a_lab_is_meant_by_the_inventory_that_it_was_made_from_too(state: Path, inventory: Path) -> None:
    record(state, "other", inventory=str(inventory))
    assert labs.shell_command(str(inventory), "node1")[-1] == "root@10.0.0.1"


def test_a_node_that_is_none_or_does_not_run_cannot_be_logged_in_to(state: Path) -> None:
    lab = record(state)
    stop(lab, "node2")
    with pytest.raises(UsageError, match="its nodes: node1, node2"):
        labs.shell_command("mine", "node3")
    with pytest.raises(LabctlError, match="node2 of lab mine does not run"):
        labs.shell_command("mine", "node2")


def test_a_node_is_shown_by_where_it_is_reached(state: Path) -> None:
    assert [node.place for node in record(state).nodes] == ["10.0.0.1", "10.0.0.2"]
    assert [node.place for node in record(state, "vms", "vm").nodes] == ["10.0.0.1:2201", "10.0.0.2:2202"]
