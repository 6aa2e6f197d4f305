"""Ansible through ansible-runner: the only module that knows it.

Each call has a fresh private data directory (runner leaks variables between calls that share one) and passes no
extra variables: what a playbook needs stands in inventories, so that anyone can repeat the step by hand.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from labctl.catalog import CLUSTER
from labctl.core import paths
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.scratch import Scratch, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

CANCEL_POLL_S = 0.5
Ending = Literal["ok", "failed", "interrupted"]
FINGERPRINTERS = ("fingerprint", "cluster_fingerprint")  # the modules that return a fingerprint
PROVERS = ("datapath_proof", "cluster_proof")  # and those that return a proof
CALLBACKS = Path(__file__).parent / "callbacks"


@dataclass(frozen=True)
class AnsibleOptions:
    """What a user may pass through to ansible-playbook."""

    become_password: str | None = field(default=None, repr=False)
    limit: str | None = None
    check: bool = False
    diff: bool = False
    verbosity: int = 0
    forks: int = 10


@dataclass(frozen=True)
class Inventory:
    """A lab as Ansible reads it. Values of `hosts` are host variables, templates in them unrendered.

    `groups` are the hosts of the groups that say what a node is in a cluster.
    """

    path: Path
    name: str
    kind: str
    client: str
    server: str
    hosts: Mapping[str, Mapping[str, object]]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def playbook(self, name: str) -> str:
        """The playbook that does on this kind of lab what `name` says: a cluster one already has needs its own."""
        return f"existing_{name}" if self.kind == CLUSTER else name


@dataclass(frozen=True)
class TaskStart:
    """A task begins."""

    play: str
    task: str


@dataclass(frozen=True)
class TaskResult:
    """One node's result of one task, or of one item of its loop. `action` is the module's short name."""

    action: str
    task: str
    node: str
    ok: bool
    changed: bool
    data: Mapping[str, Any]
    item: object | None = None


Event = TaskStart | TaskResult
Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Failure:
    """A task that failed on a node, or a node that could not be reached."""

    playbook: str
    task: str
    node: str
    message: str
    hint: str | None = None

    def problem(self) -> Problem:
        """The failure as a problem to show."""
        where = f"{self.node}, task '{self.task}' of {self.playbook}" if self.task else self.playbook
        return Problem("an Ansible task failed", where, self.message, self.hint)


@dataclass(frozen=True)
class Outcome:
    """How a playbook ended. `changed` counts changed tasks over all nodes, `seconds` is wall time.

    `unreachable` are the nodes that could not be reached at some point of it.
    """

    status: Ending
    failures: tuple[Failure, ...]
    changed: int
    seconds: float
    problems: tuple[Problem, ...] = ()  # the failures in the words of the modules that have their own
    unreachable: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything was done."""
        return self.status == "ok"

    def require(self) -> Outcome:
        """The outcome itself, or LabctlError with every failure."""
        if self.status == "interrupted":
            raise LabctlError(Problem("interrupted", hint="the nodes are usable; run the command again"))
        if not self.ok:
            raise LabctlError(*(self.problems or (failure.problem() for failure in self.failures)))
        return self


# A word from the connection's own message, and what it means for the user.
HINTS = (
    ("Permission denied", "the node refused the key: check ansible_user and ansible_ssh_private_key_file of the lab"),
    ("Host key verification failed", "the node's host key is not the known one: is this the machine you mean?"),
    ("REMOTE HOST IDENTIFICATION", "the node's host key is not the known one: is this the machine you mean?"),
    ("Connection timed out", "is the node up, and is its ansible_host right? For a local lab: labctl lab create"),
    ("No route to host", "is the node up, and is its ansible_host right? For a local lab: labctl lab create"),
    ("Connection refused", "the node is up but nothing answers on its SSH port: check ansible_port"),
    ("Could not resolve hostname", "check ansible_host of this node in the lab's inventory"),
    ("sudo: a password is required", "root is needed on this host: use --ask-become-pass"),
    ("Missing sudo password", "root is needed on this host: use --ask-become-pass"),
    ("identity file", "the key file named in the lab's inventory does not exist: create the lab, or correct the path"),
)


