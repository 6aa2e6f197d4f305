"""The environment of Ansible: a closed list of the user's, and what labctl decides."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from labctl.engine.environment import environment, passed, search_path
from labctl.engine.settings import NO_CONFIG, Settings


def of_ansible(settings: Settings | None = None) -> dict[str, str]:
    return environment(settings or Settings(), Path("/private"), Path("/sockets"))


@pytest.mark.parametrize(
    "name",
    ["HOME", "SSH_AUTH_SOCK", "https_proxy", "NO_PROXY", "LANG", "XDG_CACHE_HOME", "KUBECONFIG", "AWS_PROFILE"],
)
def test_what_programs_go_by_reaches_them(name: str) -> None:
    assert passed({name: "as it is"}) == {name: "as it is"}


@pytest.mark.parametrize(
    "name",
    ["ANSIBLE_TIMEOUT", "ANSIBLE_SSH_ARGS", "ANSIBLE_PIPELINING", "ANSIBLE_BECOME_METHOD", "LABCTL_STATE_DIR"],
)
def test_settings_that_are_the_users_reach_ansible(name: str) -> None:
    assert passed({name: "5"}) == {name: "5"}


@pytest.mark.parametrize(
    "name",
    [
        *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONBREAKPOINT", "LD_PRELOAD"),
        *("_ANSIBLE_COVERAGE_CONFIG", "AWX_LIB_DIRECTORY", "ORIGINAL_STDOUT_CALLBACK", "RUNNER_OMIT_EVENTS"),
        *("SSH_ASKPASS", "DISPLAY", "SUDO_ASKPASS", "BASH_ENV", "ENV", "CDPATH", "NO_COLOR", "EDITOR", "PAGER"),
    ],
)
def test_nothing_else_does(name: str) -> None:
    assert passed({name: "something"}) == {}


def test_who_needs_another_variable_names_it() -> None:
    variables = {"LABCTL_PASS_ENV": "LAB_PASSWORD, OTHER", "LAB_PASSWORD": "x", "OTHER": "y", "THIRD": "z"}
    assert passed(variables).keys() == {"LABCTL_PASS_ENV", "LAB_PASSWORD", "OTHER"}


def test_what_is_no_text_is_left_out() -> None:
    assert passed({"LC_WORDS": os.fsdecode(b"\xff"), "LC_X": "é"}) == {"LC_X": "é"}


def test_ansible_is_looked_for_beside_this_python_first() -> None:
    own = str(Path(sys.executable).parent)
    assert search_path({"PATH": "/nowhere"}) == f"{own}:/nowhere"
    assert search_path({"PATH": f"/other:{own}"}) == f"{own}:/other"
    assert search_path({}).startswith(f"{own}:/")


def test_what_labctl_decides_is_not_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_ROLES_PATH", "ANSIBLE_STRATEGY", "LC_ALL", "LABCTL_PID", "LOGNAME", "USER"):
        monkeypatch.setenv(name, "the user's")
    made = of_ansible(Settings(pinned={"ANSIBLE_STRATEGY": "linear"}))
    assert "the user's" not in made.values()
    assert made["ANSIBLE_STRATEGY"] == "linear"
    assert made["ANSIBLE_CONFIG"] == str(NO_CONFIG)
    assert NO_CONFIG.is_file()
    assert (made["LOGNAME"], made["LABCTL_PID"]) == (pwd.getpwuid(os.geteuid()).pw_name, str(os.getpid()))
    assert of_ansible(Settings(Path("/etc/mine.cfg")))["ANSIBLE_CONFIG"] == "/etc/mine.cfg"


def test_files_of_one_call_stay_in_its_directories() -> None:
    made = of_ansible()
    assert (made["ANSIBLE_LOCAL_TEMP"], made["ANSIBLE_SSH_CONTROL_PATH_DIR"]) == ("/private/tmp", "/sockets")
