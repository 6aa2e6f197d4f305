"""Whose files are believed: every way in which another user decides what a file says is seen, and told."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from labctl.core import trust
from labctl.core.errors import UsageError
from labctl.core.trust import distrusted, doubts_below, require_trusted, require_trusted_tree

OTHER = 65534
Give = Callable[[Path], None]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Return what makes a file another user's. Root can really do so; for anybody else the caller is another then."""

    def to_other(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, OTHER, OTHER, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: OTHER)

    return to_other


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file in a directory, both of the caller's alone."""
    tmp_path.chmod(0o755)
    path = tmp_path / "inventory" / "hosts.yml"
    path.parent.mkdir(mode=0o755)
    path.write_text("all: {}\n")
    path.chmod(0o644)
    return path


def test_files_of_root_and_of_the_caller_are_believed(file: Path) -> None:
    assert distrusted(file) is None
    assert distrusted(file.parent) is None
    assert distrusted(Path("/etc/passwd")) is None
    assert distrusted(Path("/dev/null")) is None  # ANSIBLE_CONFIG=/dev/null: there is no other way to say none
    assert list(doubts_below(file.parent)) == []
    require_trusted("this", file, file.parent)


def test_what_is_not_there_is_nobodys(file: Path) -> None:
    assert distrusted(file.with_name("nothing")) is None
    assert distrusted(file / "below" / "a file") is not None


def test_a_relative_path_is_meant_from_here(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    file.chmod(0o646)
    assert str(distrusted(Path("hosts.yml"))).startswith(f"{file}: every user may write it (mode 0646)")
    assert str(distrusted(Path("../inventory/hosts.yml"))).startswith(f"{file}: ")


def test_another_users_file_is_not_believed(file: Path, give: Give) -> None:
    give(file)
    seen = str(distrusted(file))
    assert "who is neither root nor you (mode 0644)" in seen
    with pytest.raises(UsageError, match=r"the lab's inventory is not believed: others than root and you decide on it"):
        require_trusted_tree("the lab's inventory", file.parent)


def test_what_is_in_another_users_directory_is_not_believed(file: Path, give: Give) -> None:
    give(file.parent)
    assert str(distrusted(file)).startswith(f"{file.parent}: it belongs to")


@pytest.mark.parametrize(("mode", "believed"), [(0o777, False), (0o1777, True), (0o755, True)])
def test_a_directory_above_that_others_may_write(file: Path, mode: int, believed: bool) -> None:
    file.parent.chmod(mode)
    assert (distrusted(file) is None) is believed


def test_a_directory_that_others_may_write_is_not_believed_itself(file: Path) -> None:
    file.parent.chmod(0o1777)
    assert str(distrusted(file.parent)) == f"{file.parent}: every user may write it (mode 1777)"


def test_a_link_is_its_owners_word(file: Path, tmp_path: Path, give: Give) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    assert distrusted(link) is None
    file.chmod(0o666)
    assert str(distrusted(link)).startswith(f"{file}: every user may write it")
    file.chmod(0o644)
    give(link)
    assert "who is neither root nor you" in str(distrusted(link))


def test_links_that_go_round_end(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / one).symlink_to(other)
    assert "its symbolic links lead nowhere" in str(distrusted(tmp_path / "a"))


def test_a_directory_linked_into_another_is_judged_too(file: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "all.yml").write_text("{}")
    (shared / "all.yml").chmod(0o666)
    (shared / "round").symlink_to(file.parent)
    (file.parent / "group_vars").symlink_to(shared)
    assert [doubt.path for doubt in doubts_below(file.parent)] == [shared / "all.yml"]
    (file.parent / "group_vars").rename(file.parent / ".git")  # Ansible leaves those out
    assert list(doubts_below(file.parent)) == []


def test_a_link_into_what_others_may_write_is_not_believed(file: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "all.yml").touch()
    (tmp_path / "open").chmod(0o777)
    (file.parent / "all.yml").symlink_to(tmp_path / "open" / "all.yml")
    assert [doubt.path for doubt in doubts_below(file.parent)] == [tmp_path / "open"]


def test_a_directory_closed_to_the_caller_is_not_believed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", closed)
    assert [str(doubt) for doubt in doubts_below(file.parent)] == [
        f"{file.parent}: it cannot be looked at: Permission denied"
    ]


def test_a_link_to_a_large_directory_is_not_followed_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "MAX_LOOKED_AT", 4)
    lab, large = tmp_path / "lab", tmp_path / "large"
    for directory in (lab, large, large / "below"):
        directory.mkdir()
    (lab / "all").symlink_to(large)
    (large / "below" / "a").touch()
    (large / "below" / "b").touch()
    require_trusted_tree("the lab's inventory", lab)
    (large / "below" / "c").touch()
    with pytest.raises(UsageError, match="there is too much in this directory to look at") as raised:
        require_trusted_tree("the lab's inventory", lab)
    assert raised.value.problems[0].where == str(lab)
    assert raised.value.problems[0].hint


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what says who is in every group."""
    return lambda *users: monkeypatch.setattr(trust, "_members", lambda _: frozenset(users))


def test_a_group_of_ones_own_may_write(file: Path, group: Callable[..., None]) -> None:
    """Debian's umask 002: the group has nobody else in it."""
    file.chmod(0o664)
    for users in ((), (os.geteuid(),), (0, os.geteuid())):
        group(*users)
        assert distrusted(file) is None
    group(os.geteuid(), OTHER)
    assert "may write it (group" in str(distrusted(file))
    file.chmod(0o644)
    assert distrusted(file) is None


def test_an_access_list_is_read(file: Path, group: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def with_list(*entries: tuple[int, int, int]) -> bool:
        value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        monkeypatch.setattr(os, "getxattr", lambda *_: value)
        return distrusted(file) is None

    group()
    file.chmod(0o664)
    assert with_list((1, 6, 2**32 - 1), (4, 4, 2**32 - 1))
    assert with_list((2, 4, OTHER))
    assert not with_list((2, 6, OTHER))
    assert with_list((8, 6, OTHER))
    group(OTHER)
    assert not with_list((8, 6, OTHER))


@pytest.mark.parametrize("sudo", ["", "-1", "x", "9" * 5000, "٣", str(OTHER)])
def test_behind_sudo_stands_a_user(sudo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", sudo)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert trust.callers() == ({0, OTHER} if sudo == str(OTHER) else {0})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert trust.callers() == {0, 1000}


@pytest.mark.parametrize("path", ["a\0b", "\udc00\ud800", "x" * 5000])
def test_a_path_that_cannot_be_is_not_believed(path: str) -> None:
    assert "it cannot be looked at" in str(distrusted(Path(path)))


def test_all_that_is_wrong_is_told_up_to_a_limit(file: Path) -> None:
    for number in range(20):
        (file.parent / str(number)).touch()
        (file.parent / str(number)).chmod(0o666)
    with pytest.raises(UsageError) as refused:
        require_trusted_tree("the lab's inventory", file.parent)
    assert len(refused.value.problems) == trust.MAX_TOLD
    assert all(problem.hint and problem.hint.startswith("chmod o-w ") for problem in refused.value.problems)
