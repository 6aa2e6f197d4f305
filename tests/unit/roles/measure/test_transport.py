"""How an agent travels and is started: the command lines that Ansible's own connections and escalations make."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, cast

import pytest
from ansible import constants as C  # noqa: N812  (Ansible's own name for it)
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins import loader as plugins
from ansible.plugins.action.normal import ActionModule
from ansible.template import Templar, trust_as_template
from labctl_measure.channel import Channel, ChannelDied
from labctl_measure.transport import ARGUMENTS, Command, Transport, pack

from tests.unit.roles.measure.conftest import AGENT

plugins.init_plugin_loader()
PYTHON = "/usr/bin/python3"
SSH = {"ansible_host": "192.0.2.1"}
OLDER = ["smart"] if "'smart' option" in str(C.config.get_configuration_definition("DEFAULT_TRANSPORT")) else []
JUMP = "-o ProxyJump=admin@192.0.2.9"


def trusted(value: Any) -> Any:
    """Return a value of an inventory, whose templates are Ansible's to render."""
    return trust_as_template(value) if isinstance(value, str) else value


def transport(own: dict[str, Any] | None = None, **context: str) -> Transport:
    """Return what makes the commands in a task of a node with its `own` variables."""
    files, task = DataLoader(), Task()
    task.connection, task.become_method, task.become_user = "ssh", "sudo", None  # as a play has them
    play_context = PlayContext()
    for name, value in context.items():
        setattr(play_context, name, value)
    templar = Templar(files, own or {})
    return Transport(ActionModule(task, cast("Any", None), play_context, files, templar, plugins))


def command(**variables: Any) -> Command:
    """Return the command for a node with these variables."""
    known = {"ansible_python_interpreter": PYTHON, "ansible_playbook_python": PYTHON}
    return transport().command("node1", {**known, **variables})


def started(line: str) -> list[str]:
    """Return the words of the command line that starts Python, behind as many shells as there are."""
    words = shlex.split(line)
    while PYTHON not in words:
        words = shlex.split(next(word for word in words if PYTHON in word))
    return words[words.index(PYTHON) :][: 1 + len(ARGUMENTS)]


@pytest.mark.parametrize("name", [None, "ssh", "ansible.builtin.ssh", "ansible.legacy.ssh", *OLDER])
def test_over_ssh_the_command_is_one_word_behind_the_host(name: str | None) -> None:
    variables = SSH | ({} if name is None else {"ansible_connection": name})
    made = command(ansible_user="root", ansible_ssh_common_args="-o BatchMode=yes", **variables)
    assert made.argv[0] == "ssh"
    assert made.argv[-2] == "192.0.2.1"
    assert "-tt" not in made.argv
    assert started(made.argv[-1]) == [PYTHON, *ARGUMENTS]
    assert {"BatchMode=yes", 'User="root"'} <= set(made.argv)
    assert made.become is None


def test_without_an_address_it_is_the_nodes_name() -> None:
    assert command().argv[-2] == "node1"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ansible_port": 2222}, {"Port=2222"}),
        ({"ansible_ssh_port": "2222"}, {"Port=2222"}),
        ({"ansible_ssh_common_args": JUMP}, {"ProxyJump=admin@192.0.2.9"}),
        ({"ansible_ssh_extra_args": "-J admin@192.0.2.9"}, {"-J", "admin@192.0.2.9"}),
        ({"ansible_ssh_common_args": "-o 'ProxyCommand=ssh -W %h:%p x'"}, {"ProxyCommand=ssh -W %h:%p x"}),
        ({"ansible_ssh_private_key_file": "/k"}, {'IdentityFile="/k"'}),
        ({"ansible_ssh_user": "me"}, {'User="me"'}),
        ({"ansible_user": "{{ who }}", "who": "me"}, {'User="me"'}),
        ({"ansible_host_key_checking": False}, {"StrictHostKeyChecking=no"}),
        ({"ansible_ssh_timeout": 3}, {"ConnectTimeout=3"}),
        ({"ansible_ssh_executable": "/opt/ssh"}, {"/opt/ssh"}),
    ],
)
def test_whatever_the_inventory_says_of_the_way_holds(variables: dict[str, Any], words: set[str]) -> None:
    assert words <= set(command(**SSH, **{name: trusted(value) for name, value in variables.items()}).argv)


def test_nothing_of_the_way_to_the_tasks_own_node_is_taken_for_another() -> None:
    own = {"ansible_port": 2222, "ansible_user": "other", "ansible_become_password": "of the other"}
    made = transport(own, port="2222", remote_user="other", become_pass="of the other").command(
        "node2", {**SSH, "ansible_become": True, "ansible_python_interpreter": PYTHON}
    )
    assert not [word for word in made.argv if "2222" in word or "other" in word]
    assert made.become.get_option("become_pass") is None
    given = transport({}, become_pass="for all").command(
        "node2", {**SSH, "ansible_become": True, "ansible_python_interpreter": PYTHON}
    )
    assert given.become.get_option("become_pass") == "for all"


@pytest.mark.parametrize("name", ["local", "ansible.builtin.local"])
def test_on_the_controller_it_is_a_shells(name: str) -> None:
    made = command(ansible_connection=name)
    assert made.argv[:2] == ["/bin/sh", "-c"]
    assert started(made.argv[2]) == [PYTHON, *ARGUMENTS]


def test_the_users_own_shell_may_be_one_without_line_ends_in_quotes() -> None:
    assert "\n" not in command(**SSH).argv[-1]


