"""One writer per lab: who holds it is told, a dead owner holds nothing, and no other user holds it for somebody."""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from labctl.core.errors import LabctlError, UsageError
from labctl.engine.inventory import Inventory
from labctl.labs import lock
from tests.unit.lab_records import record
from tests.unit.scripted import ScriptedSession

HERE = platform.node()
ALICE, BOB, NOBODY = 4001, 4002, 65534
HOLD = """
import sys, pathlib
from labctl.engine.inventory import Inventory
from labctl.labs import lock
shared, name, kind, measures = sys.argv[1:]
lock.SHARED = pathlib.Path(shared)
lab = Inventory(pathlib.Path("/labs"), name, kind, "a", "b", {"a": {}, "b": {}})
say = lambda words: print(words, flush=True)
turn = lock.measuring(lab, "matrix", say) if measures else lock.locked(lab, "matrix")
try:
    with turn as held:
        for one in held if measures else [held]:
            one.tell(pathlib.Path("/runs/one"))
        print("held", flush=True)
        sys.stdin.read()
except Exception as error:
    print(str(error).replace(chr(10), ";"), flush=True)
"""


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory like /run/lock in one like /run, where every user gets; locks and records are in it."""
    with tempfile.TemporaryDirectory(prefix="labctl-test-lock-") as run:
        Path(run).chmod(0o755)
        (Path(run) / "lock").mkdir()
        (Path(run) / "lock").chmod(0o1777)
        monkeypatch.setattr(lock, "SHARED", Path(run) / "lock")
        monkeypatch.setenv("LABCTL_STATE_DIR", str(Path(run) / "state"))
        yield Path(run) / "lock"


class Other(subprocess.Popen[str]):
    """Another labctl, of a user, that holds a lab or measures on it until its input ends."""

    def __init__(self, shared: Path, lab: str, kind: str = "metal", measures: bool = False, user: int = -1) -> None:
        become = [] if user < 0 else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        command = [*become, sys.executable, "-c", HOLD, str(shared), lab, kind, "yes" if measures else ""]
        home = shared.parent / f"state-of-{user}"  # root's own home is closed to the others
        home.mkdir(exist_ok=True)
        if user >= 0:
            os.chown(home, user, user)
        variables = os.environ | {"XDG_STATE_HOME": str(home), "XDG_CACHE_HOME": str(home)}
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)

    def __exit__(self, *_: object) -> None:
        self.kill()
        super().__exit__(None, None, None)

    def says(self) -> str:
        """The next line, read byte by byte: what follows stays to be seen by select."""
        assert self.stdout is not None
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self.stdout.fileno(), 1)):
            line += byte
        return line.decode().rstrip()

    def end(self) -> None:
        self.communicate("")


def metal(name: str = "metal") -> Inventory:
    return Inventory(Path("/labs"), name, "metal", "a", "b", {"a": {}, "b": {}})


def files_in(shared: Path) -> list[str]:
    """What of locks is there, whoever's."""
    return sorted(path.name for path in shared.parent.glob("**/*") if path.is_file() and "state" not in path.parts)


def test_a_second_labctl_is_refused_with_the_owner(shared: Path) -> None:
    with Other(shared, "metal") as owner:
        assert owner.says() == "held"
        with pytest.raises(LabctlError) as raised, lock.locked(metal(), "provision"):
            pass
        owner.end()
    (problem,) = raised.value.problems
    assert (problem.what, problem.where) == ("another labctl uses this lab", "lab metal")
    assert problem.seen is not None
    assert problem.seen.startswith(f"labctl matrix, process {owner.pid} on {HERE}, run /runs/one, since ")
    assert files_in(shared) == []  # the owner left nothing
    with lock.locked(metal(), "provision") as held:
        assert held.dead is None


def test_a_dead_owner_holds_nothing_and_is_named(shared: Path) -> None:
    with Other(shared, "metal") as owner:
        assert owner.says() == "held"
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
    with lock.locked(metal(), "provision") as held:
        assert held.dead is not None
        assert (held.dead.pid, held.dead.run, held.dead.command) == (owner.pid, "/runs/one", "matrix")
        (claim,) = lock._claims(lock.key(metal()))
        assert (claim.owner.pid, claim.owner.run, claim.owner.command) == (os.getpid(), None, "provision")
    assert files_in(shared) == []


