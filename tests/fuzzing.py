"""What others may give labctl, broken at random: every case ends as data or as a refusal that says what to do next.

`TARGETS` are the kinds of input. `make test` tries a few hundred cases of each (tests/unit/test_fuzzing.py), ten
thousand take benchmarks/fuzz.py. A case is drawn as numbers and applied to a sound input, so that what is broken stands
among what is not, where checks of the whole have passed it.
"""

from __future__ import annotations

import atexit
import copy
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from ansible.module_utils import fingerprint_machine, fingerprint_network, fingerprint_probe, fingerprint_settings
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from labctl_agent import counters, cpus, idle, procfs

from labctl import catalog
from labctl.bundle import index
from labctl.catalog.lab import LabFacts
from labctl.core.documents import parse_json
from labctl.core.errors import LabctlError
from labctl.core.files import write_json
from labctl.core.printable import printable
from labctl.core.tables import render
from labctl.engine import inventory as inventories
from labctl.engine.session import Session
from labctl.labs import kubeconfig
from labctl.labs.kubeconfig import ClusterOptions
from labctl.matrix import resume
from labctl.nodes import fingerprint
from labctl.nodes.fingerprint import Span
from labctl.plan import plan as planning
from labctl.plan import stored
from labctl.plan import tables as plan_tables
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.visit import all_samples, setup_inventory
from labctl.results import report
from labctl.runs import attempts, conditions, find
from labctl.runs.attempts import Attempt
from labctl.runs.folder import RunFolder
from labctl.runs.status import RunState, Status, VisitRecord
from labctl.samples import sample as samples
from labctl.tools.tool import ToolError

FIXTURES = Path(__file__).resolve().parent / "fixtures"
TAKEN = ("baseline.tcp_crr.1/1-1", "baseline.tcp_rr.2/1-6", "baseline.tcp_stream.1/1-2")
PATIENCE_S = 20
STYLES = ("table", "github", "csv", "json")

# Values in the place of others. What JSON's writer would not write stands for itself as a word, and is put in after it.
DEEP, DEEPER, LONG_NUMBER, BEYOND, NAN, INFINITE, HALF = (f"@{name}@" for name in "abcdefg")
WORDS: Mapping[str, str] = {
    DEEP: "[" * 60 + "]" * 60,
    DEEPER: '{"a":' * 100_000 + "1" + "}" * 100_000,
    LONG_NUMBER: "7" * 5000,
    BEYOND: "1e400",
    NAN: "NaN",
    INFINITE: "-Infinity",
    HALF: '"\\ud800"',
}
DELETED, TWICE, OTHER, NUMBER_AS_TEXT, NEGATED, LARGER = ("delete", "twice", "other", "text", "negate", "larger")
ACTS = (DELETED, TWICE, OTHER, NUMBER_AS_TEXT, NEGATED, LARGER)
JUNK: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 2**31, 2**63, 2**64, 10**30, -(10**30), 4 * 10**4000),
    *(0.0, -0.5, 1e-320, 1e25, -1e25, 1e308, -1e308, 0.1),
    *("", " ", "x", "-", "0", "²", "٣", "nan", "x" * 5000, "a\nb", "\x1b[31mred", "\u202eevil", "\x00", "é\U0001f600"),
    *("/etc/passwd", "..", "../..", "../../x", "a/b", "{{ 1/0 }}", "{% raw %}", "2026-99-99", "1.2.3", "cpu٣"),
    *([], {}, [[]], {"": ""}, [None], [0], {"a": {"b": 1}}, ["x" * 300], {"x" * 5000: 1}, [1, "a", None]),
    *WORDS,
)
POSITIONS = st.integers(0, 10**6)
CHANGES = st.lists(st.tuples(POSITIONS, st.sampled_from([*ACTS, *range(len(JUNK))]), POSITIONS), min_size=1, max_size=4)
Changes = list[tuple[int, str | int, int]]
Lines = list[tuple[int, int, int]]


