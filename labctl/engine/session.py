"""Ansible through ansible-runner, which no other module knows.

Each call has a fresh private data directory (runner leaks variables between calls that share one) and passes no
extra variables: what a playbook needs stands in inventories, so that anyone can repeat the step by hand.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from labctl.core import ending, paths
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.scratch import Scratch, sweep
from labctl.engine.environment import environment
from labctl.engine.events import Listener, Watcher
from labctl.engine.outcome import Outcome

CANCEL_POLL_S = 0.5
ENDED_BY_REQUEST = 99  # what ansible-playbook ends with when labctl_lifeline was asked to, as after Ctrl-C


@dataclass(frozen=True)
class AnsibleOptions:
    """What a user may pass through to ansible-playbook; `timeout_s` is for connecting to a node, None for Ansible's."""

    become_password: str | None = field(default=None, repr=False)
    limit: str | None = None
    check: bool = False
    diff: bool = False
    verbosity: int = 0
    forks: int = 10
    timeout_s: int | None = None


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

    def __enter__(self) -> Self:
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
                envvars=environment(private, self._scratch.sockets),
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
        cancelled: Callable[[], bool] | None = None,
        stop: Path | None = None,
        looks: bool = False,
    ) -> Outcome:
        """Run a shipped playbook over inventory sources (later ones add to earlier ones).

        `log` receives Ansible's own output. `cancelled` is polled; True ends Ansible and everything it started. While
        the file `stop` exists no task begins, up to the first sample. Without `cancelled` the first signal that asks
        labctl to end lets the task in hand come to its end, the second ends Ansible at once, as does the first where
        the playbook only `looks`; and labctl is left then (`ending`).
        Call it from the main thread: Ansible is bound to the life of the calling thread.
        """
        if cancelled is None:
            patience = _Patience(self._scratch.path / "stop", looks)
            with ending.answered(patience), patience:
                return self.run_playbook(
                    name,
                    inventories,
                    options=options,
                    listener=listener,
                    log=log,
                    cancelled=patience.at_an_end,
                    stop=patience.stop,
                )
        import ansible_runner

        options = options or AnsibleOptions()
        playbook = paths.content_root() / "playbooks" / name
        watcher = Watcher(listener)
        started = time.monotonic()
        with _private_dir(self._scratch) as private, _signals_kept():
            stops = {} if stop is None else {"LABCTL_STOP_FILE": str(stop.absolute())}
            runner = ansible_runner.run(
                private_data_dir=str(private),
                project_dir=str(playbook.parent),
                playbook=str(playbook),
                inventory=[str(source.resolve()) for source in inventories],
                envvars=environment(private, self._scratch.sockets) | stops,
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
        stopped = runner.rc == ENDED_BY_REQUEST and stop is not None and stop.exists()
        status = "canceled" if stopped else runner.status
        return watcher.outcome(status, name, output, time.monotonic() - started)


class _Patience:
    """How long a playbook is let run once labctl was asked to end: to the end of a task, then not at all."""

    def __init__(self, stop: Path, looks: bool) -> None:
        self.stop = stop
        self._most = 0 if looks else 1
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.unlink(missing_ok=True)

    def __call__(self, count: int) -> str:
        """Take a request to end."""
        self._asked = count
        if self.at_an_end():
            return "ending Ansible at once"
        with suppress(OSError):  # without it the next request ends it
            self.stop.touch()
        return (
            "ending after the task in hand, which takes seconds as a rule, and minutes where it installs or waits; "
            "once more ends it at once"
        )

    def at_an_end(self) -> bool:
        """Whether Ansible is to be ended now."""
        return self._asked > self._most


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
