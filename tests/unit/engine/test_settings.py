"""Ansible's settings: the file that Ansible itself takes, what is pinned, what is told of it, and what would ask."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from labctl.core.errors import UsageError
from labctl.engine import settings
from labctl.engine.settings import ASKING, BECOME_ASKS, CALLBACKS, PINS, VAULT_ASKS, Settings

Put = Callable[..., Path]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of the user's, and a home, in which nothing is configured."""
    for name in [name for name in os.environ if name.startswith("ANSIBLE_")]:
        monkeypatch.delenv(name)
    for name in ("home", "work"):
        (tmp_path / name).mkdir(mode=0o755)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def put(path: Path, text: str, section: str = "defaults") -> Path:
    path.write_text(f"[{section}]\n{text}\n")
    return path


def test_without_any_configuration_nothing_is_overruled_and_nothing_asks() -> None:
    read = settings.read()
    assert (read.config, read.ignored, read.overruled, read.asks) == (None, None, (), {})
    assert read.pinned["ANSIBLE_PIPELINING"] == "true"
    assert "ANSIBLE_HOST_KEY_CHECKING" not in read.pinned
    assert "ANSIBLE_INVENTORY_ENABLED" not in read.pinned


def test_the_file_is_the_one_that_ansible_takes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = put(here.parent / "home" / ".ansible.cfg", "forks = 3")
    assert settings.read().config == home
    own = put(here / "ansible.cfg", "forks = 3")
    assert settings.read().config == own
    for named in ("../other.cfg", str(put(here.parent / "other.cfg", "forks = 3"))):
        monkeypatch.setenv("ANSIBLE_CONFIG", named)
        assert settings.read().config == here.parent / "other.cfg"
    (here / "ansible.d").mkdir()
    inner = put(here / "ansible.d" / "ansible.cfg", "forks = 3")
    monkeypatch.setenv("ANSIBLE_CONFIG", "ansible.d")
    assert settings.read().config == inner
    monkeypatch.setenv("ANSIBLE_CONFIG", "missing.cfg")
    assert settings.read().config == own


def test_in_a_directory_that_all_may_write_it_does_not_hold_as_with_ansible(here: Path) -> None:
    put(here / "ansible.cfg", "strategy = free")
    here.chmod(0o1777)
    read = settings.read()
    assert read.config is None
    assert read.ignored == f"{here}/ansible.cfg does not hold: every user may write its directory (mode 1777)"


def test_one_that_others_decide_on_is_refused(here: Path) -> None:
    put(here / "ansible.cfg", "strategy = free").chmod(0o666)
    with pytest.raises(UsageError, match="every user may write it") as refused:
        settings.read()
    (problem,) = refused.value.problems
    assert problem.where == str(here / "ansible.cfg")
    assert problem.hint is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_one_of_somebody_else_is_refused(here: Path) -> None:
    os.chown(put(here / "ansible.cfg", "strategy = free"), 1234, 1234)
    with pytest.raises(UsageError, match="it belongs to user 1234"):
        settings.read()


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("[defaults\nforks = 1\n", "section"),
        ("forks = 1\n", "no section"),
        ("[defaults]\nforks = 1\nforks = 2\n", "already exists"),
    ],
)
def test_one_that_ansible_cannot_read_is_named(here: Path, text: str, seen: str) -> None:
    (here / "ansible.cfg").write_bytes(os.fsencode(text))
    with pytest.raises(UsageError, match="Ansible's configuration cannot be read") as refused:
        settings.read()
    (problem,) = refused.value.problems
    assert problem.where == str(here / "ansible.cfg")
    assert seen in (problem.seen or "")


def test_one_that_is_no_file_does_not_hang(here: Path) -> None:
    os.mkfifo(here / "ansible.cfg")
    with pytest.raises(UsageError, match="no file"):
        settings.read()


def variable(name: str) -> str:
    return f"ANSIBLE_{name}"