@dataclass(frozen=True)
class Target:
    """A kind of input: its cases, and what takes one. Problems of labctl's, and those alone, may come of it."""

    name: str
    cases: st.SearchStrategy[Any]
    take: Callable[[Any, Path], None]


def fuzz(target: Target, cases: int, directory: Path, start: int | None = None) -> None:
    """Try so many cases; without `start` the same ones every time. Raises what the first bad one raises."""

    @settings(
        max_examples=cases,
        database=None,
        derandomize=start is None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,) if cases > 1000 else (Phase.generate, Phase.shrink),
    )
    @given(target.cases)
    def one(case: Any) -> None:
        with timed():
            target.take(case, directory)

    (one if start is None else seed(start)(one))()


class Hang(Exception):
    """A case that does not end."""


@contextmanager
def timed() -> Iterator[None]:
    """What waits inside, for a FIFO for example, is ended."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def refused() -> Iterator[None]:
    """A refusal inside is right if each of its problems says what to do next, and can be printed."""
    try:
        yield
    except LabctlError as error:
        for problem in error.problems:
            require_printable(str(problem))
        if lacking := [problem for problem in error.problems if not problem.hint]:
            raise AssertionError(f"no next step: {lacking[0]}") from error


def require_printable(text: str) -> None:
    """What a terminal gets of a text does it no harm."""
    shown = printable(text)
    assert all(line.isprintable() for line in shown.split("\n"))
    shown.encode()


# Breaking


def broken(document: object, changes: Changes) -> str:
    """A document of JSON with changes at places drawn from all that it has, as text."""
    whole = [copy.deepcopy(document)]
    for position, act, other in changes:
        places = list(_places(whole))
        holder, key = places[position % len(places)]
        _change(holder, key, act, other, places)
    text = json.dumps(whole[0])
    for word, written in WORDS.items():
        text = text.replace(json.dumps(word), written)
    return text


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place below a value: what holds it, and where."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _change(holder: Any, key: Any, act: str | int, other: int, places: list[tuple[Any, Any]]) -> None:
    value = holder[key]
    if isinstance(act, int):
        holder[key] = copy.deepcopy(JUNK[act])
    elif act == DELETED and holder is not places[0][0]:
        del holder[key]
    elif act == TWICE and isinstance(holder, list):
        holder.append(copy.deepcopy(value))
    elif act == OTHER:
        source, name = places[other % len(places)]
        holder[key] = copy.deepcopy(source[name]) if source is not holder or name in _keys(source) else None
    elif act == NUMBER_AS_TEXT:
        holder[key] = str(value)[:5000]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        holder[key] = -value if act == NEGATED else value * (other % 1000) * 1000


def _keys(holder: Any) -> Any:
    return holder if isinstance(holder, dict) else range(len(holder))


LINES = st.lists(st.tuples(POSITIONS, st.sampled_from(range(9)), POSITIONS), min_size=1, max_size=5)
TOKENS = (
    "-nan",
    "nan",
    "inf",
    "-1",
    "-5.3",
    "1e400",
    "",
    "x",
    "٣",
    "0x1f",
    "9" * 5000,
    "=",
    ":",
    "\x1b[2J",
    "1_0",
    "-0",
)


def mangled(text: str, changes: Lines) -> str:
    """A text of lines with lines lost, doubled, swapped, cut, and words replaced."""
    lines = text.splitlines() or [""]
    for position, act, other in changes:
        at = position % len(lines)
        line = lines[at]
        if act == 0 and len(lines) > 1:
            del lines[at]
        elif act == 1:
            lines.insert(other % len(lines), line)
        elif act == 2:
            lines[at] = line[: other % (len(line) + 1)]
        elif act == 3:
            del lines[max(1, at) :]
        elif act == 4:
            lines.insert(at, TOKENS[other % len(TOKENS)])
        elif act == 5:
            lines[at] = lines[other % len(lines)]
        else:
            lines[at] = _retold(line, other)
    return "\n".join(lines) + "\n"


def _retold(line: str, other: int) -> str:
    """A line with one of its words, or what stands behind its =, replaced."""
    token = TOKENS[other % len(TOKENS)]
    key, equals, _ = line.partition("=")
    if equals:
        return f"{key}={token}"
    words = line.split(" ")
    words[(other // len(TOKENS)) % len(words)] = token
    return " ".join(words)


YAML = (
    *("!!int x", "!!bool x", "!!float x", "!!timestamp x", "!!binary x", "!!python/object:os.system x"),
    *("!!set {a, b}", "2021-99-99", "0x", "0b", "1:99:99", "? [a]\n: b", "? {a: b}\n: c", "<<: 1", "&a [*a]"),
    *("*nowhere", "\t", "%YAML 9", "- " * 2000 + "x", "{" * 3000, "&a {x: &b [1], y: *b}", "\x00", "\ufffe"),
    *("7" * 5000, "1e400", ".nan", "--- 1\n--- 2", "{a: 1, a: 2}", "!!omap [a: 1]", "!!int ''", "!!pairs [a: 1]"),
    *("=", "~"),
)
BOMB = "a: &a [x, x, x]\n" + "".join(f"{two}: &{two} [*{one}, *{one}, *{one}, *{one}, *{one}, *{one}]\n"
                                     for one, two in pairwise("abcdefghij"))  # fmt: skip


def yaml_text(document: object, changes: Changes, lines: Lines) -> str:
    """A document of YAML broken as data, or as text, or with one of the things that only YAML has in it."""
    form = lines[0][0] % 4
    if form == 0:
        return broken(document, changes)  # JSON is YAML
    text = yaml.safe_dump(document)
    if form == 1:
        return mangled(text, lines)
    odd = YAML[lines[0][2] % len(YAML)]
    if form == 2:
        written = text.splitlines()
        at = lines[0][0] // 4 % len(written)
        written[at] = re.sub("(?<=[:-] ).*$", lambda _: odd, written[at], count=1)
        return "\n".join(written) + "\n"
    return BOMB + text if lines[0][2] % 9 == 0 else f"{text}extra: {odd}\n"


# Files

HOWS = ("text", "bytes", "empty", "gone", "fifo", "device", "link", "loop", "socket", "directory", "large")
HARMS = st.lists(st.tuples(POSITIONS, st.sampled_from((*["data"] * 9, *HOWS)), CHANGES, LINES), min_size=1, max_size=3)
DATA_HARMS = st.lists(st.tuples(POSITIONS, st.just("data"), CHANGES, LINES), min_size=1, max_size=3)
Harms = list[tuple[int, str, Changes, Lines]]


def laid(root: Path, texts: Mapping[str, str]) -> list[Path]:
    """Files of these texts, and nothing else, in a directory."""
    shutil.rmtree(root, ignore_errors=True)
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return [root / name for name in texts]


def harm(files: Sequence[Path], harms: Harms) -> None:
    """Put something else in the place of some files."""
    once = {files[place % len(files)]: (how, changes, lines) for place, how, changes, lines in harms}
    for path, one in once.items():
        _harm(path, *one)


def _harm(path: Path, how: str, changes: Changes, lines: Lines) -> None:
    content = path.read_bytes()
    path.unlink()
    if how == "data":
        path.write_text(_damaged(content.decode(), path.suffix, changes, lines))
    elif how == "text":
        path.write_text(mangled(content.decode(errors="replace"), lines))
    elif how == "bytes":
        at = lines[0][0] % (len(content) + 1)
        path.write_bytes(content[:at] + random.Random(at).randbytes(3) + content[at + lines[0][2] % 4 :])
    elif how == "empty":
        path.touch()
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "device":
        path.symlink_to(("/dev/zero", "/dev/full", "/dev/tty", "/proc/kmsg")[lines[0][2] % 4])
    elif how == "link":
        path.symlink_to(("/etc/passwd", "/", "nowhere", "../plan.json")[lines[0][2] % 4])
    elif how == "loop":
        path.symlink_to(path.name)
    elif how == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is short
        try:
            with socket.socket(socket.AF_UNIX) as listening, suppress(OSError):
                listening.bind(path.name)
        finally:
            os.chdir(here)
    elif how == "directory":
        path.mkdir()
    elif how == "large":
        path.touch()
        os.truncate(path, 1 << 40)


def _damaged(text: str, suffix: str, changes: Changes, lines: Lines) -> str:
    """The content of a file, broken as what its name says."""
    if suffix == ".json":
        return broken(json.loads(text), changes)
    return yaml_text(yaml.safe_load(text), changes, lines) if suffix == ".yml" else mangled(text, lines)


# A plan


@cache
def plan_document() -> dict[str, Any]:
    known = catalog.load()
    raw = RawOptions(
        variant="baseline,veth-iptables", processes="1,2", rounds="2", repeat="6", duration="2", warmup="1"
    )
    lab = LabFacts("local", "local", "node1", "node2", 2)
    raw = RawOptions(**{**vars(raw), "noise_floor": True, "dimensions": {"encryption": "none,ipsec"}})
    return planning.to_json(planning.build(parse_options(raw, known), known, lab, datetime(2026, 3, 4, tzinfo=UTC)))


def take_plan(changes: Changes, _: Path) -> None:
    with refused():
        plan = stored.from_json(parse_json(broken(plan_document(), changes), "plan.json"), "plan.json")
        with refused():
            all_samples(plan)
        for visit in plan.visits:
            with refused():
                setup_inventory(plan, visit, ["node1"], Path("/x"))
        planning.time_left(plan, 3, plan.visits)
        for style in STYLES:
            require_printable(render(plan_tables.document(plan), style, 80, 80))


# A run folder

PRINTS = FIXTURES / "fingerprint" / "local.json"


@cache
def run_folder() -> Path:
    """A sound run with all kinds of files, of which cases break copies."""
    root = Path(_scratch()) / "sound"
    known = catalog.load()
    raw = RawOptions(variant="baseline", processes="1,2", rounds="1", repeat="6", duration="2", warmup="1")
    lab = LabFacts("local", "local", "node1", "node2", 2)
    plan = planning.build(parse_options(raw, known), known, lab, datetime(2026, 3, 4, tzinfo=UTC))
    folder = RunFolder(root)
    write_json(folder.plan, planning.to_json(plan))
    for name in TAKEN:
        shutil.copytree(FIXTURES / "samples" / name, folder.samples / name)
    aside = folder.samples / f"{TAKEN[0]}.failed-1"
    shutil.copytree(FIXTURES / "samples" / TAKEN[0], aside)
    document = json.loads(PRINTS.read_text())
    prints = {node: document.get("node1", document) for node in ("node1", "node2")}
    record = attempts.LabRecord("local", "node1", "node2", "/labs/local", {"node1": {"cable_interface": "eth1"}})
    common: dict[str, Any] = {"host": "here", "pid": 1}
    for number in (1, 2):
        drift = (attempts.Change("lab", "node1: x", 1, 2),) if number == 2 else ()
        attempt = Attempt("labctl.attempt/1", number, "2026", **common, labctl="1", plan_sha256="0", lab=record,
                          fingerprints=prints, drift=drift)  # fmt: skip
        write_json(folder.attempt(number), attempt)
    visit = plan.visits[0]
    ids = tuple(sample.id for sample in all_samples(plan))
    place = folder.visit(visit.setup, 1)
    write_json(place / conditions.FINGERPRINT, prints)
    write_json(place / conditions.SEAL, prints)
    seen = conditions.Beginning(folder, 1).judge(visit, 1, ids, prints, prints)
    write_json(place / conditions.VISIT, seen)
    done = VisitRecord(visit.setup, 1, 1, 1, "ok", {"total": 3.0}, ())
    status = Status("labctl.status/1", RunState.DONE, "here", 1, "2026", "2026", 36, 3, (done,))
    write_json(folder.status, status)
    report.document(str(root))
    return root


@cache
def _scratch() -> str:
    directory = tempfile.mkdtemp(prefix="labctl-fuzz-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@cache
def run_files() -> tuple[str, ...]:
    root = run_folder()
    return tuple(sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()))


def take_run(harms: Harms, directory: Path) -> None:
    root = directory / "20260304-000000-local"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(run_folder(), root)
    harm([root / name for name in run_files()], harms)
    with refused():
        require_printable(find.describe(root.name, directory))
    for row in find.list_rows(directory):
        require_printable(str(row))
    with refused():
        document = report.document(root.name, directory=directory)
        for style in STYLES:
            require_printable(render(document, style, 60, 60))
    with refused():
        earlier = resume.reopen(root)
        for problem in earlier.problems:
            assert problem.hint, problem
            require_printable(str(problem))
        with refused():
            require_printable(earlier.inventory)
        if earlier.last is not None:
            with refused():
                resume.drift(earlier, earlier.last)
        with refused():
            prints = conditions._prints(json.loads(PRINTS.read_text()))
            conditions.Beginning(earlier.folder, 1).judge(earlier.plan.visits[0], 2, (), prints, prints)
        resume.keep(earlier)


# The raw folder of a sample


def take_sample(case: tuple[int, Harms], directory: Path) -> None:
    number, harms = case
    name = TAKEN[number % len(TAKEN)]
    folder = directory / "sample"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(FIXTURES / "samples" / name, folder)
    harm(sorted(folder.iterdir()), harms)
    with refused():
        sample = samples.derive(folder, catalog.load().workloads[name.split(".")[1]])
        write_json(folder / "sample.json", sample)
        parse_json((folder / "sample.json").read_text(), "sample.json")


# What netperf prints

OUTPUTS = ("2.7.0_tcp_stream", "2.7.0_tcp_rr", "2.7.0_tcp_crr", "2.7.1_tcp_rr")


def take_netperf(case: tuple[int, list[tuple[int, int, int]]], _: Path) -> None:
    name = OUTPUTS[case[0] % len(OUTPUTS)]
    text = (FIXTURES / "netperf" / f"{name}.txt").read_text()
    program = catalog.load().workloads[name.partition("_")[2]].program
    text = mangled(text, case[1])
    program.complaint(text)
    with suppress(ToolError):  # becomes the reasons of a failed sample, which need no next step
        program.parse(text, "netperf-00.txt")


# A kubeconfig

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "admin@prod",
    "clusters": [
        {"name": "prod", "cluster": {"server": "https://10.0.0.1:6443", "certificate-authority-data": "QQ=="}}
    ],
    "contexts": [
        {"name": "admin@prod", "context": {"cluster": "prod", "user": "admin", "namespace": "x"}},
        {"name": "other", "context": {"cluster": "prod", "user": "exec"}},
    ],
    "users": [
        {"name": "admin", "user": {"token": "t", "tokenFile": "/x", "client-key": "k.pem"}},
        {"name": "exec", "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws"}}},
    ],
}


def take_kubeconfig(harms: Harms, directory: Path) -> None:
    files = laid(directory / "kube", {"config.yml": yaml.safe_dump(KUBECONFIG)})
    harm(files, harms)
    with refused(), moved(XDG_STATE_HOME=str(directory / "state")):
        context = "other" if harms[0][0] % 3 == 0 else None
        kubeconfig.lab(ClusterOptions(str(files[0]), context, "node1", "node2"))


@contextmanager
def moved(**variables: str) -> Iterator[None]:
    """With other environment variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


