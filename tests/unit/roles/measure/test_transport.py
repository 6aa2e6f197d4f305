"""How an agent travels and is started: the command lines that Ansible's own connections and escalations make."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import init_plugin_loader
from labctl_measure.transport import ARGUMENTS, Transport, pack

from tests.unit.roles.measure.conftest import AGENT

init_plugin_loader()
PYTHON = "/usr/bin/python3"


def command(**variables: Any) -> tuple[list[str], str | None]:
    """Return the command for a node with these variables, and its password."""
    transport = Transport(Task(), PlayContext())
    return transport.command("node1", {"ansible_python_interpreter": PYTHON, **variables})


def started(line: str) -> list[str]:
    """Return the words of the command line that starts Python."""
    words = shlex.split(line)
    return words[words.index(PYTHON) :]


def test_over_ssh_the_command_is_one_word_behind_the_host() -> None:
    argv, password = command(ansible_host="192.0.2.1", ansible_user="root", ansible_ssh_common_args="-o BatchMode=yes")
    assert argv[0] == "ssh"
    assert argv[-2] == "192.0.2.1"
    assert started(argv[-1]) == [PYTHON, *ARGUMENTS]
    assert {"BatchMode=yes", 'User="root"'} <= set(argv)
    assert password is None
    assert command(inventory_hostname="node1")[0][-2] == "node1"


def test_on_the_controller_it_is_a_shells() -> None:
    argv, _ = command(ansible_connection="local")
    assert argv[:2] == ["/bin/sh", "-c"]
    assert started(argv[2]) == [PYTHON, *ARGUMENTS]


def test_as_root_on_the_controller_it_is_the_inventorys_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    localhost = {
        "ansible_connection": "ssh",
        "ansible_python_interpreter": PYTHON,
        "ansible_become_password": "secret",
        "ansible_become": "yes",
    }
    transport = Transport(Task(), PlayContext())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    argv, password = transport.on_the_controller(localhost)
    assert argv[:2] == ["/bin/sh", "-c"]
    assert "sudo" in argv[2]
    assert "-u root" in argv[2]
    assert password == "secret"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    argv, password = transport.on_the_controller(localhost)
    assert (started(argv[2]), password) == ([PYTHON, *ARGUMENTS], None)
    assert "sudo" not in argv[2]


def test_in_a_pod_it_follows_what_runs_commands_there() -> None:
    argv, password = command(endpoint_agent=["kubectl", "exec", "-i", "pod", "--"])
    assert argv == ["kubectl", "exec", "-i", "pod", "--", "python3", *ARGUMENTS]
    assert password is None


def test_another_user_is_become_with_the_password_that_is_asked_for() -> None:
    become = {"ansible_become": "yes", "ansible_become_user": "admin", "ansible_become_password": "secret"}
    argv, password = command(ansible_connection="local", **become)
    assert "sudo" in argv[2]
    assert "-u admin" in argv[2]
    assert password == "secret"
    assert command(ansible_connection="local", **{**become, "ansible_become": False})[1] is None


@pytest.mark.parametrize(
    ("variables", "seen"),
    [
        ({"ansible_password": "secret"}, "connection ssh with a password"),
        ({"ansible_connection": "winrm"}, "connection winrm$"),
    ],
)
def test_other_connections_are_refused_by_name(variables: dict[str, str], seen: str) -> None:
    with pytest.raises(AnsibleActionFail, match=rf"node1: samples are measured over SSH with a key.*seen: {seen}"):
        command(**variables)


def archive(package: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(pack(package).split(b"\n", 2)[2]))


def package(directory: Path, main: str) -> Path:
    """Make a package of the agent's name."""
    made = directory / "labctl_agent"
    made.mkdir()
    (made / "__init__.py").write_text("")
    (made / "__main__.py").write_text(main)
    return made


def test_the_bundle_holds_every_module_and_nothing_else() -> None:
    names = archive(AGENT).namelist()
    assert names == sorted(f"labctl_agent/{path.name}" for path in AGENT.glob("*.py"))
    assert "labctl_agent/__main__.py" in names


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    made = package(tmp_path, "pass\n")
    first = pack(made)
    os.utime(made / "__main__.py", (1, 1))
    (made / "__pycache__").mkdir()
    assert pack(made) == first
    (made / "__main__.py").write_text("pass \n")
    assert pack(made) != first


def test_python_runs_the_bundle_from_memory_and_leaves_the_rest_of_the_input_to_it(tmp_path: Path) -> None:
    shows = "import sys\ndef main(): print(__file__, sys.stdin.readline(), sys.flags.isolated)\n"
    sent = b"a password\n" + pack(package(tmp_path, shows)) + b"request\n"
    done = subprocess.run([sys.executable, *ARGUMENTS], input=sent, capture_output=True, cwd=tmp_path, check=True)
    file, request, isolated = done.stdout.decode().split()
    assert file.startswith("/proc/self/fd/")
    assert (request, isolated) == ("request", "1")
    assert done.stderr == b""
