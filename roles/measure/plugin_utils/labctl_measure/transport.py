"""How an agent is started on a node: by the connection and the escalation that Ansible has for it, or in a pod there.

Ansible's own plugins make the command line, from all that inventory, configuration and task say; labctl only keeps them
from running it, since the agent's input and output stay open. So there is one way to a node, Ansible's: what it can do
an agent can, but for the few things that `Transport.refused` names.

The agent travels as a zip archive in memory, sent through standard input, that Python imports from there. Nothing is
left on the node: the archive lies in a file that has no name and ends with its process.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
import zipfile
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ansible import constants as C  # noqa: N812  (Ansible's own name for it)
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.executor.task_executor import TaskExecutor
from ansible.playbook.play_context import PlayContext

from labctl.engine.interpreter import python_of

_MARK = b"LABCTL-AGENT\n"
_BOOTSTRAP = (
    "import os, sys; i=sys.stdin.buffer\n"
    'while i.readline() not in (b"LABCTL-AGENT\\n", b""): pass\n'
    'f=os.memfd_create("labctl_agent"); os.write(f, i.read(int(i.readline())))\n'
    'sys.path.insert(0, "/proc/self/fd/%d" % f)\n'
    "from labctl_agent.__main__ import main; main()"
)
# Of the node's Python. On one line: the user's shell there may be one (csh) that takes no line's end in quotes.
ARGUMENTS = ("-IS", "-c", f"exec({_BOOTSTRAP!r})")


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


@dataclass(frozen=True)
class Command:
    """A command line of this controller. `become` is Ansible's escalation in it, which may ask for a password first."""

    argv: list[str]
    become: Any = None


class _Executor(TaskExecutor):
    """The part of Ansible that finds out how a task reaches a node, for another node than the task's own."""

    _task: Any = None  # a property in newer Ansibles, of the task in hand

    def __init__(self, action: Any, play_context: PlayContext) -> None:
        self._task = action._task
        self._play_context = play_context
        self._loader = action._loader
        self._shared_loader_obj = action._shared_loader_obj
        self._connection: Any = None

    def connect(self, variables: Mapping[str, Any], templar: Any) -> Any:
        """Return the connection to the node with these variables, its escalation and its options set."""
        context = self._play_context.set_task_and_variable_override(self._task, variables, templar)
        context.post_validate(templar=templar)
        self._play_context = context
        kind = templar.template(variables.get("ansible_connection") or self._task.connection)
        get, set_options = cast("Any", self._get_connection), cast("Any", self._set_connection_options)
        self._connection = get(variables, templar, kind)
        set_options(variables, templar)
        self._connection._play_context = self._play_context
        return self._connection