# An inventory

INVENTORY = {
    "hosts.yml": """
all:
  vars:
    lab_name: mine
    lab_kind: metal
    kernel_cmdline: [nosmt, mitigations=off]
  children:
    client:
      hosts:
        node1: {ansible_host: 10.0.0.1, cable_interface: eth1, cable_address: 192.0.2.1, pod_network: 198.19.0.0/25}
    server:
      hosts:
        node2:
""",
    "group_vars/all.yml": "netperf_port: 12865\nown: {a: [1, 2], b: text}\nlab_timeout: '{{ 5 * 60 }}'\n",
    "host_vars/node2.yml": "ansible_host: 10.0.0.2\ncable_interface: eth1\ncable_address: '192.0.2.{{ 1 + 1 }}'\n"
    "pod_network: 198.19.0.128/25\n",
    "cluster": "[control_plane]\nnode1\n\n[worker]\nnode2 kernel_line=6.1\n\n[worker:vars]\nnetperf_port=12865\n",
}


class Forking(Session):
    """A session whose `listing` is a fork of a Python that has loaded Ansible: starting one takes ten times as long."""

    _loaded: subprocess.Popen[str] | None = None

    def __exit__(self, *_: object) -> None:
        self._end()
        super().__exit__()

    def _end(self) -> None:
        if self._loaded is not None:
            with self._loaded, suppress(ProcessLookupError):
                os.killpg(self._loaded.pid, signal.SIGKILL)
            self._loaded = None

    def _listing(self, arguments: Sequence[str], variables: Mapping[str, str]) -> tuple[str, str]:
        if self._loaded is None:
            command = [sys.executable, str(Path(__file__).with_name("listing_forks.py"))]
            self._loaded = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            text=True, start_new_session=True)  # fmt: skip
        assert self._loaded.stdin is not None
        assert self._loaded.stdout is not None
        files = [self._scratch.path / name for name in ("printed", "complained")]
        try:
            self._loaded.stdin.write(json.dumps([arguments, *map(str, files)]) + "\n")
            self._loaded.stdin.flush()
            assert self._loaded.stdout.readline(), "the listing cannot be forked"
        except BaseException:  # one that hangs, say: the next case gets another
            self._end()
            raise
        printed, complained = (file.read_text(errors="replace") for file in files)
        return printed, complained


