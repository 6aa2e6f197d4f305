"""Ansible's settings: which of them labctl decides for its own plays, and why; all others are the user's.

Ansible's own reader says what the user has set, in the environment or in the ansible.cfg that Ansible itself takes.
`labctl check` shows where that is something else than is pinned here. What would make Ansible ask for a password is
refused instead: nobody sees the question.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from labctl.core import trust
from labctl.core.documents import kind
from labctl.core.errors import Problem, UsageError

CALLBACKS = Path(__file__).parent / "callbacks"
NO_CONFIG = Path(__file__).parent / "none.cfg"  # says nothing


@dataclass(frozen=True)
class Pin:
    """A setting, by its name in `ansible-config list`, that labctl decides: its value, and the reason.

    A list that is `open` is the user's, and only what labctl needs joins it.
    """

    name: str
    value: str
    why: str
    open: bool = False


WORDS = "labctl reads what Ansible says, and tells it in its own words"
YOURS = "those of yours are for your own plays"
ALL_OF_IT = "labctl's plays are one piece: done in part, nothing of what it says afterwards would hold"
OWN_RULES = "labctl's plays are written for Ansible's own rule"
OPEN = "labctl's own inventories are read by it"

# Every other setting of Ansible is the user's (connections, escalation, vault, timeouts, forks, plugins of his own),
# has no effect on a play of labctl, or none at all any more.
PINS = (
    # What is done, and in which order.
    Pin("TAGS_RUN", "all", ALL_OF_IT),
    Pin("TAGS_SKIP", "", ALL_OF_IT),
    Pin("DEFAULT_STRATEGY", "linear", "both ends go step by step, each step done at both before the next begins"),
    Pin("ANY_ERRORS_FATAL", "false", "a node that fails does not keep the other from being looked at and cleaned"),
    Pin("DEFAULT_FORCE_HANDLERS", "false", OWN_RULES),
    Pin("TASK_TIMEOUT", "0", "a task may take hours: all samples of a visit are one"),
    Pin("ENABLE_TASK_DEBUGGER", "false", "it would wait for commands that nobody is asked for"),
    Pin("HOST_PATTERN_MISMATCH", "warning", "a play for a group that a lab need not have is passed over"),
    # What values mean.
    Pin("DEFAULT_HASH_BEHAVIOUR", "replace", OWN_RULES),
    Pin("DEFAULT_PRIVATE_ROLE_VARS", "false", OWN_RULES),
    Pin("INJECT_FACTS_AS_VARS", "false", "what a node says of itself changes no variable of labctl's plays"),
    Pin("PLAYBOOK_VARS_ROOT", "top", OWN_RULES),
    Pin(
        "VARIABLE_PRECEDENCE",
        "all_inventory,groups_inventory,all_plugins_inventory,all_plugins_play,groups_plugins_inventory,groups_plugins_play",
        OWN_RULES,
    ),
    Pin("CACHE_PLUGIN", "memory", "what was true of a node in an earlier run need not be true now"),
    # Which inventories are read.
    Pin("INVENTORY_ENABLED", "yaml", OPEN, open=True),
    Pin("VARIABLE_PLUGINS_ENABLED", "host_group_vars", OPEN, open=True),
    Pin("YAML_FILENAME_EXTENSIONS", ".yml", OPEN, open=True),
    Pin("DUPLICATE_YAML_DICT_KEY", "error", "of a group or variable that is written twice only the last would count"),
    Pin("INVENTORY_UNPARSED_IS_FAILED", "true", "a lab that was read in part is no lab"),
    Pin("INVENTORY_ANY_UNPARSED_IS_FAILED", "true", "a lab that was read in part is no lab"),
    # What runs on the nodes, and what stays there.
    Pin("DEFAULT_KEEP_REMOTE_FILES", "false", "nothing of labctl stays on a node"),
    Pin("PYTHON_MODULE_RLIMIT_NOFILE", "0", "servers that a module starts would inherit the limit"),
    # What Ansible says, and to whom.
    Pin("DEFAULT_STDOUT_CALLBACK", "default", WORDS),
    Pin("CALLBACKS_ENABLED", "labctl_lifeline,labctl_packed", YOURS),
    Pin("DEFAULT_CALLBACK_PLUGIN_PATH", str(CALLBACKS), YOURS),
    Pin("DEFAULT_DEBUG", "false", WORDS),
    Pin("DEFAULT_VERBOSITY", "0", "labctl's own --verbose says how much Ansible tells"),
    Pin("DEFAULT_NO_LOG", "false", "labctl reads the results; what is secret in them is hidden task by task"),
    Pin("DISPLAY_ARGS_TO_STDOUT", "false", "arguments may be secret"),
    Pin("DIFF_ALWAYS", "false", "labctl provision --diff shows the differences"),
    Pin("RETRY_FILES_ENABLED", "false", WORDS),
    Pin("INVENTORY_EXPORT", "false", WORDS),
    Pin("PLAYBOOK_DIR", str(CALLBACKS), WORDS),  # a directory without variables, for ansible-inventory
    Pin("ANSIBLE_FORCE_COLOR", "false", WORDS),
    Pin("ANSIBLE_NOCOLOR", "true", WORDS),
    Pin("ANSIBLE_NOCOWS", "true", WORDS),
    Pin("DEPRECATION_WARNINGS", "false", WORDS),
)
# Pins with these reasons are not told: how Ansible tells labctl what it does is no matter of the user's.
UNTOLD = (WORDS, YOURS)

# Settings that make Ansible ask, and what to do instead.
ASKING: Mapping[str, str] = {
    "DEFAULT_BECOME_ASK_PASS": "give labctl --ask-become-pass (-K); where no password is needed: "
    "ANSIBLE_BECOME_ASK_PASS=false",
    "DEFAULT_ASK_PASS": "use a key, or name a file with the password: ANSIBLE_CONNECTION_PASSWORD_FILE; "
    "and ANSIBLE_ASK_PASS=false",
    "DEFAULT_ASK_VAULT_PASS": "name a file or program with the password: ANSIBLE_VAULT_PASSWORD_FILE; "
    "and ANSIBLE_ASK_VAULT_PASS=false",
}
CORRECT = "correct it, or leave it out: `ansible-config list` says what it may be"
FORKS = "DEFAULT_FORKS"
BECOME_ASKS = "DEFAULT_BECOME_ASK_PASS"
VAULT_ASKS = ("DEFAULT_ASK_VAULT_PASS", "DEFAULT_VAULT_IDENTITY_LIST")  # also where an inventory is only read
VAULT_PROMPTS = ("prompt", "prompt_ask_vault_pass")  # instead of a file, in a vault identity
VAULT_HINT = "name a file or program with the password instead: ANSIBLE_VAULT_IDENTITY_LIST=label@FILE"

# What the user may set in several places, none of which labctl's own default may hide.
PIPELINING: Mapping[str, Any] = {
    "type": "bool",
    "env": [{"name": "ANSIBLE_PIPELINING"}, {"name": "ANSIBLE_SSH_PIPELINING"}],
    "ini": [{"section": section, "key": "pipelining"} for section in ("defaults", "connection", "ssh_connection")],
}


@dataclass(frozen=True)
class Overruled:
    """A setting of the user's that does not hold in labctl's plays: what holds, what he set and where, and why."""

    name: str
    wanted: str
    seen: str
    why: str


@dataclass(frozen=True)
class Settings:
    """What the user has set.

    `config` is the ansible.cfg that holds, `ignored` says of one that does not why. `pinned` are the environment's
    names and values of all that labctl decides; `asks` are the settings, by name, for which Ansible would ask.
    """

    config: Path | None = None
    ignored: str | None = None
    pinned: Mapping[str, str] = field(default_factory=dict)
    overruled: tuple[Overruled, ...] = ()
    asks: Mapping[str, Problem] = field(default_factory=dict)

    def require_silence(self, *names: str) -> None:
        """Raise UsageError where Ansible would ask for something, because of any of these settings."""
        problems = [self.asks[name] for name in names if name in self.asks]
        if problems:
            raise UsageError(*problems)


def read() -> Settings:
    """What Ansible's own reader finds, in this environment and directory.

    Raises UsageError for an ansible.cfg that somebody else decides on, or that cannot be read.
    """
    from ansible.config.manager import ConfigManager, find_ini_config_file
    from ansible.errors import AnsibleError

    warnings: set[str] = set()
    found = find_ini_config_file(warnings)
    config = None if found is None else Path(str(found))
    if config is not None:
        _require_believed(config)
    try:
        # Without a file of its own the reader would look for one again.
        manager = ConfigManager(str(config or NO_CONFIG))
        manager.initialize_plugin_configuration_definitions("labctl", "ssh", {"pipelining": PIPELINING})
        reader = _Reader(manager)
        problems = list(reader.unusable())
        if problems:
            raise UsageError(*problems)
        pinned = dict(chain.from_iterable(map(reader.pin, reader.pins)))
        pinned |= {reader.variable(name): "false" for name in ASKING}
        if reader.unset("pipelining"):
            pinned["ANSIBLE_PIPELINING"] = "true"  # half the time of a task; sudo with requiretty cannot do with it
        return Settings(config, _ignored(warnings), pinned, tuple(reader.overruled()), dict(reader.asks()))
    except (AnsibleError, OSError) as error:
        where = str(config) if config else "the environment"
        hint = "correct it: `ansible-config dump` says what Ansible makes of it"
        raise UsageError(
            Problem("Ansible's configuration cannot be read", where, " ".join(str(error).split()), hint)
        ) from error


class _Reader:
    """What the user has set, by Ansible's own reader."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        # A newer Ansible may have given up a setting that labctl need not decide any more.
        self.pins = [pin for pin in PINS if manager.get_configuration_definition(pin.name)]

    def variable(self, name: str) -> str:
        """The environment's name of a setting."""
        return str(self.manager.get_configuration_definition(name)["env"][0]["name"])

    def typed(self, name: str, value: str) -> object:
        """A value as Ansible reads it."""
        from ansible.config.manager import ensure_type

        kind = self.manager.get_configuration_definition(name).get("type")
        return [] if kind == "list" and not value else ensure_type(value, kind)

    def set_by_user(self, name: str) -> tuple[object, str] | None:
        """What the user has set, and where; None where he has not. What Ansible cannot read is its text and why."""
        from ansible.errors import AnsibleError

        try:
            value, origin = self.manager.get_config_value_and_origin(name)
        except AnsibleError as error:
            return " ".join(str(error).split()), "not understood"
        return None if origin == "default" else (value, str(origin).removeprefix("env: "))

    def unset(self, option: str) -> bool:
        """Whether the user says nothing of an option of ssh's."""
        _, origin = self.manager.get_config_value_and_origin(option, plugin_type="labctl", plugin_name="ssh")
        return bool(origin == "default")

    def pin(self, pin: Pin) -> Iterator[tuple[str, str]]:
        """The variable and the value of a pinned setting; none where Ansible's own default has what labctl needs."""
        if not pin.open:
            yield self.variable(pin.name), pin.value
        elif own := self.set_by_user(pin.name):
            kept = [one for one in own[0] if one] if isinstance(own[0], list) else []
            yield self.variable(pin.name), ",".join([*map(str, kept), *_lacking(pin, kept)])

    def overruled(self) -> Iterator[Overruled]:
        """Where the user wants something else than is pinned."""
        for pin in self.pins:
            own = None if pin.why in UNTOLD else self.set_by_user(pin.name)
            if own is None:
                continue
            value, where = own
            wanted = self.typed(pin.name, pin.value)
            if _lacking(pin, value if isinstance(value, list) else []) if pin.open else value != wanted:
                yield Overruled(
                    self.variable(pin.name), _shown(wanted) or "none", f"{_shown(value)} ({where})", pin.why
                )

    def unusable(self) -> Iterator[Problem]:
        """What of the user's settings no Ansible could work with: it would fail in its own words, or wait for ever."""
        from ansible.errors import AnsibleError

        decided = {pin.name for pin in self.pins if not pin.open} | ASKING.keys()
        for name, definition in self.manager.get_configuration_definitions().items():
            if name in decided or not self._may_be_set(definition):
                continue
            try:
                value, origin = self.manager.get_config_value_and_origin(name)
            except AnsibleError as error:
                yield self._problem(name, " ".join(str(error).split()), self.manager._config_file, CORRECT)
                continue
            if name == FORKS and value < 1:
                yield self._problem(name, str(value), origin, "give a number from 1")
            # An identity of a vault is label@file.
            for path in value if isinstance(value, list) else [value]:
                waits = _waits(str(path).rpartition("@")[2] if name == VAULT_ASKS[1] else str(path))
                if waits and (name == VAULT_ASKS[1] or str(definition.get("type")).startswith("path")):
                    hint = "name a regular file, or a program that prints what would be in it"
                    yield self._problem(name, f"{path} is {waits}, and may be opened many times", origin, hint)

    def _may_be_set(self, definition: Mapping[str, Any]) -> bool:
        """Whether the environment, or the ansible.cfg, names a setting."""
        ini = self.manager._parsers.get(self.manager._config_file)
        return any(one["name"] in os.environ for one in definition.get("env", ())) or any(
            ini is not None and ini.has_option(one["section"], one["key"]) for one in definition.get("ini", ())
        )

    def _problem(self, name: str, seen: str, origin: object, hint: str) -> Problem:
        own = self.manager.get_configuration_definition(name)
        variable = own["env"][0]["name"] if own.get("env") else name
        from_environment = any(one["name"] in os.environ for one in own.get("env", ()))
        where = "the environment" if from_environment else str(origin)
        return Problem("Ansible cannot work with one of your settings for it", f"{where}: {variable}", seen, hint)

    def asks(self) -> Iterator[tuple[str, Problem]]:
        """For what Ansible would ask."""
        for name, hint in ASKING.items():
            own = self.set_by_user(name)
            if own and own[0]:
                yield name, _asked(self.variable(name), *own, hint)
        name = VAULT_ASKS[1]
        own = self.set_by_user(name)
        for identity in own[0] if own and isinstance(own[0], list) else ():
            if str(identity).rpartition("@")[2] in VAULT_PROMPTS:
                yield name, _asked(self.variable(name), identity, own[1] if own else "", VAULT_HINT)