def test_destroying_takes_away_what_a_dead_measurer_left_and_nothing_of_a_living_one(shared: Path) -> None:
    record(shared.parent / "state", "mine")
    with Other(shared, "mine", "local", measures=True) as owner, ScriptedSession() as session:
        assert owner.says() == "held"
        with lock.locked_to_destroy(session, "mine"):
            pass
        assert lock.measured_by() is not None
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
        assert files_in(shared) == ["measuring.json", "measuring.lock"]
        with lock.locked_to_destroy(session, "mine"):
            pass
    assert files_in(shared) == []


@pytest.mark.parametrize("content", ["", "{", '{"schema": "labctl.lock/0"}', "[]", "[" * 10**5, "\udcff"])
def test_a_half_written_owner_does_not_keep_the_lab(shared: Path, content: str) -> None:
    path = lock._own_directory() / "x.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with lock.held("x", "x", "matrix") as held:
        assert held.dead is None


def test_a_lock_of_one_process_is_not_taken_twice_by_it(shared: Path) -> None:
    with lock.held("x", "x", "matrix"), pytest.raises(LabctlError, match="another"), lock.held("x", "x", "matrix"):
        pass


def test_other_labs_are_free(shared: Path) -> None:
    with lock.held("one", "lab-one", "matrix"), lock.held("two", "lab-two", "matrix"):
        assert files_in(shared) == ["lab-one.json", "lab-one.lock", "lab-two.json", "lab-two.lock"]