class Transport:
    """Makes command lines that this controller runs, by what Ansible knows in a task of action plugin `action`."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def command(self, node: str, variables: Mapping[str, Any]) -> Command:
        """Return the command of an agent on `node`, by its variables as Ansible has them.

        Raises AnsibleActionFail for a node that Ansible reaches in a way that an agent cannot go, and
        AnsibleConnectionFailure where it cannot be reached.
        """
        values = {"inventory_hostname": node, **variables}
        templar = self.action._templar.copy_with_new_env(available_variables=values)
        if "endpoint_agent" in values:
            return Command([*map(str, templar.template(values["endpoint_agent"])), "python3", *ARGUMENTS])
        action = self.reach(node, values, templar)
        connection = action._connection
        refused = self.refused(connection)
        if refused:
            raise AnsibleActionFail(f"{node}: {refused}")
        python = python_of(action, values)
        if connection.transport == "ssh" and _password(connection):
            # The agent's own ssh is not asked for the password: it goes through the connection that this one leaves.
            done = action._low_level_execute_command("true", sudoable=False)
            if done["rc"] != 0:
                raise AnsibleConnectionFailure(f"{node}: {done['stderr'].strip() or done['stdout'].strip()}")
        argv = _captured(action, f"{python} {shlex.join(ARGUMENTS)}")
        escalates = connection.become is not None and bool(connection.become.success)
        return Command(argv, connection.become if escalates else None)

    def on_the_controller(self, variables: Mapping[str, Any]) -> Command:
        """Return the same for an agent on this machine as root, as the lab was made there (playbooks/lab_create.yml).

        `variables` are those of localhost, which may say how another user is become, with which password.
        """
        here = {"ansible_connection": "local", "ansible_become": os.geteuid() != 0}
        otherwise = {"ansible_python_interpreter": sys.executable}
        return self.command("localhost", ChainMap(here, dict(variables), otherwise))

    def reach(self, node: str, values: Mapping[str, Any], templar: Any) -> Any:
        """Return an action on `node`, with its own variables, instead of the task's."""
        ours = self.action
        executor = _Executor(ours, PlayContext(passwords=self.passwords()))
        try:
            connection = executor.connect(values, templar)
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:
            raise AnsibleActionFail(f"{node}: it cannot be reached as its inventory says: {error}") from error
        return ours._shared_loader_obj.action_loader.get(
            "ansible.builtin.normal",
            task=ours._task,
            connection=connection,
            play_context=executor._play_context,
            loader=ours._loader,
            templar=templar,
            shared_loader_obj=ours._shared_loader_obj,
        )

    def passwords(self) -> dict[str, str]:
        """Return the passwords that were given for all nodes (--ask-become-pass), not those of the task's own node."""
        context, own = self.action._play_context, self.action._templar.available_variables
        given = {"conn_pass": ("password", context.password), "become_pass": ("become_pass", context.become_pass)}
        return {
            name: value
            for name, (attribute, value) in given.items()
            if value and not any(variable in own for variable in C.MAGIC_VARIABLE_MAPPING[attribute])
        }

    @staticmethod
    def refused(connection: Any) -> str | None:
        """Return why an agent cannot go where Ansible goes; None where it can."""
        if connection.transport not in ("ssh", "local"):
            return (
                "samples are measured over SSH, or on the controller itself; seen: ansible_connection: "
                f"{connection.ansible_name}. Set it to ssh for this node, or use another node"
            )
        if connection.transport == "ssh" and _password(connection) and not _persists(connection):
            return (
                "samples are measured over SSH with a key, or with a password through a connection that stays open; "
                "seen: a password, and ssh_args without ControlPersist. Use a key, or "
                "ansible_ssh_args: -o ControlMaster=auto -o ControlPersist=60s"
            )
        return None


def _password(connection: Any) -> bool:
    """Whether ssh logs in with a password (or the PIN of a card)."""
    return bool(connection.get_option("password") or connection._play_context.password)


def _persists(connection: Any) -> bool:
    """Whether a connection of ssh's stays open for later ones."""
    names = ("ssh_args", "ssh_common_args", "ssh_extra_args")
    return any("controlpersist" in str(connection.get_option(name) or "").lower() for name in names)


def _captured(action: Any, command: str) -> list[str]:
    """Return what Ansible would run on this controller for a command on the action's node, with an input."""
    connection = action._connection
    seen: list[list[str]] = []

    def run(argv: list[Any], *_: object, **__: object) -> tuple[int, bytes, bytes]:
        seen.append([part.decode() if isinstance(part, bytes) else str(part) for part in argv])
        return 0, b"", b""

    def execute(line: str, *_: object, **__: object) -> tuple[int, bytes, bytes]:
        return run([C.DEFAULT_EXECUTABLE.split()[0], "-c", line])

    if connection.transport == "local":
        connection.exec_command = execute
    else:
        connection._run = run
    action._low_level_execute_command(command, in_data=b"an agent")
    (argv,) = seen
    if os.path.basename(argv[0]) == "sshpass":
        argv = argv[next(index for index, word in enumerate(argv) if index and not word.startswith("-")) :]
    return argv
