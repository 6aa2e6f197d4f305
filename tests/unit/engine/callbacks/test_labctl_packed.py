"""Modules that Ansible packed for one playbook serve the next, as long as the code is the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from labctl.engine.callbacks.labctl_packed import UNUSED_S
from tests.unit.engine.play import Run

PING = "- name: It answers\n  ansible.builtin.ping:"
OWN = "- name: It answers\n  own:"
MODULE = """from ansible.module_utils.basic import AnsibleModule
AnsibleModule(argument_spec={}).exit_json(said=SAID)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "labctl" / "packed"


def packed(cache: Path) -> dict[str, int]:
    """When each packed module was written, by the name of its file."""
    return {path.name: path.stat().st_mtime_ns for path in cache.glob("*/*") if path.suffix != ".lock"}


def test_a_module_is_packed_once(play: Run, cache: Path) -> None:
    assert play(PING)[0].ok
    first = packed(cache)
    assert [name.partition("-")[0] for name in first] == ["ansible.modules.ping"]
    assert play(PING)[0].ok
    assert packed(cache) == first
    (directory,) = cache.iterdir()
    assert directory.stat().st_mode & 0o077 == 0


def test_what_others_could_have_packed_is_not_run(play: Run, cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert play(PING)[0].ok
    assert packed(cache) == {}


def test_a_module_that_changed_is_packed_anew(
    play: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_LIBRARY", str(tmp_path / "library"))
    (tmp_path / "library").mkdir()
    for said in (1, 22):
        (tmp_path / "library" / "own.py").write_text(MODULE.replace("SAID", str(said)))
        _, events = play(OWN)
        assert [event.data["said"] for event in events if hasattr(event, "data")] == [said]
    assert len(list(cache.iterdir())) == 2


def test_what_nobody_used_for_long_is_removed_and_the_rest_is_not(play: Run, cache: Path) -> None:
    for name, unused_s in (("old", UNUSED_S + 60), ("recent", 60)):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, times=(0, time.time() - unused_s))
    assert play(PING)[0].ok
    left = {path.name for path in cache.iterdir()}
    assert "old" not in left
    assert "recent" in left


def test_without_a_place_to_keep_them_playbooks_run_all_the_same(play: Run, cache: Path) -> None:
    cache.parent.parent.touch()
    assert play(PING)[0].ok
