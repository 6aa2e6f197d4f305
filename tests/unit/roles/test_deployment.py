"""The record of the role that deploys: written before it begins, kept until it has undone what it did."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail

from labctl import catalog
from labctl.engine.events import Event, TaskResult
from labctl.engine.session import AnsibleOptions, Session
from roles.deployment.action_plugins import deployment as plugin
from roles.deployment.files import record as deployment
from tests.unit.engine.play import LOCAL


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "labctl" / "deployment.json"
    monkeypatch.setattr(deployment, "RECORD", str(path))
    return path


@pytest.fixture(autouse=True)
def leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that stands for those where things are left."""
    monkeypatch.setattr(deployment, "LEFTOVERS", (str(tmp_path / "left" / "ansible_*"),))
    (tmp_path / "left").mkdir()
    return tmp_path / "left"


def test_what_was_killed_leaves_nothing_and_what_lives_keeps_what_it_unpacked(
    record: Path, leftovers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (leftovers / "ansible_x_payload_1").mkdir()
    (leftovers / "ansible_x_payload_1" / "a.zip").touch()
    (leftovers / "ansible_file").touch()
    (leftovers / "other").mkdir()
    (leftovers / "ansible_link").symlink_to(leftovers / "other")
    made = (leftovers / "ansible_x_payload_1").stat().st_ctime
    monkeypatch.setattr(deployment, "living", lambda: [made - 5.0])
    deployment.end(check_mode=False)
    assert (leftovers / "ansible_x_payload_1" / "a.zip").exists()
    monkeypatch.setattr(deployment, "living", lambda: [made - 600.0, made + 30.0])
    deployment.end(check_mode=True)
    assert (leftovers / "ansible_x_payload_1" / "a.zip").exists()
    deployment.end(check_mode=False)
    assert sorted(path.name for path in leftovers.iterdir()) == ["ansible_link", "other"]


def test_when_a_living_process_began_is_known() -> None:
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert any(abs(start - before) < 5 for start in deployment.living())
        child.communicate()


def test_a_role_is_recorded_once(record: Path) -> None:
    assert deployment.begin("one", check_mode=False) == {"changed": True, "role": "one", "other": False}
    assert deployment.begin("one", check_mode=False) == {"changed": False, "role": "one", "other": False}
    assert deployment.recorded() == "one"


def test_another_role_does_not_take_the_place_of_one_that_has_not_been_undone(record: Path) -> None:
    deployment.begin("one", check_mode=False)
    assert deployment.begin("two", check_mode=False) == {"changed": False, "role": "one", "other": True}
    assert deployment.recorded() == "one"
    assert deployment.end(check_mode=False) == {"changed": True, "role": None}
    assert deployment.begin("two", check_mode=False)["role"] == "two"


def test_a_node_without_a_record_has_no_role_and_stays_without_one_in_check_mode(record: Path) -> None:
    assert deployment.recorded() is None
    assert deployment.end(check_mode=False) == {"changed": False, "role": None}
    assert deployment.begin("one", check_mode=True)["changed"]
    assert not record.exists()


def test_a_nodes_python_keeps_it_without_anything_of_ansible(record: Path) -> None:
    script = Path(deployment.__file__).read_text().replace("/var/lib/labctl", str(record.parent))

    def said(*words: str) -> object:
        command = [sys.executable, "-IS", "-", *words]
        return json.loads(subprocess.run(command, input=script, capture_output=True, text=True, check=True).stdout)

    assert said("--check", "begun", "one") == {"changed": True, "role": "one", "other": False}
    assert not record.exists()
    assert said("begun", "one") == {"changed": True, "role": "one", "other": False}
    assert said("begun", "two") == {"changed": False, "role": "one", "other": True}
    assert said("read") == {"changed": False, "role": "one"}
    assert said("ended") == {"changed": True, "role": None}
    assert said("read") == {"changed": False, "role": None}


def test_the_script_reaches_the_node(tmp_path: Path) -> None:
    """In check mode, since the node is this machine."""
    (tmp_path / "hosts.yml").write_text(LOCAL)
    tasks = "[{name: It is forgotten, ansible.builtin.include_role: {name: deployment, tasks_from: forget}}]"
    (tmp_path / "play.yml").write_text(f"[{{name: A play, hosts: all, gather_facts: false, tasks: {tasks}}}]")
    seen: list[Event] = []
    with Session() as session:
        sources = [tmp_path / "hosts.yml"]
        options = AnsibleOptions(check=True)
        session.run_playbook(str(tmp_path / "play.yml"), sources, options=options, listener=seen.append).require()
    (result,) = [each for each in seen if isinstance(each, TaskResult) and each.action == "deployment"]
    assert (result.ok, result.data["role"]) == (True, None)


@pytest.mark.parametrize("role", ["../../evil", "evil", "deployment", "lab_nodes", "node", "a{{ 1/0 }}", "/evil"])
def test_neither_a_node_nor_a_setup_is_believed_that_another_role_deploys(role: str) -> None:
    with pytest.raises(AnsibleActionFail, match="the node records a role that deploys no variant of labctl"):
        plugin.require_known(role, "the node records")


def test_the_roles_that_deploy_are_those_of_the_catalog() -> None:
    assert plugin.known() == sorted({variant.role for variant in catalog.load().variants.values() if not variant.labs})
    plugin.require_known(None, "the node records")
