"""Removing by name: nothing but a direct child that proves itself goes, and a removal that is cut short is finished."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from labctl.core import names, removal
from labctl.core.errors import LabctlError, Problem, UsageError

UNPROVED = Problem("this is none", hint="leave it")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with two children that hold something."""
    for name in ("one", "two"):
        (tmp_path / "parent" / name / "deep").mkdir(parents=True)
        (tmp_path / "parent" / name / "deep" / "file").touch()
    return tmp_path / "parent"


def remove(parent: Path, name: str, problem: Problem | None = None) -> None:
    removal.remove(parent, name, names.RUN, lambda _: problem, f"again {name}")


def test_one_child_goes_and_the_other_stays(here: Path) -> None:
    remove(here, "one")
    assert [path.name for path in here.iterdir()] == ["two"]
    remove(here, "one")  # it is gone: so it stays


def test_what_does_not_prove_itself_stays(here: Path) -> None:
    with pytest.raises(UsageError) as refused:
        remove(here, "one", UNPROVED)
    assert refused.value.problems == (UNPROVED,)
    assert (here / "one" / "deep" / "file").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "one/..", "../parent", "one/deep", "/", ".removing-one", "one\0"])
def test_only_a_name_is_taken(here: Path, name: str) -> None:
    before = sorted(here.parent.rglob("*"))
    with pytest.raises(UsageError, match="this cannot be the name of a run"):
        remove(here, name)
    assert sorted(here.parent.rglob("*")) == before


def test_links_and_files_are_not_taken(here: Path) -> None:
    (here / "link").symlink_to(here / "two")
    (here / "file").touch()
    with pytest.raises(UsageError, match=r"symbolic link, which is not followed\n(.|\n)*leads to .*/two"):
        remove(here, "link")
    with pytest.raises(UsageError, match="this is no directory"):
        remove(here, "file")
    assert (here / "two" / "deep" / "file").exists()


def test_what_a_link_inside_leads_to_stays(here: Path) -> None:
    (here / "one" / "link").symlink_to(here / "two")
    remove(here, "one")
    assert (here / "two" / "deep" / "file").exists()


def test_what_is_mounted_inside_stays(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"36 35 98:0 / {here}/one/deep\\040er rw - tmpfs tmpfs rw\n37 35 98:0 / /x rw - tmpfs tmpfs rw\n")
    monkeypatch.setattr(removal, "MOUNTS", mounts)
    with pytest.raises(UsageError, match=rf"something is mounted in it(.|\n)*next:  umount {here}/one/deep er"):
        remove(here, "one")
    remove(here, "two")
    assert (here / "one" / "deep" / "file").exists()


def test_a_removal_that_is_cut_short_is_found_and_finished(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        (path / "deep" / "file").unlink()
        raise PermissionError(1, "Operation not permitted", "deep")

    assert removal.cut_short(here) == ()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", full)
        with pytest.raises(LabctlError) as failed:
            remove(here, "one")
    where, hint = str(here / ".removing-one"), "correct that, then: again one"
    assert failed.value.problems == (Problem("it cannot be removed", where, "deep: Operation not permitted", hint),)
    assert not (here / "one").exists()
    assert removal.cut_short(here) == ("one",)
    remove(here, "one")
    assert [path.name for path in here.iterdir()] == ["two"]


def test_one_of_the_same_name_goes_with_what_an_earlier_removal_left(here: Path) -> None:
    (here / "one").rename(here / ".removing-one")
    (here / "one").mkdir()
    remove(here, "one")
    assert [path.name for path in here.iterdir()] == ["two"]


def test_nothing_was_cut_short_where_there_is_nothing(tmp_path: Path) -> None:
    assert removal.cut_short(tmp_path / "nowhere") == ()


def test_a_way_through_what_is_removed_leads_to_all_of_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here / "one")
    remove(here / "one" / "..", "one")
    assert [path.name for path in here.iterdir()] == ["two"]


@pytest.mark.parametrize("link", [True, False])
def test_what_stands_where_it_would_be_set_aside_is_named_before_anything_goes(here: Path, link: bool) -> None:
    aside = here / ".removing-one"
    aside.symlink_to(here / "two") if link else aside.touch()
    with pytest.raises(UsageError, match="symbolic link" if link else "no directory") as refused:
        remove(here, "one")
    assert refused.value.problems[0].where == str(aside)
    assert (here / "one" / "deep" / "file").exists()
    assert (here / "two" / "deep" / "file").exists()


def test_what_cannot_be_listed_does_not_pass_for_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", _closed)
    with pytest.raises(LabctlError, match="cannot be listed"):
        removal.cut_short(here)


def _closed(path: Path) -> list[str]:
    raise PermissionError(13, "Permission denied", str(path))
