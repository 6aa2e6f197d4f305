"""How an agent is started: the command lines that Ansible's own connections and escalations make."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import init_plugin_loader
from labctl_measure import bundle
from labctl_measure.transport import Transport

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
    assert started(argv[-1]) == [PYTHON, *bundle.ARGUMENTS]
    assert {"BatchMode=yes", 'User="root"'} <= set(argv)
    assert password is None
    assert command(inventory_hostname="node1")[0][-2] == "node1"


def test_on_the_controller_it_is_a_shells() -> None:
    argv, _ = command(ansible_connection="local")
    assert argv[:2] == ["/bin/sh", "-c"]
    assert started(argv[2]) == [PYTHON, *bundle.ARGUMENTS]


def test_in_a_pod_it_follows_what_runs_commands_there() -> None:
    argv, password = command(endpoint_agent=["kubectl", "exec", "-i", "pod", "--"])
    assert argv == ["kubectl", "exec", "-i", "pod", "--", "python3", *bundle.ARGUMENTS]
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