def hint_for(message: str) -> str | None:
    """What to do about a message of Ansible or ssh, where that is known."""
    return next((hint for words, hint in HINTS if words in message), None)


@dataclass
class _Watcher:
    """Turns runner's events into ours, and remembers failures."""

    listener: Listener
    failures: list[Failure] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unreachable: set[str] = field(default_factory=set)
    stats: Mapping[str, Mapping[str, int]] | None = None
    play: str = ""

    def __call__(self, event: Mapping[str, Any]) -> bool:
        kind, data = event["event"], event.get("event_data", {})
        if kind == "playbook_on_play_start":
            self.play = data.get("name", "")
        elif kind == "playbook_on_task_start":
            self.listener(TaskStart(self.play, data.get("name", "")))
        elif kind == "playbook_on_stats":
            self.stats = data
        elif kind.startswith(("runner_on_", "runner_item_on_")) and "res" in data:
            self.result(kind, data)
        return False  # runner need not keep the event on disk

    def result(self, kind: str, data: Mapping[str, Any]) -> None:
        res = data["res"] if isinstance(data["res"], Mapping) else {"msg": data["res"]}
        if kind == "runner_on_unreachable":
            self.unreachable.add(data.get("host", ""))
        failed = kind.endswith(("failed", "unreachable")) and not data.get("ignore_errors")
        if kind.startswith("runner_on_") and self.is_loop(res) and (not failed or self.failures):
            return  # its items were reported one by one
        if failed:
            message = message_of(res)
            playbook = Path(data.get("playbook", "")).name
            failure = Failure(playbook, data.get("task", ""), data.get("host", ""), message, hint_for(message))
            self.failures.append(failure)
            self.problems.extend(problems_of(res, data.get("host", "")) or (failure.problem(),))
        action = str(data.get("task_action", "")).rpartition(".")[2]
        ok, changed = not failed, bool(res.get("changed"))
        item = res.get("item")
        self.listener(TaskResult(action, data.get("task", ""), data.get("host", ""), ok, changed, res, item))

    @staticmethod
    def is_loop(res: Mapping[str, Any]) -> bool:
        items = res.get("results") or ()
        return bool(items) and all(isinstance(item, Mapping) and "ansible_loop_var" in item for item in items)


def problems_of(res: Mapping[str, Any], node: str) -> tuple[Problem, ...]:
    """The problems that a module of ours names one by one (`problems` of its result); none for any other module.

    Of a module that looks at a node, they say which.
    """
    found = []
    for one in res.get("problems", ()):
        where = [node if node != "localhost" else None, one.get("where")]
        found.append(
            Problem(str(one["what"]), ", ".join(filter(None, where)) or None, one.get("seen"), one.get("hint"))
        )
    return tuple(found)


def message_of(res: Mapping[str, Any]) -> str:
    """The words in which a failed task says why, with what its command printed."""
    parts = [str(res.get("msg") or "no message")]
    for name in ("stderr", "module_stderr", "stdout" if not res.get("stderr") else "", "module_stdout"):
        text = str(res.get(name) or "").strip()
        if text and text not in parts[0]:
            parts.append("\n".join(text.splitlines()[-12:]))
    return "\n".join(parts)


def _ansible_config() -> str | None:
    """The user's own ansible.cfg, which runner's working directory would hide."""
    if "ANSIBLE_CONFIG" in os.environ:
        return os.environ["ANSIBLE_CONFIG"]
    own = Path.cwd() / "ansible.cfg"
    return str(own) if own.is_file() else None