def test_a_directory_that_cannot_be_made_is_named(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_roots", lambda: shared / "missing" / "labctl")
    monkeypatch.setattr(lock, "_common", lambda: shared / "missing")
    with pytest.raises(LabctlError, match="a file cannot be written"), lock.held("x", "x", "matrix"):
        pass


def key(name: str, kind: str, client: Mapping[str, object], server: Mapping[str, object]) -> str:
    return lock.key(Inventory(Path("/labs"), name, kind, "a", "b", {"a": client, "b": server}))


def test_a_lab_of_servers_is_locked_by_its_servers() -> None:
    one, two = {"ansible_host": "10.0.0.1"}, {"ansible_host": "10.0.0.2", "ansible_port": 2222}
    other = {"ansible_host": "10.0.0.3"}
    assert key("metal", "metal", one, two) == key("other", "metal", one, two)
    assert key("metal", "metal", one, two) != key("metal", "metal", one, other)
    for kind in ("local", "vm"):
        assert key("mine", kind, one, two) == key("mine", kind, two, one) == "lab-mine"


@pytest.mark.parametrize("name", ["", "..", "../labs", "victim/", "{{ lookup('env', 'NOT_SET') }}", "-x"])
def test_a_name_that_leads_elsewhere_is_never_locked(shared: Path, name: str) -> None:
    for kind in ("local", "vm"):
        lab = Inventory(Path("/labs"), name, kind, "a", "b", {"a": {}, "b": {}})
        with pytest.raises(UsageError, match="this cannot be the name of a lab on this machine"), lock.locked(lab, "x"):
            pass
    assert files_in(shared) == []


def test_two_labs_of_one_machine_are_measured_one_after_the_other(shared: Path) -> None:
    with Other(shared, "first", "local", measures=True) as first:
        assert first.says() == "held"
        claim = lock.measured_by()
        assert claim is not None
        assert (claim.owner.lab, claim.owner.pid, claim.owner.run) == ("first", first.pid, "/runs/one")
        with Other(shared, "second", "vm", measures=True) as second:
            words = second.says()
            assert words.startswith("waiting until nobody else measures on this machine, which two labs would share: ")
            assert f"labctl matrix, process {first.pid} on {HERE}, run /runs/one, since " in words
            with Other(shared, "servers", "metal", measures=True) as servers:
                assert servers.says() == "held"  # elsewhere
                servers.end()
            first.send_signal(signal.SIGKILL)  # the kernel frees what it held
            assert second.says() == "held"
            second.end()
    assert lock.measured_by() is None
    assert files_in(shared) == []


def test_a_machine_that_nobody_measures_on_has_no_owner(shared: Path) -> None:
    assert lock.measured_by() is None
    (lock._own_directory() / "measuring.json").write_text("left by an owner that died")
    assert lock.measured_by() is None


def write(path: Path, **different: object) -> None:
    """A claim of this process."""
    me = os.getpid()
    content = {"schema": "labctl.lock/2", "lab": "x", "pid": me, "ticks": lock._ticks(me), "host": HERE, "run": None}
    rest = {"command": "matrix", "started": "2026-03-04T05:06:07+00:00", "record": None}
    path.write_text(json.dumps({**content, **rest, **different}))


@pytest.mark.parametrize(
    "different",
    [{"pid": 10**15}, {"pid": 0}, {"record": "/a\0b/lab.json"}, {"record": "/\ud800/lab.json"}, {"lab": "\ud800"}],
)
def test_a_claim_that_no_labctl_writes_stops_nobody(shared: Path, different: dict[str, object]) -> None:
    """Any user can write one: of a process, or a file, that cannot be."""
    (shared / "labctl-locks-65534").mkdir()
    for key in ("measuring", lock.key(metal())):
        write(shared / "labctl-locks-65534" / f"{key}.json", **different)
    assert lock._claims("measuring") == []
    assert lock.measured_by() is None
    with lock.locked(metal(), "matrix") as held:
        assert held.beside == ()


class TestUsers:
    """What users of one machine are to each other. They are real ones: so it takes root."""

    pytestmark = pytest.mark.lab

    @pytest.fixture
    def lab_of(self, shared: Path) -> Callable[[int, str], None]:
        """What makes the record of a lab that belongs to a user."""

        def one(user: int, name: str) -> None:
            directory = Path(record(shared.parent / "state", name).ssh.key).parent
            (directory / "id_ed25519").touch(0o600)
            os.chown(directory / "id_ed25519", user, user)

        return one

    def test_nobody_keeps_root_from_anything(self, shared: Path) -> None:
        """Neither by the files of old, nor by the directories of others, nor by claims of his own."""
        assert os.geteuid() == 0
        old = [shared / f"labctl-{name}.lock" for name in ("lab-mine", "measuring", lock.key(metal()))]
        take = "import fcntl,sys,os\nfor p in sys.argv[1:]:\n f=os.open(p,os.O_RDWR|os.O_CREAT); fcntl.flock(f,2)\n"
        squat = "for n in ('labctl-locks-0','labctl'): os.makedirs(os.path.join(os.path.dirname(p),n),exist_ok=True)\n"
        command = [sys.executable, "-c", f"{take}{squat}print('held',flush=True); input()", *map(str, old)]
        drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        with (
            subprocess.Popen([*drop, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as neighbour,
            Other(shared, "mine", "local", user=NOBODY) as one,
            Other(shared, "mine", "local", measures=True, user=NOBODY) as two,
            Other(shared, "metal", user=NOBODY) as three,
        ):
            assert neighbour.stdout is not None
            assert neighbour.stdout.readline() == "held\n"
            assert (one.says(), two.says(), three.says()) == ("held", "held", "held")
            mine = Inventory(Path("/labs"), "mine", "local", "a", "b", {"a": {}, "b": {}})
            waited: list[str] = []
            with lock.locked(mine, "matrix") as held, lock.measuring(mine, "matrix", waited.append):
                assert [str(claim.user) for claim in held.beside] == [str(NOBODY)]
            with lock.locked(metal(), "matrix") as held:
                (claim,) = held.beside  # it is told, and does not keep root
                assert f"process {three.pid} on {HERE}, run /runs/one" in str(claim)
                assert str(claim).endswith(f", of nobody ({NOBODY})")
            assert (waited, lock.measured_by()) == ([], None)
            for process in (neighbour, one, two, three):
                process.communicate("")

    def test_root_keeps_a_user_from_a_lab(self, shared: Path) -> None:
        with lock.locked(metal(), "provision"), Other(shared, "metal", user=ALICE) as alice:
            words = alice.says()
            alice.end()
        assert words.startswith("another labctl uses this lab;  where: lab metal;  seen:  labctl provision, process ")
        assert ", of root (0)" in words

    def test_users_who_measure_take_turns(self, shared: Path, lab_of: Callable[[int, str], None]) -> None:
        """Whoever has a lab on this machine holds it while he measures, also against root; nobody else does."""
        lab_of(ALICE, "alices")
        lab_of(BOB, "bobs")
        with Other(shared, "alices", "local", measures=True, user=ALICE) as alice:
            assert alice.says() == "held"
            claim = lock.measured_by()
            assert claim is not None
            assert (claim.user, claim.owner.lab, claim.owner.pid) == (ALICE, "alices", alice.pid)
            with (
                Other(shared, "alices", "local", measures=True, user=NOBODY) as nobody,
                Other(shared, "bobs", "vm", measures=True, user=BOB) as bob,
                Other(shared, "roots", "vm", measures=True) as root,
            ):
                for one in (nobody, bob, root):
                    words = one.says()
                    assert f"process {alice.pid} on {HERE}, run /runs/one" in words
                    assert words.endswith(f", of user {ALICE}")
                alice.send_signal(signal.SIGKILL)
                first = next_of(bob, root)
                first.end()
                second = root if first is bob else bob
                words = second.says()
                assert words == "held" or (f"process {first.pid}" in words and second.says() == "held")
                second.end()

    def test_what_a_user_says_in_anothers_name_is_not_believed(self, shared: Path) -> None:
        """A claim holds for the process of its own user that runs, as it was started, and for no other."""
        with lock.locked(metal(), "matrix"):
            directory = shared / "labctl-locks-4001"
            directory.mkdir()
            write(directory / "measuring.json", record="/etc/passwd")
            for path in (directory, directory / "measuring.json"):
                os.chown(path, ALICE, ALICE)
            assert lock._claims("measuring") == []  # a process of root's
            write(lock._own_directory() / "x.json", ticks=1)
            assert lock._claims("x") == []  # a process of another start
            write(lock._own_directory() / "x.json")
            assert len(lock._claims("x")) == 1
            directory.chmod(0o777)
            (directory / "y.json").touch()
            assert directory not in lock._directories()  # all could write it

    def test_a_name_that_is_taken_keeps_no_user_from_his_directory(self, shared: Path) -> None:
        (shared / f"labctl-locks-{ALICE}").mkdir()
        with Other(shared, "metal", user=ALICE) as alice:
            assert alice.says() == "held"
            assert (shared / f"labctl-locks-{ALICE}-1").stat().st_uid == ALICE
            with Other(shared, "metal", user=ALICE) as second, Other(shared, "metal", user=BOB) as bob:
                assert f"process {alice.pid} on {HERE}" in second.says()
                assert f", of user {ALICE}" in bob.says()
                second.end()
                bob.end()
            alice.end()

    def test_the_lab_of_another_user_is_not_used(self, shared: Path, lab_of: Callable[[int, str], None]) -> None:
        lab_of(0, "roots")
        lab_of(ALICE, "alices")
        for lab, user, whose in (("roots", ALICE, "root (0)"), ("alices", BOB, f"user {ALICE}")):
            with Other(shared, lab, "local", user=user) as other:
                words = other.says()
                other.end()
            assert words.startswith(f"the lab {lab} of this machine is another user's;")
            assert f"seen:  {whose};  next:  work as {whose}; or make a lab of your own" in words
        alices = Inventory(Path("/labs"), "alices", "local", "a", "b", {"a": {}, "b": {}})
        with pytest.raises(UsageError, match="is another user's"), lock.locked(alices, "matrix"):
            pass


def next_of(*waiting: Other) -> Other:
    """Which of those that wait got it first."""
    streams = {one.stdout.fileno(): one for one in waiting if one.stdout is not None}
    while True:
        one = streams[select.select(list(streams), [], [])[0][0]]
        if one.says() == "held":  # and not whom of the others it waits for now
            return one
