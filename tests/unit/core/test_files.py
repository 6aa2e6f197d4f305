"""Files of labctl's own: whole or not at all, and errors that name them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader

from labctl.core import files
from labctl.core.errors import RESTORE, LabctlError, Problem


def problem(call: Callable[[], object]) -> Problem:
    with pytest.raises(LabctlError) as raised:
        call()
    (only,) = raised.value.problems
    return only


def test_a_file_is_written_with_the_directories_above_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    files.write_json(path, {"x": None})
    assert path.read_text() == '{\n "x": null\n}\n'
    assert files.read_json(path) == {"x": None}
    assert [other.name for other in path.parent.iterdir()] == ["c.json"]


def test_yaml_says_in_its_first_line_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "setup.yml"
    files.write_yaml(path, {"b": 1, "a": [True]}, "Generated.")
    assert path.read_text().startswith("# Generated.\n---\nb: 1\n")
    assert files.read_yaml(path) == {"b": 1, "a": [True]}


def test_no_text_that_is_written_is_a_template_but_one_of_labctls_own(tmp_path: Path) -> None:
    path = tmp_path / "setup.yml"
    given = {
        "{{ 1 }}": "{{ 2 }}",
        "on": ["{{ 3 }}", {"a": "a\n{% raw %}"}, "\x85", "# {{ 4 }}"],
        "own": files.OWN_PYTHON,
    }
    files.write_yaml(path, given, "Generated.")
    assert files.read_yaml(path) == given
    lines = path.read_text().splitlines()
    assert lines[2] == "'{{ 1 }}': !unsafe '{{ 2 }}'"
    assert lines[-1] == "own: '{{ ansible_playbook_python }}'"
    assert path.read_text().count("!unsafe") == 5


def test_a_text_that_looks_like_something_else_stays_one_for_ansible(tmp_path: Path) -> None:
    """Where it is marked, Ansible takes it for what it looks like, in quotes or not."""
    path = tmp_path / "setup.yml"
    texts = ["", "yes", "5.10", "1", "null", "~", "0x1f", "2026-01-02", "1e3", "=", "<<", "012", "1:30", ".inf"]
    files.write_yaml(path, texts, "Generated.")
    assert DataLoader().load_from_file(str(path), trusted_as_template=True) == texts


def test_a_name_that_is_not_utf_8_is_refused_before_ansible_meets_it(tmp_path: Path) -> None:
    found = problem(lambda: files.write_yaml(tmp_path / "setup.yml", {"a": "x\udcff"}, "Generated."))
    assert (found.what, found.seen) == ("a text is not UTF-8, so Ansible cannot be told it", r"'x\udcff'")


def test_what_cannot_be_written_whole_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    files.write_text(path, "old")
    (tmp_path / ".status.json.partial").mkdir()
    assert problem(lambda: files.write_text(path, "new")).where == str(path)
    assert path.read_text() == "old"


def touch(path: Path) -> None:
    with files.writing(path):
        path.touch()


@pytest.mark.parametrize("call", [touch, lambda path: files.write_text(path, "")])
def test_what_cannot_be_written_is_named_with_what_to_do(tmp_path: Path, call: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("in the way")
    found = problem(lambda: call(tmp_path / "file" / "x"))
    assert found.what == "a file cannot be written"
    assert str(found.where).startswith(str(tmp_path / "file"))
    assert found.seen in ("Not a directory", "File exists")
    assert "make room or correct the permissions" in str(found.hint)


def test_half_a_file_is_gone_when_the_other_half_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "status.json").mkdir()
    assert problem(lambda: files.write_text(tmp_path / "status.json", "x")).seen == "Is a directory"
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    missing = problem(lambda: files.read_json(path))
    assert missing == Problem("a file cannot be read", str(path), "No such file or directory", RESTORE)
    path.write_text("{")
    broken = problem(lambda: files.read_json(path))
    assert (broken.what, broken.where) == ("a file is not valid JSON", str(path))
    assert "line 1 column 2" in str(broken.seen)


@pytest.mark.parametrize("data", [{"schema": "labctl.plan/2"}, {}, [], None, "labctl.plan/1"])
def test_a_document_of_another_schema_is_refused(data: object) -> None:
    found = problem(lambda: files.require_schema(data, "labctl.plan/1", "plan.json"))
    assert (found.what, found.where) == ("the schema is not labctl.plan/1", "plan.json:schema")
    assert found.seen == json.dumps(data.get("schema") if isinstance(data, dict) else None)


def test_a_document_of_this_schema_passes() -> None:
    files.require_schema({"schema": "labctl.plan/1"}, "labctl.plan/1", "plan.json")
