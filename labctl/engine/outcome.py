"""How a playbook ended: its failures in words, and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from labctl.core.errors import LabctlError, Problem

CLUSTER = "the cluster"
# Ansible's own words of a loop, whose items have failed with words of their own.
ITEMS_FAILED = "One or more items failed"
Ending = Literal["ok", "failed", "interrupted"]


# What ssh says of a node that is not there, or not yet.
SILENCE = (
    *("timed out", "No route to host", "Connection refused", "Could not resolve hostname", "Network is unreachable"),
    *("Connection reset", "Connection closed by"),
)


@dataclass(frozen=True)
class Failure:
    """A task that failed on a node, or a node that could not be reached.

    `message` has all of it. `problems` are the same one by one, where it came from something that names them so.
    """

    playbook: str
    task: str
    node: str
    message: str
    hint: str | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def told(self) -> tuple[Problem, ...]:
        """The failure as problems to show."""
        where = f"{self.node}, task '{self.task}' of {self.playbook}" if self.task else self.playbook
        return self.problems or (Problem("an Ansible task failed", where, self.message, self.hint),)

    def advised(self, hint: str) -> Failure:
        """The failure with this next step, where it has none of its own."""
        problems = tuple(replace(one, hint=one.hint or hint) for one in self.problems)
        return replace(self, hint=self.hint or hint, problems=problems)


@dataclass(frozen=True)
class Outcome:
    """How a playbook ended. `changed` counts changed tasks over all nodes, `seconds` is wall time.

    `unreachable` are the nodes that could not be reached at some point of it.
    """

    status: Ending
    failures: tuple[Failure, ...]
    changed: int
    seconds: float
    unreachable: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything was done."""
        return self.status == "ok"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The failures one by one, in the words of the modules that have their own."""
        return tuple(problem for failure in self.failures for problem in failure.told)

    @property
    def unanswered(self) -> bool:
        """Whether it failed for nothing but nodes that do not answer: one that refuses a key is there."""
        return bool(self.failures) and all(
            failure.node in self.unreachable and any(words in failure.message for words in SILENCE)
            for failure in self.failures
        )

    def require(self) -> Outcome:
        """The outcome itself, or LabctlError with every failure."""
        if self.status == "interrupted":
            raise LabctlError(Problem("interrupted", hint="the nodes are usable; run the command again"))
        if not self.ok:
            raise LabctlError(*self.problems)
        return self


# A word from the connection's own message, and what it means for the user.
HINTS = (
    (
        "Permission denied",
        "the node refused the key: check ansible_user and ansible_ssh_private_key_file of the lab; a key with a "
        "passphrase has to be in ssh-agent (ssh-add)",
    ),
    ("Host key verification failed", "the node's host key is not the known one: is this the machine you mean?"),
    ("REMOTE HOST IDENTIFICATION", "the node's host key is not the known one: is this the machine you mean?"),
    ("Connection timed out", "is the node up, and is its ansible_host right? For a local lab: labctl lab create"),
    ("No route to host", "is the node up, and is its ansible_host right? For a local lab: labctl lab create"),
    ("Connection refused", "the node is up but nothing answers on its SSH port: check ansible_port"),
    ("Could not resolve hostname", "check ansible_host of this node in the lab's inventory"),
    ("sudo: a password is required", "root is needed on this host: use --ask-become-pass"),
    ("Missing sudo password", "root is needed on this host: use --ask-become-pass"),
    ("waiting for privilege escalation", "root is needed on this host, by a password: use --ask-become-pass"),
    ("waiting for become", "root is needed on this host, by a password: use --ask-become-pass"),
    ("ncorrect sudo password", "the password is another one: give --ask-become-pass that of the user on this host"),
    ("ncorrect su password", "the password is another one: give --ask-become-pass that of the user to become"),
    # Ansible was still sending when ssh ended, and tells that alone.
    ("Broken pipe", "ssh to this node by hand, as the lab's inventory has it, says why it ends: is the node up?"),
    (
        "find matching plugin",
        "Ansible has no such plugin: install the collection that has it for labctl's own ansible-core "
        "(ansible-galaxy collection install NAME), or name another in the lab's inventory",
    ),
    ("identity file", "the key file named in the lab's inventory does not exist: create the lab, or correct the path"),
)


def hint_for(message: str) -> str | None:
    """What to do about a message of Ansible or ssh, where that is known."""
    return next((hint for words, hint in HINTS if words in message), None)


def problems_of(res: Mapping[str, Any], node: str) -> tuple[Problem, ...]:
    """The problems that a module of ours names one by one (`problems` of its result); none for any other module.

    Of a module that looks at a node, they say which; one that asks a cluster (`of_cluster`) was only run for that node.
    """
    place = CLUSTER if res.get("of_cluster") else None if node == "localhost" else node
    found = []
    for one in res.get("problems", ()):
        where = _within(place, one.get("where"), bool(res.get("of_cluster")))
        found.append(Problem(str(one["what"]), where, one.get("seen"), one.get("hint")))
    return tuple(found)


def _within(place: str | None, where: str | None, alone: bool) -> str | None:
    """Where something is, on a node or in a cluster: what says that itself, or stands `alone`, needs no more."""
    if where and (alone or place is None or place in where.split(", ")):
        return where
    return f"{place}, {where}" if where else place


def message_of(res: Mapping[str, Any]) -> str:
    """The words in which a failed task says why, with what its command printed."""
    parts = [str(res.get("msg") or "no message")]
    for name in ("stderr", "module_stderr", "stdout" if not res.get("stderr") else "", "module_stdout"):
        text = str(res.get(name) or "").strip()
        if text and text not in parts[0]:
            parts.append("\n".join(text.splitlines()[-12:]))
    return "\n".join(parts)
