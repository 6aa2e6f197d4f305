"""What nobody foresaw, reported: everything that helps to mend it, and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.cli import crash

SECRETS = [
    "--api-token hush",
    "--password=hush",
    "ansible_become_password: hush",
    "'vault_password': 'hush hush'",
    'export PROXY_PASSWD="hush hush"',
    "http://user:hush@proxy:3128/",
    "https://hush@github.test/x.git",
    "{'client_secret': 'hush', 'a': 1}",
]


def report(text: str, monkeypatch: pytest.MonkeyPatch, directory: Path) -> str:
    """What the report of an exception with this text says, in its line and in its file."""
    monkeypatch.setenv("XDG_STATE_HOME", str(directory))
    try:
        raise ValueError(text)
    except ValueError as error:
        line = crash.report(error, ["labctl", "check", text])
    (file,) = (directory / "labctl" / "crashes").iterdir()
    return line + file.read_text()


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_is_in_it(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "hush" not in report(text, monkeypatch, tmp_path)


def test_what_was_typed_is_not_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(crash, "_typed", ["", "correct horse"])
    text = report("sudo said: correct horse is wrong", monkeypatch, tmp_path)
    assert "correct horse" not in text
    assert "sudo said: *** is wrong" in text


def test_what_helps_is_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = report("no such cell: baseline", monkeypatch, tmp_path)
    for part in ("ValueError: no such cell: baseline", "Traceback", "test_crash.py", "ansible-core: 2.", "Python 3."):
        assert part in text


def test_without_a_home_it_lies_where_temporary_files_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    line = crash.report(ValueError("x"), ["labctl"])
    (file,) = tmp_path.glob("*.txt")
    assert line.endswith(f"please send in {file}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    assert "no report of it could be written" in crash.report(ValueError(), ["labctl"])