@cache
def forking() -> Forking:
    session = Forking()
    atexit.register(session.__exit__)
    return session


def take_inventory(harms: Harms, directory: Path) -> None:
    harm(laid(directory / "lab", INVENTORY), harms)
    with refused():
        found = inventories.open_lab(forking(), str(directory / "lab"))
        require_printable(found.name + found.kind + found.client + found.server)
        attempts.lab_record(found)


# The index of a bundle

BUNDLE: dict[str, Any] = {
    "schema": "labctl.bundle/1",
    "created": "2026-03-04T05:06:07Z",
    "architecture": "amd64",
    "editions": {"current": {"kubernetes": "1.34.0", "kernel_low": "5.10", "kernel_below": None, "cgroups": [2]}},
    "files": [
        {"path": "current/programs/kubeadm", "edition": "current", "name": "kubeadm", "use": "program",
         "version": "1.34.0", "reference": None, "origin": "https://x/kubeadm", "sha256": "0" * 64, "bytes": 3},
        {"path": "current/images/pause.tar", "edition": "current", "name": "pause", "use": "image",
         "version": None, "reference": "r.k8s.io/pause:3", "origin": "r.k8s.io/pause:3", "sha256": "0" * 64,
         "bytes": 4, "variants": ["cilium-ebpf"]},
    ],
}  # fmt: skip