def _host_key_checking(config: str | None) -> str:
    """What the user's environment or ansible.cfg says of host keys, else true: runner alone would switch it off."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read([config] if config else [])
    configured = parser.get("defaults", "host_key_checking", fallback="true")
    return os.environ.get("ANSIBLE_HOST_KEY_CHECKING", configured)


def _environment(private: Path, sockets: Path) -> dict[str, str]:
    root, config = paths.content_root(), _ansible_config()
    environment = {
        "ANSIBLE_ROLES_PATH": str(root / "roles"),
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "labctl_lifeline",
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
        "ANSIBLE_HOST_KEY_CHECKING": _host_key_checking(config),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_FORCE_COLOR": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "LC_ALL": "C.UTF-8",  # Ansible refuses to start in a locale that the machine lacks
        "LABCTL_PID": str(os.getpid()),
    }
    return environment | ({"ANSIBLE_CONFIG": config} if config else {})


@contextmanager
def _private_dir(scratch: Scratch) -> Iterator[Path]:
    """A directory for one call of runner, gone afterwards."""
    private = Path(tempfile.mkdtemp(dir=scratch.path))
    try:
        (private / "env").mkdir()
        # runner drops settings= unless this file exists
        (private / "env" / "settings").write_text(json.dumps({"pexpect_timeout": CANCEL_POLL_S}))
        yield private
    finally:
        shutil.rmtree(private)


@contextmanager
def _no_stdin() -> Iterator[None]:
    """Standard input is empty inside.

    ansible-inventory asks nothing, yet refuses a standard input in non-blocking mode; and that is what any other ssh
    makes of the terminal they share.
    """
    kept = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, 0)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(nothing)
        os.close(kept)


class Session:
    """One run of labctl: SSH connections stay open over its playbooks, and are closed at its end.

    What sessions that were killed left on this machine is removed at the beginning.
    """

    def __init__(self) -> None:
        sweep()
        self._scratch = Scratch()
        # Runner looks for Ansible on PATH, where an environment that is not activated (pipx) does not stand.
        own = str(Path(sys.executable).parent)
        if own not in os.environ.get("PATH", "").split(os.pathsep):
            os.environ["PATH"] = own + os.pathsep + os.environ.get("PATH", os.defpath)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def inventory(self, *sources: Path) -> Mapping[str, Any]:
        """What `ansible-inventory --list` says of these sources; UsageError when they do not parse."""
        import ansible_runner

        with _private_dir(self._scratch) as private, _no_stdin():
            stdout, stderr = ansible_runner.get_inventory(
                "list",
                [str(source.resolve()) for source in sources],
                response_format=None,
                private_data_dir=str(private),
                quiet=True,
                envvars=_environment(private, self._scratch.sockets),
            )
        try:
            listed: Mapping[str, Any] = json.loads(stdout)
        except ValueError:
            words = (stderr or stdout).strip()
            raise UsageError(
                Problem("the lab's inventory cannot be read", str(sources[0]), words, "correct the file named there")
            ) from None
        return listed

    @contextmanager
    def source(self, content: Mapping[str, object] | None) -> Iterator[tuple[Path, ...]]:
        """An inventory source of this content for as long as a playbook takes; none for None."""
        if content is None:
            yield ()
            return
        with _private_dir(self._scratch) as private:
            path = private / "more.yml"
            path.write_text(json.dumps(content))
            yield (path,)

    def run_playbook(
        self,
        name: str,
        inventories: Sequence[Path],
        *,
        options: AnsibleOptions | None = None,
        listener: Listener = lambda _: None,
        log: Path | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Run a shipped playbook over inventory sources (later ones add to earlier ones).

        `log` receives Ansible's own output. `cancelled` is polled; True ends Ansible and everything it started.
        Call it from the main thread: Ansible is bound to the life of the calling thread.
        """
        import ansible_runner

        options = options or AnsibleOptions()
        playbook = paths.content_root() / "playbooks" / name
        watcher = _Watcher(listener)
        started = time.monotonic()
        with _private_dir(self._scratch) as private, _signals_kept():
            runner = ansible_runner.run(
                private_data_dir=str(private),
                project_dir=str(playbook.parent),
                playbook=str(playbook),
                inventory=[str(source.resolve()) for source in inventories],
                envvars=_environment(private, self._scratch.sockets),
                event_handler=watcher,
                cancel_callback=cancelled,
                suppress_env_files=True,
                quiet=True,
                **_passed_through(options),
            )
            output = _output(private)
        if log is not None:
            try:
                log.write_text(output)
            except OSError as error:
                problem = Problem("what Ansible said cannot be kept", str(log), error.strerror, "make room for it")
                raise LabctlError(problem) from error
        return _outcome(watcher, runner.status, name, output, time.monotonic() - started)