HOSTILE = {
    "RUN_TAGS": "none",
    "SKIP_TAGS": "always",
    "STRATEGY": "free",
    "ANY_ERRORS_FATAL": "True",
    "TASK_TIMEOUT": "1",
    "ENABLE_TASK_DEBUGGER": "1",
    "HOST_PATTERN_MISMATCH": "error",
    "HASH_BEHAVIOUR": "merge",
    "CACHE_PLUGIN": "jsonfile",
    "INVENTORY_ENABLED": "ini",
    "VARS_ENABLED": "no.such.one",
    "KEEP_REMOTE_FILES": "yes",
    "VERBOSITY": "4",
    "NO_LOG": "True",
    "DISPLAY_ARGS_TO_STDOUT": "True",
    "DIFF_ALWAYS": "True",
    "DEBUG": "1",
    "STDOUT_CALLBACK": "minimal",
    "CALLBACKS_ENABLED": "timer",
    "NOCOLOR": "False",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_pinned_is_so_whatever_the_environment_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable(name), HOSTILE[name])
    read = settings.read()
    assert read.pinned[variable(name)] != HOSTILE[name]
    told = {one.name: one for one in read.overruled}
    if name in {"DEBUG", "STDOUT_CALLBACK", "CALLBACKS_ENABLED", "NOCOLOR"}:  # how Ansible tells labctl what it does
        assert told == {}
    else:
        (one,) = told.values()
        assert one.seen in {f"{value} ({variable(name)})" for value in (HOSTILE[name], "True")}
        assert one.why


@pytest.mark.parametrize(
    ("line", "name", "seen"),
    [
        ("strategy = free", "ANSIBLE_STRATEGY", "free"),
        ("strategy = free ; a comment", "ANSIBLE_STRATEGY", "free"),
        ("any_errors_fatal = yes ; a comment", "ANSIBLE_ANY_ERRORS_FATAL", "True"),
        ("hash_behaviour = merge", "ANSIBLE_HASH_BEHAVIOUR", "merge"),
        ("task_timeout = soon", "ANSIBLE_TASK_TIMEOUT", "not understood"),
    ],
)
def test_what_a_file_says_otherwise_is_told_with_the_file(here: Path, line: str, name: str, seen: str) -> None:
    put(here / "ansible.cfg", line)
    (told,) = settings.read().overruled
    assert told.name == name
    assert seen in told.seen
    if "understood" not in seen:
        assert str(here / "ansible.cfg") in told.seen


def test_a_setting_that_is_the_same_as_labctls_is_not_told(here: Path) -> None:
    put(here / "ansible.cfg", "strategy = linear\nany_errors_fatal = False")
    assert settings.read().overruled == ()


def test_lists_that_labctl_needs_a_part_of_are_otherwise_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "ini, my.own.one")
    monkeypatch.setenv("ANSIBLE_VARS_ENABLED", "ansible.builtin.host_group_vars,my.own.vars")
    read = settings.read()
    assert read.pinned["ANSIBLE_INVENTORY_ENABLED"] == "ini,my.own.one,yaml"
    assert read.pinned["ANSIBLE_VARS_ENABLED"] == "ansible.builtin.host_group_vars,my.own.vars"
    assert [one.name for one in read.overruled] == ["ANSIBLE_INVENTORY_ENABLED"]


@pytest.mark.parametrize(
    ("section", "variable"),
    [("defaults", None), ("connection", None), ("ssh_connection", None), ("", "ANSIBLE_SSH_PIPELINING")],
)
def test_whether_modules_are_piped_is_the_users_where_he_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch, section: str, variable: str | None
) -> None:
    if variable:
        monkeypatch.setenv(variable, "False")
    else:
        put(here / "ansible.cfg", "pipelining = False", section)
    assert "ANSIBLE_PIPELINING" not in settings.read().pinned


@pytest.mark.parametrize(
    ("where", "text", "asks", "hint"),
    [
        ("cfg", "[privilege_escalation]\nbecome_ask_pass = True", BECOME_ASKS, "--ask-become-pass"),
        ("cfg", "[privilege_escalation]\nbecome_ask_pass = yes ; always", BECOME_ASKS, "--ask-become-pass"),
        ("cfg", "[defaults]\nask_pass = 1", "DEFAULT_ASK_PASS", "ANSIBLE_CONNECTION_PASSWORD_FILE"),
        ("cfg", "[defaults]\nask_vault_pass = on", VAULT_ASKS[0], "ANSIBLE_VAULT_PASSWORD_FILE"),
        ("cfg", "[defaults]\nvault_identity_list = a@/file, b@prompt", VAULT_ASKS[1], "label@FILE"),
        ("ANSIBLE_BECOME_ASK_PASS", "1", BECOME_ASKS, "--ask-become-pass"),
        ("ANSIBLE_ASK_PASS", "true", "DEFAULT_ASK_PASS", "ANSIBLE_CONNECTION_PASSWORD_FILE"),
        ("ANSIBLE_ASK_VAULT_PASS", "True", VAULT_ASKS[0], "ANSIBLE_VAULT_PASSWORD_FILE"),
        ("ANSIBLE_VAULT_IDENTITY_LIST", "prompt", VAULT_ASKS[1], "label@FILE"),
        ("ANSIBLE_VAULT_IDENTITY_LIST", "x@prompt_ask_vault_pass", VAULT_ASKS[1], "label@FILE"),
    ],
)
def test_what_would_ask_is_refused_with_what_to_use_instead(
    here: Path, monkeypatch: pytest.MonkeyPatch, where: str, text: str, asks: str, hint: str
) -> None:
    if where == "cfg":
        (here / "ansible.cfg").write_text(f"{text}\n")
    else:
        monkeypatch.setenv(where, text)
    read = settings.read()
    assert [*read.asks] == [asks]
    with pytest.raises(UsageError, match="Ansible would ask for a password") as refused:
        read.require_silence(*ASKING, *VAULT_ASKS)
    assert hint in str(refused.value)
    read.require_silence(*({*ASKING, *VAULT_ASKS} - {asks}))
    assert set(read.pinned.values()) >= {"false"}