def take_bundle(harms: Harms, directory: Path) -> None:
    texts = {index.INDEX: json.dumps(BUNDLE), **{file["path"]: "abc" for file in BUNDLE["files"]}}
    files = laid(directory / "bundle", texts)
    harm([*[files[0]] * 4, *files], harms)
    with refused():
        index.verify(directory / "bundle")


# Fingerprints of nodes, compared


def take_fingerprint(changes: Changes, _: Path) -> None:
    document = json.loads(PRINTS.read_text())
    document = document.get("node1", document)
    sound = fingerprint.parse(document, "node1")
    with refused():
        other = fingerprint.parse(parse_json(broken(document, changes), "x"), "x")
        for span in Span:
            for each in (*fingerprint.differences(sound, other, span), *fingerprint.differences(other, sound, span)):
                require_printable(str(each))


# What the kernel and its tools say on a node

NODE_TEXTS: Mapping[str, str] = {
    "snmp": "Ip: Forwarding InReceives ForwDatagrams\nIp: 1 20 3\nTcp: MaxConn RetransSegs\nTcp: -1 3\n",
    "dev": "Inter-|   Receive                |  Transmit\n face |bytes packets errs drop fifo frame compressed "
    "multicast|bytes packets errs drop fifo colls carrier compressed\n  eth1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
    "nf_conntrack": "entries clashres found new invalid ignore delete insert insert_failed drop early_drop\n"
    "00000004 00000000 0000 0000 0001 0000 0000 0000 00000002 00000001 00000000\n",
    "xfrm_stat": "XfrmInError                     \t0\nXfrmInBufferError               \t3\n",
    "interrupts": "            CPU0       CPU1\n  0:  10  20  IO-APIC  2-edge  timer\n"
    "RES:  5 6   Rescheduling interrupts\nCAL:  7 8   Function call interrupts\n",
    "stat": "1 (a b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12 1 1 1 1 1 1 1 1 1 1 1 1 1 1 17 3 0 0 0 0 0\n",
    "status": "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n",
    "schedstat": "123456 2 3\n",
    "online": "0-2,4\n",
    "sockstat": "sockets: used 20\nTCP: inuse 5 orphan 0 tw 7 alloc 8 mem 1\n",
    "count": "17\n",
    "features": "Features for eth1:\nrx-checksumming: on\ntx-checksumming: off [fixed]\n\ttx-gso: on [requested off]\n",
    "rings": "Ring parameters for eth1:\nPre-set maximums:\nRX:\t4096\n"
    "Current hardware settings:\nRX:\t512\nTX:\tn/a\n",
    "coalesce": "Coalesce parameters for eth1:\nAdaptive RX: on  TX: off\nrx-usecs: 50\ntx-usecs:\tn/a\n",
    "ethtool": "Settings for eth1:\n\tSpeed: 100000Mb/s\n\tDuplex: Full\n\tLink detected: yes\n",
    "driver": "driver: ice\nversion: 6.1\nfirmware-version: 4.0\nbus-info: 0000:01:00.0\n",
    "cpuinfo": "processor\t: 0\nmodel name\t: AMD Ryzen 9\nflags\t\t: fpu aes avx2\nmicrocode\t: 0x87\n\n"
    "processor\t: 1\n",
    "meminfo": "MemTotal:       32000000 kB\nMemAvailable:   1000 kB\nHugePages_Total:       0\n",
    "config": 'CONFIG_HZ=250\nCONFIG_BPF_JIT=y\nCONFIG_DEFAULT_TCP_CONG="cubic"\n# CONFIG_X is not set\n',
    "loadavg": "0.10 0.20 0.30 1/200 1234\n",
    "proc_stat": "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nbtime 1700000000\n",
    "uptime": "100.25 200.50\n",
    "link": '[{"ifname":"eth1","ifindex":2,"flags":["UP","LOWER_UP"],"mtu":1500,"qdisc":"noqueue","address":"aa",'
    '"linkinfo":{"info_kind":"veth"},"xdp":{"mode":1}},{}]',
    "address": '[{"addr_info":[{"local":"192.0.2.1","prefixlen":24}]}]',
    "qdisc": '[{"kind":"clsact","dev":"eth1","options":{"handle":1}},{"kind":"noqueue","dev":"lo"}]',
    "filters": '[{"protocol":"all","kind":"bpf"},{"options":{"handle":1,"bpf_name":"x"}}]\n[]\n',
    "bpf": '[{"xdp":[],"tc":[{"devname":"eth1","kind":"clsact/ingress","name":"prog"}],"flow_dissector":[]}]',
    "cgroup_bpf": '[{"cgroup":"/sys/fs/cgroup","programs":[{"id":1,"attach_type":"connect4","name":"x"}]}]',
    "nft": "table ip nat {\n\tchain POSTROUTING {\n\t\ttype nat hook postrouting priority 100; policy accept;\n"
    "\t\tmasquerade\n\t}\n}\n",
    "services": "Id=chrony.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\nId=ntp.service\n"
    "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n",
}  # fmt: skip
PROC = {
    **{"/proc/thread-self/net/" + name: name for name in ("snmp", "dev", "xfrm_stat", "sockstat")},
    "/proc/thread-self/net/netstat": "snmp",
    "/proc/thread-self/net/stat/nf_conntrack": "nf_conntrack",
    "/proc/sys/net/netfilter/nf_conntrack_count": "count",
    **{f"/proc/1/{name}": name for name in ("stat", "status", "schedstat")},
    "/proc/1/task/1/children": "count",
    **{"/proc/" + name: name for name in ("cpuinfo", "meminfo", "loadavg", "uptime", "interrupts")},
    "/proc/stat": "proc_stat",
    "/sys/devices/system/cpu/online": "online",
}
NAMES = tuple(NODE_TEXTS)


