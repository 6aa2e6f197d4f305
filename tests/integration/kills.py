"""Kills drawn at random: what may die, in which stage of a run, and what must hold whatever died.

A run of four visits is begun, and resumed after whatever ended it, until all kills that were drawn have happened. Then
it is resumed to its end. test_kills.py does so with a few kills, benchmarks/kills.py with as many as one likes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import pty
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

import pytest

from labctl.labs import embedded as labs
from labctl.plan.visit import all_samples
from labctl.runs import find as runs
from labctl.runs.read import read
from labctl.samples.sample import Status
from tests.commands import matrix_command
from tests.integration.conftest import ProvisionedLab, load, wait_until


class Stage(StrEnum):
    """Where in its work labctl is."""

    START = "start"
    CLEAR = "clear"
    DEPLOY = "deploy"
    PROVE = "prove"
    MEASURE = "measure"
    UNDEPLOY = "undeploy"


class Victim(StrEnum):
    """What is killed, with SIGKILL."""

    LABCTL = "labctl"
    ANSIBLE = "ansible"
    NETPERF = "netperf"
    NETSERVER = "netserver"
    NODE = "node"


# What labctl shows on a terminal when a stage has been reached; nothing but its start is the first.
SHOWN = {
    Stage.START: r"",
    Stage.CLEAR: r"\d\d:\d\d  netperf : Netserver is stopped",
    Stage.DEPLOY: r"round \d/\d: The path of the variant is there",
    Stage.PROVE: r"round \d/\d: datapath_proof : Test traffic",
    Stage.MEASURE: r"round \d/\d: measure : Samples are measured",
    Stage.UNDEPLOY: r"round \d/\d: netperf : Netserver is stopped",
}
# Before the first visit no end of netperf runs, and there is no telling when between start and first task Ansible does.
VICTIMS = {
    Stage.START: (Victim.LABCTL,),
    Stage.CLEAR: (Victim.LABCTL, Victim.ANSIBLE, Victim.NODE),
    Stage.DEPLOY: (Victim.LABCTL, Victim.ANSIBLE, Victim.NODE),
    Stage.PROVE: (Victim.LABCTL, Victim.ANSIBLE, Victim.NETSERVER, Victim.NODE),
    Stage.MEASURE: tuple(Victim),
    Stage.UNDEPLOY: (Victim.LABCTL, Victim.ANSIBLE, Victim.NODE),
}
LONGEST_DELAY_S = 1.0
HANGS_AFTER_S = 180.0
VALID_RUN = ("--variant", "baseline,veth-ebpf", "--workload", "tcp_rr", "--processes", "1", "--rounds", "2")
SHORT = ("--duration", "2", "--warmup", "0")


@dataclass(frozen=True)
class Kill:
    """Kill `victim` so many seconds after `stage` was reached."""

    stage: Stage
    victim: Victim
    delay_s: float

    @property
    def ends_labctl(self) -> bool:
        """Whether labctl ends with it; else the run goes on, and meets the next kill."""
        return self.victim is Victim.LABCTL or self.stage is Stage.CLEAR


def draw(seed: int) -> Iterator[Kill]:
    """Draw kills without end, every stage with every victim that it has about equally often, in random order."""
    generator = random.Random(seed)
    every = [(stage, victim) for stage in Stage for victim in VICTIMS[stage]]
    waiting: list[tuple[Stage, Victim]] = []
    running = False
    while True:
        if not waiting:
            waiting = generator.sample(every, len(every))
        # A labctl that runs is past its start: those kills wait until one has ended.
        fits = [pair for pair in waiting if not (running and pair[0] in (Stage.START, Stage.CLEAR))]
        stage, victim = fits[0] if fits else (generator.choice(list(Stage)[2:]), Victim.LABCTL)
        if fits:
            waiting.remove((stage, victim))
        kill = Kill(stage, victim, round(generator.uniform(0, LONGEST_DELAY_S), 3))
        yield kill
        running = not kill.ends_labctl


class Attempt:
    """One start of labctl on the run, on a terminal of its own so that it shows what it does."""

    def __init__(self, directory: Path, arguments: tuple[str, ...]) -> None:
        self._terminal, slave = pty.openpty()
        command = matrix_command(*arguments)
        # With PYTHONFAULTHANDLER a labctl that hangs says where, when it is aborted.
        environment = {**os.environ, "COLUMNS": "200", "PYTHONFAULTHANDLER": "1"}
        self.process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)
        self.shown = ""
        self._seen = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._terminal, 65536)
            except OSError as error:  # what Linux says when the other end is closed
                if error.errno == errno.EIO:
                    return
                raise
            if not data:
                return
            self.shown += data.decode(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether labctl is no more."""
        return self.process.poll() is not None

    def reaches(self, stage: Stage) -> bool:
        """Wait for the stage to be reached (again); False when labctl ends without."""
        if stage in (Stage.START, Stage.CLEAR):
            self._seen = 0
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(re.compile(SHOWN[stage]).finditer(self.shown, self._seen))
            return bool(found) or self.ended

        try:
            wait_until(look, HANGS_AFTER_S)
        except AssertionError:
            self.hangs(stage)
        if not found:
            return False
        self._seen = found[-1].end()
        return True

    def end(self) -> int:
        """Wait for labctl, and return its exit code."""
        try:
            code = self.process.wait(timeout=HANGS_AFTER_S)
        except subprocess.TimeoutExpired:
            self.hangs("end")
        self.close()
        return code

    def hangs(self, where: str) -> NoReturn:
        """Fail, with where labctl and what it started stand."""
        tree = ["ps", "-eo", "pid,ppid,stat,etimes,wchan,args", "--forest"]
        processes = subprocess.run(tree, capture_output=True, text=True, check=True, timeout=30).stdout
        self.process.send_signal(signal.SIGABRT)
        self.close()
        pytest.fail(f"labctl hangs before the stage {where}\n{self.shown}\n{processes}")

    def close(self) -> None:
        """Kill labctl if it lives, and read what it said last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        self.process.kill()
        self.process.wait()
        self._reader.join(timeout=5)  # what labctl started may hold its terminal for longer
        with contextlib.suppress(OSError):
            os.close(self._terminal)


@dataclass
class Ordeal:
    """A run that is killed again and again. `hits` counts the kills that found their victim, by stage and victim."""

    lab: ProvisionedLab
    inventory: Path
    directory: Path
    say: Callable[[str], None] = lambda _: None
    attempt: Attempt | None = None
    hits: Counter[tuple[Stage, Victim]] = field(default_factory=Counter)
    finished: int = 0
    kept: dict[Path, str] = field(default_factory=dict)
    generator: random.Random = field(default_factory=lambda: random.Random(0))

    @property
    def run(self) -> Path | None:
        """The run in hand."""
        found = sorted((self.directory / "runs").glob("[0-9]*")) if (self.directory / "runs").is_dir() else []
        return found[-1] if len(found) > self.finished else None

    def suffer(self, kills: Iterator[Kill], count: int) -> None:
        """Let so many kills hit, then bring the last run to its end. No labctl outlives a failure.

        How many find their victim gone already depends on the machine: those are made up for by as many more, up to
        twice `count`.
        """
        try:
            self._suffer(kills, count)
        finally:
            if self.attempt is not None:
                self.attempt.close()

    def _suffer(self, kills: Iterator[Kill], count: int) -> None:
        for kill in itertools.islice(kills, 2 * count):
            hit = self.strike(kill)
            self.hits[kill.stage, kill.victim] += hit
            words = "" if hit else ", which was gone already"
            self.say(f"{self.hits.total():>3}/{count}  {kill.victim} {kill.delay_s:.3f} s into {kill.stage}{words}")
            if kill.ends_labctl:
                self.after_the_end(kill)
            self.still_readable()
            if self.hits.total() == count:
                break
        else:
            pytest.fail(f"of {2 * count} kills only these found their victim: {self.hits}")
        self.finish()

    def strike(self, kill: Kill) -> bool:
        """Wait for the moment, kill, and say whether there was something to kill."""
        for _ in range(5):  # a labctl may end before it comes to this stage again; the next one comes to it
            attempt = self.current()
            if attempt.reaches(kill.stage):
                break
            self.ended()
        else:
            pytest.fail(f"no labctl reached the stage {kill.stage}: {attempt.shown}")
        if kill.victim is Victim.NETPERF:
            wait_until(lambda: self.lab.measuring() or attempt.ended)
        time.sleep(kill.delay_s)  # the moment that was drawn
        if kill.victim is Victim.LABCTL:
            attempt.process.kill()
            return True
        if kill.victim is Victim.ANSIBLE:
            return self.kill_one(list(ansible_below(attempt.process.pid)))
        if kill.victim is Victim.NODE:
            node = self.generator.choice(self.lab.record.nodes)
            return self.kill_one(inits(load(Path(node.pidfile))["pid"]))
        if not labs.is_up(self.lab.record.name):  # killed before, and not back yet
            return False
        node_name = "node1" if kill.victim is Victim.NETPERF else "node2"
        killed = self.lab.on_node(node_name, f"pkill -9 -x {kill.victim} && echo killed")
        return "killed" in killed

    def current(self) -> Attempt:
        """The labctl that runs, or a new one: of a new run if the last is finished."""
        if self.attempt is not None and self.attempt.ended:
            self.ended()
        if self.attempt is None:
            options = ("-i", str(self.inventory), *VALID_RUN, *SHORT)
            self.attempt = Attempt(self.directory, ("--resume", "latest") if self.run else options)
        return self.attempt

    def kill_one(self, pids: list[int]) -> bool:
        """Kill one of these processes, any."""
        if not pids:
            return False
        try:
            os.kill(self.generator.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def after_the_end(self, kill: Kill) -> None:
        """See that nothing works on that should not, and bring the nodes back."""
        assert self.attempt is not None
        process = self.attempt.process
        process.wait(timeout=300)
        # A node that an earlier kill ended may not be back: then labctl died before it could start it again.
        if not labs.is_up(self.lab.record.name):
            labs.create(self.lab.session, str(self.lab.inventory.path))
        if kill.victim is Victim.LABCTL:
            wait_until(lambda: not list(ansible_below(process.pid)) and not self.lab.on_nodes("pgrep -x netperf"), 10.0)
        self.ended()

    def ended(self) -> None:
        """Take notice of a labctl that ends by itself or was killed; one that did everything finishes its run."""
        assert self.attempt is not None
        code, run = self.attempt.end(), self.run
        shown = self.attempt.shown
        assert code in (0, 1, -signal.SIGKILL), shown
        assert "Traceback" not in shown, shown
        self.attempt = None
        if code == 0:
            assert run is not None
            self.judge(run)

    def still_readable(self) -> None:
        """See that the run can be shown, and that what was valid has stayed what it was."""
        run = self.run
        if run is None:
            return
        runs.describe(str(run))
        for sample in read(run).samples:
            folder = run / "samples" / sample.id
            if sample.status is Status.VALID and folder.is_dir():
                assert self.kept.setdefault(folder, digest(folder)) == digest(folder), folder

    def finish(self) -> None:
        """Resume the last run until it is done."""
        if self.attempt is not None:
            self.ended()
        if (run := self.run) is not None:
            attempt = Attempt(self.directory, ("--resume", "latest"))
            assert attempt.end() == 0, attempt.shown
            self.judge(run)

    def judge(self, run: Path) -> None:
        """See that a finished run has every sample exactly once, and a reason for each that was taken again."""
        result = read(run)
        assert [sample.status for sample in result.samples] == [Status.VALID] * result.plan.samples
        folders = sorted(str(path.relative_to(run / "samples")) for path in (run / "samples").glob("*/?-?"))
        assert folders == sorted(sample.id for sample in all_samples(result.plan))
        for aside in (run / "samples").glob("*/?-?.failed-*"):
            assert load(aside / "sample.json")["reasons"], aside
        assert not list(run.glob("samples/*/.*")), "something half written was left"
        for folder, kept in self.kept.items():
            assert not folder.is_relative_to(run) or digest(folder) == kept, folder
        left = self.lab.on_nodes("pgrep -ax netperf; pgrep -ax netserver; ip netns list; ls /run/labctl 2>/dev/null")
        assert left == []
        self.finished += 1


def digest(folder: Path) -> str:
    """SHA-256 over the raw files of a sample."""
    files = sorted(path for path in folder.iterdir() if path.name != "sample.json")
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def ansible_below(pid: int) -> Iterator[int]:
    """The processes of Ansible that a labctl started, which name it in their environment."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment, words = (path / "environ").read_bytes(), (path / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if f"LABCTL_PID={pid}\0".encode() in environment and b"ansible-playbook" in words:
            yield int(path.name)


def inits(supervisor: int) -> list[int]:
    """The first process of a node: with it the kernel ends all others, as a power cut would. None of a dead node."""
    try:
        return [int(pid) for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]
    except FileNotFoundError:
        return []