def test_nothing_to_ask_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_BECOME_ASK_PASS", "False")
    monkeypatch.setenv("ANSIBLE_VAULT_IDENTITY_LIST", "a@/file,prompt@/file")
    settings.read().require_silence(*ASKING, *VAULT_ASKS)
    Settings().require_silence(*ASKING)


def test_every_pin_is_a_setting_of_ansible_with_a_reason_and_a_variable() -> None:
    read = settings.read()
    assert len({pin.name for pin in PINS}) == len(PINS)
    assert all(pin.why for pin in PINS)
    assert len(read.pinned) == len([pin for pin in PINS if not pin.open]) + len(ASKING) + 1


def test_ansible_finds_all_our_callbacks() -> None:
    pinned = settings.read().pinned
    assert pinned["ANSIBLE_CALLBACKS_ENABLED"].split(",") == sorted(path.stem for path in CALLBACKS.glob("*.py"))
    assert pinned["ANSIBLE_CALLBACK_PLUGINS"] == str(CALLBACKS)


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("ANSIBLE_FORKS", "0", "0"),
        ("ANSIBLE_FORKS", "-3", "-3"),
        ("ANSIBLE_FORKS", "many", "Config 'DEFAULT_FORKS' from 'env: ANSIBLE_FORKS' has an invalid value"),
        ("ANSIBLE_TIMEOUT", "x", "Config 'DEFAULT_TIMEOUT' from 'env: ANSIBLE_TIMEOUT' has an invalid value"),
        ("ANSIBLE_GATHERING", "some", "Invalid value 'some' for config 'DEFAULT_GATHERING'"),
    ],
)
def test_what_ansible_cannot_work_with_is_said_before_it_starts(
    name: str, value: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as refused:
        settings.read()
    (problem,) = refused.value.problems
    assert problem.where == f"the environment: {name}"
    assert str(problem.seen).startswith(seen)
    assert problem.hint


def test_what_ansible_cannot_work_with_is_named_by_its_file(here: Path) -> None:
    config = put(here / "ansible.cfg", "forks = %(many)s\ntimeout = soon")
    with pytest.raises(UsageError) as refused:
        settings.read()
    found = {problem.where for problem in refused.value.problems}
    assert found == {f"{config}: ANSIBLE_FORKS", f"{config}: ANSIBLE_TIMEOUT"}


@pytest.mark.parametrize(
    "name",
    [
        *("ANSIBLE_VAULT_PASSWORD_FILE", "ANSIBLE_BECOME_PASSWORD_FILE", "ANSIBLE_CONNECTION_PASSWORD_FILE"),
        *("ANSIBLE_LOG_PATH", "ANSIBLE_VAULT_IDENTITY_LIST"),
    ],
)
def test_a_file_that_would_be_waited_for_is_refused(here: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell's <(program) is one: it can be read once, by the shell's own child."""
    os.mkfifo(here / "fifo")
    fifo = f"{here}/fifo"
    monkeypatch.setenv(name, f"mine@{fifo}" if name.endswith("LIST") else fifo)
    with pytest.raises(UsageError) as refused:
        settings.read()
    (problem,) = refused.value.problems
    assert "a FIFO (named pipe)" in str(problem.seen)


def test_what_labctl_decides_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_HASH_BEHAVIOUR", "sideways")
    assert [one.name for one in settings.read().overruled] == ["ANSIBLE_HASH_BEHAVIOUR"]