class Texts:
    """A node whose files and commands say these things."""

    root = "/"

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts

    def read(self, path: str) -> str | None:
        return self.texts.get(PROC.get(path, path))

    def output(self, name: str) -> str | None:
        return self.texts.get(name)


class TextFiles(fingerprint_probe.Files):
    """The same as the files of a node."""

    def __init__(self, texts: Texts) -> None:
        super().__init__("/nowhere")
        self.texts = texts

    def text(self, path: str) -> str | None:
        return (self.texts.read(path) or "").strip() or None


def take_node(case: tuple[int, list[tuple[int, int, int]], Changes], _: Path) -> None:
    name = NAMES[case[0] % len(NAMES)]
    sound = NODE_TEXTS[name]
    if sound.startswith("[") and case[1][0][0] % 2:
        text = broken(json.loads(sound.splitlines()[0]), case[2])
    else:
        text = mangled(sound, case[1])
    texts = Texts({**NODE_TEXTS, name: text})
    _agent_reads(texts)
    _fingerprint_reads(texts)


def _agent_reads(texts: Texts) -> None:
    """The agent's readers, with these texts in the place of /proc and /sys."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (counters, cpus, idle, procfs):
            patch.setattr(module, "read", texts.read)
        patch.setattr(counters, "carrier_changes", lambda _: 0)
        patch.setattr(counters, "time_wait", lambda: 0)
        readings = {**counters.endpoint_counters(), **counters.node_counters("eth1"), **idle.interrupts()}
        assert all(value is None or type(value) is int for value in readings.values()), readings
        cpus.online()
        for look in (procfs.last_cpu, procfs.switches, procfs.cpu_s, procfs.children, procfs.has_ended):
            look(1)


def _fingerprint_reads(texts: Texts) -> None:
    files = TextFiles(texts)
    found = [
        fingerprint_machine.cpu(files),
        fingerprint_machine.memory(files),
        fingerprint_machine.state(files, 1.0),
        fingerprint_machine.boot(files),
        fingerprint_machine.parse_config(texts.texts["config"]),
        fingerprint_network.link(texts, "eth1"),
        fingerprint_network.nic(files, texts, "eth1"),
        fingerprint_network.network(files, texts),
        fingerprint_settings.parse_services(texts.output("services")),
    ]
    json.dumps(found)


TARGETS: tuple[Target, ...] = (
    Target("plan", CHANGES, take_plan),
    Target("run", HARMS, take_run),
    Target("sample", st.tuples(POSITIONS, DATA_HARMS), take_sample),
    Target("netperf", st.tuples(POSITIONS, LINES), take_netperf),
    Target("kubeconfig", HARMS, take_kubeconfig),
    Target("inventory", HARMS, take_inventory),
    Target("bundle", HARMS, take_bundle),
    Target("fingerprint", CHANGES, take_fingerprint),
    Target("node", st.tuples(POSITIONS, LINES, CHANGES), take_node),
)  # fmt: skip