def _passed_through(options: AnsibleOptions) -> dict[str, Any]:
    """Runner's arguments for what the user asked of ansible-playbook."""
    flags = [flag for flag, on in (("--check", options.check), ("--diff", options.diff)) if on]
    arguments: dict[str, Any] = {"forks": options.forks}
    if options.verbosity:
        arguments["verbosity"] = options.verbosity
    if options.limit:
        arguments["limit"] = options.limit
    if options.become_password is not None:
        flags.append("--ask-become-pass")
        arguments["passwords"] = {r"^BECOME password.*:\s*?$": options.become_password}
    if flags:
        arguments["cmdline"] = " ".join(flags)
    return arguments


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Runner replaces signal handlers when it is given none to poll; ours stay."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _output(private: Path) -> str:
    """What ansible-playbook printed."""
    texts = []
    with suppress(FileNotFoundError):  # runner may fail before it made the directory
        for file in sorted((private / "artifacts").glob("*/std*")):
            texts.append(file.read_text())
    return "".join(texts)


def _outcome(watcher: _Watcher, status: str, name: str, output: str, seconds: float) -> Outcome:
    changed = sum((watcher.stats or {}).get("changed", {}).values())
    if status == "canceled":
        return Outcome("interrupted", tuple(watcher.failures), changed, seconds)
    if status == "successful":
        return Outcome("ok", (), changed, seconds)
    failures = tuple(watcher.failures)
    if not failures:
        # Nothing ran: the playbook or the inventory itself is at fault. Or it ran, and did not come to its end.
        ended = (
            f"Ansible ended during the play '{watcher.play}', killed perhaps. It said last:\n" if watcher.play else ""
        )
        words = ended + "\n".join(output.strip().splitlines()[-(3 if ended else 15) :])
        failures = (Failure(name, "", "controller", words, hint_for(output)),)
    return Outcome("failed", failures, changed, seconds, tuple(watcher.problems), tuple(sorted(watcher.unreachable)))


def load_inventory(session: Session, lab: Path) -> Inventory:
    """Read a lab. UsageError names everything that it lacks."""
    listed = session.inventory(lab)
    hostvars: Mapping[str, Mapping[str, Any]] = listed.get("_meta", {}).get("hostvars", {})
    problems = []
    ends = {}
    for group in ("client", "server"):
        hosts = listed.get(group, {}).get("hosts", [])
        if len(hosts) != 1:
            hint = "a lab has one client and one server; put one host into each group"
            seen = ", ".join(hosts) if hosts else "no host"
            problems.append(Problem(f"the lab needs exactly one host in group '{group}'", str(lab), seen, hint))
        else:
            ends[group] = hosts[0]
    if len(set(ends.values())) == 1 and len(ends) == 2:
        problems.append(Problem("client and server are the same host", str(lab), ends["client"], "name two hosts"))
    facts = {}
    for name, example in (("lab_name", "local"), ("lab_kind", "local, vm, metal or cluster")):
        values = {str(hostvars.get(host, {}).get(name, "")) for host in ends.values()}
        if len(values) != 1 or "" in values:
            problems.append(
                Problem(f"the lab does not set {name}", str(lab), hint=f"set it for all hosts, e.g. {example}")
            )
        facts[name] = next(iter(values), "")
    if problems:
        raise UsageError(*problems)
    groups = {name: _members(listed, name) for name in ("control_plane", "worker")}
    return Inventory(lab, facts["lab_name"], facts["lab_kind"], ends["client"], ends["server"], hostvars, groups)


def _members(listed: Mapping[str, Any], group: str) -> tuple[str, ...]:
    """The hosts of a group and of the groups below it, each once."""
    entry = listed.get(group, {})
    below = (host for child in entry.get("children", ()) for host in _members(listed, child))
    return tuple(dict.fromkeys([*entry.get("hosts", ()), *below]))
