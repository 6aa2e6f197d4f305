"""How an agent is started on a node: as Ansible would reach that node itself, or in a pod there.

It travels as a zip archive in memory, sent through standard input, that Python imports from there. Nothing is left on
the node: the archive lies in a file that has no name and ends with its process.
"""

from __future__ import annotations

import io
import os
import shlex
import zipfile
from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812  (Ansible's own name for it)
from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.loader import become_loader, connection_loader

_MARK = b"LABCTL-AGENT\n"
# Anything before the mark (a become password that was not asked for) is passed over.
_BOOTSTRAP = (
    "import os, sys; i=sys.stdin.buffer\n"
    'while i.readline() not in (b"LABCTL-AGENT\\n", b""): pass\n'
    'f=os.memfd_create("labctl_agent"); os.write(f, i.read(int(i.readline())))\n'
    'sys.path.insert(0, "/proc/self/fd/%d" % f)\n'
    "from labctl_agent.__main__ import main; main()"
)
ARGUMENTS = ("-IS", "-c", _BOOTSTRAP)  # of the node's Python


def pack(package: Path) -> bytes:
    """Return what ARGUMENTS waits for. The same files make the same bytes.

    Not compressed: that costs the node more time than the cable, and wants a zlib there.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in sorted(package.glob("*.py")):
            bundle.writestr(zipfile.ZipInfo(f"{package.name}/{path.name}"), path.read_bytes())
    content = archive.getvalue()
    return _MARK + f"{len(content)}\n".encode() + content


class Transport:
    """Makes command lines that this controller runs, by the settings of a task and of its play."""

    def __init__(self, task: Any, play_context: Any) -> None:
        self.task = task
        self.play_context = play_context

    def command(self, node: str, variables: Mapping[str, Any]) -> tuple[list[str], str | None]:
        """Return the command line of an agent on `node`, and the password that it will ask for, if it asks for one."""
        if "endpoint_agent" in variables:
            return [*map(str, variables["endpoint_agent"]), "python3", *ARGUMENTS], None
        connection = self.connection(variables)
        python = variables.get("ansible_python_interpreter", "python3")
        command, password = self.become(f"{python} {shlex.join(ARGUMENTS)}", connection, variables)
        if connection._load_name == "local":
            return ["/bin/sh", "-c", command], password
        if connection._load_name != "ssh" or connection.get_option("password"):
            raise AnsibleActionFail(
                f"{node}: samples are measured over SSH with a key, or on the controller itself; seen: connection "
                f"{connection._load_name}" + (" with a password" if connection._load_name == "ssh" else "")
            )
        connection.host = connection.get_option("host") or node
        argv = connection._build_command(connection.get_option("ssh_executable"), "ssh", connection.host, command)
        return [part.decode() for part in argv], password

    def on_the_controller(self, variables: MutableMapping[str, Any]) -> tuple[list[str], str | None]:
        """Return the same for an agent on this machine as root, as the lab was made there (playbooks/lab_create.yml).

        `variables` are those of localhost, which may say how another user is become, with which password.
        """
        here = {"ansible_connection": "local", "ansible_become": os.geteuid() != 0}
        return self.command("localhost", ChainMap(here, variables))

    def connection(self, variables: Mapping[str, Any]) -> Any:
        """Return the connection that Ansible would use for a node with these variables."""
        connection = connection_loader.get(
            variables.get("ansible_connection", "ssh"),
            self.play_context,
            task_uuid=self.task._uuid,
            ansible_playbook_pid=str(os.getppid()),
        )
        names = C.config.get_plugin_vars("connection", connection._load_name)
        connection.set_options(var_options={name: variables[name] for name in names if name in variables})
        return connection

    def become(self, command: str, connection: Any, variables: Mapping[str, Any]) -> tuple[str, str | None]:
        """Return the command as the user to become, and the password it will ask for on its input."""
        if not boolean(variables.get("ansible_become", self.task.become or False)):
            return command, None
        become = become_loader.get(variables.get("ansible_become_method", self.task.become_method or "sudo"))
        names = C.config.get_plugin_vars("become", become._load_name)
        task_keys = {"become_user": self.task.become_user, "become_pass": self.play_context.become_pass}
        become.set_options(
            task_keys={name: value for name, value in task_keys.items() if value},
            var_options={name: variables[name] for name in names if name in variables},
        )
        return become.build_become_command(command, connection._shell), become.get_option("become_pass")