def _asked(variable: str, value: object, where: str, hint: str) -> Problem:
    what = "Ansible would ask for a password, which nobody would see"
    return Problem(what, f"{variable} of your Ansible configuration", f"{_shown(value)} ({where})", hint)


def _lacking(pin: Pin, values: Sequence[object]) -> list[str]:
    """What labctl needs of a list and is not in it; plugins of Ansible itself have a longer name, too."""
    there = {str(value).removeprefix("ansible.builtin.") for value in values}
    return [one for one in pin.value.split(",") if one not in there]


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _waits(path: str) -> str | None:
    """What a path leads to, where whoever opens it waits for somebody else; None for anything else."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - for any name at all
    except (OSError, ValueError):
        return None
    return kind(mode) if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


def _require_believed(config: Path) -> None:
    """Raise UsageError for an ansible.cfg that others decide on, or that is no file: it may run programs."""
    what = "the ansible.cfg that Ansible would take"
    trust.require_trusted(what, config)
    if not config.is_file():
        raise UsageError(Problem(f"{what} is no file", str(config), hint="name a file of yours: ANSIBLE_CONFIG=FILE"))


def _ignored(warnings: set[str]) -> str | None:
    """Why an ansible.cfg of this directory does not hold, where Ansible itself passes one over."""
    if not warnings:
        return None
    here = Path.cwd()
    mode = f"{here.stat().st_mode & 0o7777:04o}"
    return f"{here / 'ansible.cfg'} does not hold: every user may write its directory (mode {mode})"