def test_as_root_on_the_controller_it_is_the_inventorys_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    localhost = {
        "ansible_connection": "ssh",
        "ansible_python_interpreter": PYTHON,
        "ansible_become_password": "secret",
        "ansible_become": "yes",
    }
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("LOGNAME", "me")
    made = transport().on_the_controller(localhost)
    assert made.argv[:2] == ["/bin/sh", "-c"]
    assert "sudo" in made.argv[2]
    assert "-u root" in made.argv[2]
    assert made.become.get_option("become_pass") == "secret"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    made = transport().on_the_controller(localhost)
    assert (started(made.argv[2]), made.become) == ([PYTHON, *ARGUMENTS], None)
    assert "sudo" not in made.argv[2]


def test_in_a_pod_it_follows_what_runs_commands_there() -> None:
    made = command(endpoint_agent=["kubectl", "exec", "-i", trusted("{{ name }}"), "--"], name="pod")
    assert made == Command(["kubectl", "exec", "-i", "pod", "--", "python3", *ARGUMENTS])


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ansible_become_user": "admin"}, ["sudo", "-u admin"]),
        ({"ansible_become_method": "ansible.builtin.sudo"}, ["sudo", "-u root"]),
        ({"ansible_become_method": "su"}, ["su ", " root -c "]),
        ({"ansible_become_method": "su", "ansible_su_flags": "-m"}, ["su -m root -c "]),
        ({"ansible_become_exe": "/opt/sudo"}, ["/opt/sudo "]),
        ({"ansible_become_flags": "-H -E"}, ["sudo -H -E"]),
        ({"ansible_shell_executable": "/bin/bash"}, ["/bin/bash -c "]),
    ],
)
def test_another_user_is_become_as_the_inventory_says(variables: dict[str, Any], words: list[str]) -> None:
    made = command(**SSH, ansible_user="me", ansible_become="yes", ansible_become_password="secret", **variables)
    assert all(word in made.argv[-1] for word in words), made.argv[-1]
    assert made.become.get_option("become_pass") == "secret"
    assert "secret" not in str(made.argv)
    assert command(**SSH, ansible_become=False, ansible_become_password="secret", **variables).become is None


def test_who_is_that_user_already_becomes_nobody() -> None:
    assert command(**SSH, ansible_user="root", ansible_become=True).become is None


@pytest.mark.parametrize(
    ("variables", "seen"),
    [
        ({"ansible_connection": "winrm"}, "ansible_connection: ansible.builtin.winrm. Set it to ssh"),
        ({"ansible_password": "secret", "ansible_ssh_args": "-o Compression=no"}, "Use a key, or ansible_ssh_args: "),
        ({"ansible_connection": "no.such.one"}, "the connection plugin 'no.such.one' was not found"),
        ({"ansible_become": True, "ansible_become_method": "magic"}, "Invalid become method specified"),
    ],
)
def test_what_an_agent_cannot_do_is_refused_by_name(variables: dict[str, Any], seen: str) -> None:
    with pytest.raises(AnsibleActionFail, match=rf"node1: .*{seen}"):
        command(**variables)


@pytest.mark.parametrize("wanted", ["auto", "auto_silent", None])
def test_a_python_that_ansible_has_found_is_taken(wanted: str | None) -> None:
    variables = {**SSH, "ansible_facts": {"discovered_interpreter_python": "/opt/python"}}
    variables |= {} if wanted is None else {"ansible_python_interpreter": wanted}
    made = transport().command("node1", variables)
    assert "/opt/python -IS -c " in shlex.split(made.argv[-1])[-1]


def test_a_python_that_nobody_has_looked_for_yet_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho FOUND; echo /opt/found/python3; echo ENDFOUND\n")
    ssh.chmod(0o755)
    made = transport().command(
        "node1", {**SSH, "ansible_python_interpreter": "auto_silent", "ansible_ssh_executable": str(ssh)}
    )
    assert "/opt/found/python3 -IS -c " in shlex.split(made.argv[-1])[-1]


SUDO = """#!{python}
import os, sys
words = sys.argv[1:]
prompt, shell = words[words.index("-p") + 1], words[words.index("-u") + 2 :]
sys.stderr.write("We trust you have received the usual lecture\\n" + prompt)
sys.stderr.flush()
given = b""
while not given.endswith(b"\\n"):
    given += os.read(0, 1)
if given != b"secret\\n":
    sys.exit("Sorry, try again.")
os.execvp(shell[0], shell)
"""


@pytest.mark.parametrize(
    ("password", "says"),
    [("secret", None), ("wrong", "Sorry, try again.*: incorrect sudo"), ("", "password is required.*: missing sudo")],
)
def test_a_password_is_given_where_one_is_asked_for(tmp_path: Path, password: str, says: str | None) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text(SUDO.format(python=sys.executable))
    if not password:
        sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2; exit 1\n")
    sudo.chmod(0o755)
    made = transport().command(
        "node1",
        {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_become": True,
            "ansible_become_user": "admin",
            "ansible_become_exe": str(sudo),
            "ansible_become_password": password or None,
        },
    )
    if says:
        with pytest.raises(ChannelDied, match=f"node1: .*{says} password"):
            Channel("node1", made, pack(AGENT))
        return
    channel = Channel("node1", made, pack(AGENT))
    try:
        assert channel.ask("stat")["t"] > 0
    finally:
        channel.close(10.0)


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
