"""Ansible through ansible-runner, which no other module knows.

Each call has a fresh private data directory (runner leaks variables between calls that share one) and passes no
extra variables: what a playbook needs stands in inventories, so that anyone can repeat the step by hand.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from labctl.core import paths
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.scratch import Scratch, sweep
from labctl.engine import settings
from labctl.engine.environment import environment
from labctl.engine.events import Listener, Watcher
from labctl.engine.outcome import Outcome

CANCEL_POLL_S = 0.5
LAUNCH = str(Path(__file__).with_name("launch.py"))


@dataclass(frozen=True)
class AnsibleOptions:
    """What a user may pass through to ansible-playbook.

    None leaves to Ansible, and to the user's own settings, with how many `forks` it works, and how many seconds it
    waits for a connection to a node (`timeout_s`).
    """

    become_password: str | None = field(default=None, repr=False)
    limit: str | None = None
    check: bool = False
    diff: bool = False
    verbosity: int = 0
    forks: int | None = None
    timeout_s: int | None = None


class Session:
    """One run of labctl: SSH connections stay open over its playbooks, and are closed at its end.

    What sessions that were killed left on this machine is removed at the beginning.
    """

    def __init__(self) -> None:
        sweep()
        self._scratch = Scratch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    @cached_property
    def settings(self) -> settings.Settings:
        """What the user has set of Ansible. Raises UsageError for an ansible.cfg that is not to be believed or read."""
        return settings.read()

    def inventory(self, *sources: Path) -> Mapping[str, Any]:
        """What `ansible-inventory --list` says of these sources; UsageError when they do not parse.

        It has no terminal: what would ask for something there fails.
        """
        self.settings.require_silence(*settings.VAULT_ASKS)
        named = [word for source in sources for word in ("-i", str(source.resolve()))]
        with _private_dir(self._scratch) as private:
            done = subprocess.run(
                ["ansible-inventory", "--list", *named],
                env=environment(self.settings, private, self._scratch.sockets),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                start_new_session=True,
            )
        try:
            listed: Mapping[str, Any] = json.loads(done.stdout)
        except ValueError:
            words = (done.stderr or done.stdout).strip()
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
        from ansible_runner.interface import init_runner

        options = options or AnsibleOptions()
        asking = settings.ASKING.keys() - ({settings.BECOME_ASKS} if options.become_password is not None else set())
        self.settings.require_silence(*asking, *settings.VAULT_ASKS)
        playbook = paths.content_root() / "playbooks" / name
        watcher = Watcher(listener)
        started = time.monotonic()
        with _private_dir(self._scratch) as private, _signals_kept(), _input(options.become_password) as given:
            variables = environment(self.settings, private, self._scratch.sockets)
            with _environment_of(variables):  # runner adds to it what is there
                runner = init_runner(
                    private_data_dir=str(private),
                    project_dir=str(playbook.parent),
                    playbook=str(playbook),
                    inventory=[str(source.resolve()) for source in inventories],
                    event_handler=watcher,
                    cancel_callback=cancelled,
                    suppress_env_files=True,
                    quiet=True,
                    **_passed_through(options),
                )
            if "ANSIBLE_HOST_KEY_CHECKING" not in variables:  # runner would switch it off
                del runner.config.env["ANSIBLE_HOST_KEY_CHECKING"]
            runner.config.command[:0] = [sys.executable, "-IS", LAUNCH, given]
            runner.run()
            output = _output(private)
        if log is not None:
            try:
                log.write_text(output)
            except OSError as error:
                problem = Problem("what Ansible said cannot be kept", str(log), error.strerror, "make room for it")
                raise LabctlError(problem) from error
        return watcher.outcome(runner.status, name, output, time.monotonic() - started)


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
def _environment_of(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables are the whole environment inside."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(variables)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _input(password: str | None) -> Iterator[str]:
    """A path from which a process of this user can read the password, which stands in no file; else nothing."""
    if password is None:
        yield os.devnull
        return
    memory = os.memfd_create("labctl")
    try:
        os.write(memory, password.encode())
        yield f"/proc/{os.getpid()}/fd/{memory}"
    finally:
        os.close(memory)


def _passed_through(options: AnsibleOptions) -> dict[str, Any]:
    """Runner's arguments for what the user asked of ansible-playbook."""
    flags = [flag for flag, on in (("--check", options.check), ("--diff", options.diff)) if on]
    arguments: dict[str, Any] = {}
    if options.forks is not None:
        arguments["forks"] = options.forks
    if options.verbosity:
        arguments["verbosity"] = options.verbosity
    if options.limit:
        arguments["limit"] = options.limit
    if options.become_password is not None:
        flags.append("--become-password-file -")
    if options.timeout_s is not None:
        flags.append(f"--timeout {options.timeout_s}")
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
