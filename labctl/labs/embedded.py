"""The labs of this machine, local and vm: create, destroy, list, log in.

What exists is read from the records that the roles local_lab and vm_lab keep (`<state>/labs/<lab>/lab.json`, schema
`labctl.lab/2`), where root's word or the caller's stands in them; creating and destroying is those roles' work, through
the playbooks. A lab belongs to whom its SSH key belongs: the user who created it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from labctl.core import names as rules
from labctl.core import paths, records, removal, trust
from labctl.core.errors import LabctlError, Problem, UsageError, advised, collected
from labctl.core.files import read_json
from labctl.engine.events import Event, Listener, TaskResult
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Outcome
from labctl.engine.session import AnsibleOptions, Session

SCHEMA = "labctl.lab/2"
KINDS = ("local", "vm")  # of labs whose nodes labctl makes itself
EMULATION = (
    "warning: the guests are emulated, without KVM: they are slow, and nothing measured on them is a performance result"
)
# The modules that make a lab, as Ansible names them.
MAKERS = tuple(f"{kind}_lab" for kind in KINDS)


@dataclass(frozen=True)
class _Supervisor:
    """A pidfile: the process that carries a node, and its start in clock ticks since boot."""

    pid: int
    started: int


class LabState(StrEnum):
    """How much of a lab runs."""

    RUNNING = "running"
    PARTLY = "partly running"
    STOPPED = "stopped"


@dataclass(frozen=True)
class SshFiles:
    """Paths of the lab's client key and of its known host keys."""

    key: str
    known_hosts: str


@dataclass(frozen=True)
class LabNode:
    """One node: where the host reaches it, its address on the cable, the pidfile of what carries it, and its log."""

    name: str
    address: str
    cable_address: str
    port: int
    user: str
    pidfile: str
    log: str

    @property
    def place(self) -> str:
        """Where it is reached, for people."""
        return self.address if self.port == 22 else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Lab:
    """A lab as it was created; the fields are those of lab.json.

    Of `local` and `vm` the one of its kind is there, with what the lab's role alone knows of it.
    """

    schema: str
    name: str
    kind: str
    inventory: str
    boot_id: str
    created: str
    release: str
    ssh: SshFiles
    nodes: tuple[LabNode, ...]
    local: Mapping[str, Any] | None
    vm: Mapping[str, Any] | None

    @property
    def emulated(self) -> bool:
        """Whether its processors are programs: nothing measured there is a result."""
        return self.vm is not None and self.vm["accelerator"] == "tcg"

    @property
    def state(self) -> LabState:
        """What runs now. After a reboot nothing does."""
        if self.boot_id != Path("/proc/sys/kernel/random/boot_id").read_text().strip():
            return LabState.STOPPED
        running = sum(_runs(Path(node.pidfile)) for node in self.nodes)
        if running == len(self.nodes):
            return LabState.RUNNING
        return LabState.PARTLY if running else LabState.STOPPED


def create(
    session: Session, lab: str, options: AnsibleOptions | None = None, listener: Listener = lambda _: None
) -> Lab:
    """Create the lab, or what is missing of it, and return it.

    `lab` is an inventory directory or a name (see `paths.resolve_lab`). Raises LabctlError with
    everything in the inventory or on this host that stands in its way, or with what failed.
    """
    directory = paths.resolve_lab(lab)
    _require_root()
    require_believed_places()
    names: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, TaskResult) and event.action in MAKERS and event.ok:
            names.append(str(event.data["name"]))
        listener(event)

    session.run_playbook("lab_create.yml", [directory], options=options, listener=watch).require()
    return read(names[-1])


def destroy(
    session: Session, lab: str, options: AnsibleOptions | None = None, listener: Listener = lambda _: None
) -> Outcome:
    """Remove the lab and prove the host's settings unchanged. A lab that does not exist is no error.

    `lab` as for `create`, or the name of a recorded lab whose inventory is gone. Raises LabctlError when something
    cannot be removed, and with every host-global setting that differs (the lab is gone all the same).
    """
    _require_root()
    require_believed_places()
    inventory, name = None, None
    try:
        inventory = paths.resolve_lab(lab)
    except paths.UnknownLab:
        if not is_known(lab):
            raise
        # Of a removal that was cut short only files are left, which every kind removes alike.
        kind = KINDS[0] if lab in removal.cut_short(_labs()) else read(lab).kind
        name = {"all": {"vars": {"lab_name": lab, "lab_kind": kind}}}
    with session.source(name) as more:
        sources = more if inventory is None else [inventory]
        return session.run_playbook("lab_destroy.yml", sources, options=options, listener=listener).require()


def read(name: str) -> Lab:
    """The record of a lab by its name. Raises LabctlError where there is none, or one that is not understood."""
    rules.MADE_LAB.require(name, "--lab")
    path = _labs() / name / "lab.json"
    if not os.path.lexists(path):
        raise LabctlError(Problem(f"there is no lab {name} on this machine", str(path), hint="labctl lab create"))
    trust.require_trusted(f"the record of lab {name}", path)
    try:
        data = read_json(path)
    except LabctlError as error:
        hint = "see what it is; without a record, what runs of the lab is ended by hand"
        seen = "; ".join(f"{one.what}: {one.seen}" for one in error.problems)
        raise LabctlError(Problem(f"the record of lab {name} cannot be read", str(path), seen, hint)) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        seen = str(data.get("schema")) if isinstance(data, dict) else type(data).__name__
        hint = "destroy the lab with the labctl that created it"
        raise LabctlError(Problem(f"the record of lab {name} is not of schema {SCHEMA}", str(path), seen, hint))
    if data.get("name") != name:
        hint = "put it back where it belongs: a lab is destroyed by its record"
        raise LabctlError(
            Problem(f"the record of lab {name} is another lab's", f"{path}:name", str(data["name"]), hint)
        )
    with advised("see what it is, or destroy the lab with the labctl that created it"):
        lab = records.decode(Lab, data, str(path))
        if lab.kind not in KINDS:
            raise LabctlError(Problem("no lab of this machine is of this kind", f"{path}:kind", lab.kind))
    return lab


def names() -> tuple[str, ...]:
    """The names of all labs that have a record on this machine, running or not, understood or not."""
    found = removal.names_in(_labs())
    return tuple(name for name in found if not name.startswith(".") and os.path.lexists(_labs() / name / "lab.json"))


def is_known(name: str) -> bool:
    """Whether anything of a lab of this name is recorded on this machine."""
    return name in names() or name in removal.cut_short(_labs())


def owner_of(name: str) -> int | None:
    """The user id that a lab belongs to; None for one that is not there."""
    try:
        return Path(read(name).ssh.key).lstat().st_uid if name in names() else None
    except FileNotFoundError:
        return None


def require_ones_own(name: str, to_destroy: bool = False) -> None:
    """Raise UsageError for a lab on this machine that is another user's: its key is for its owner alone.

    Root works with the labs of the user who called sudo, and destroys any.
    """
    owner, user = owner_of(name), os.geteuid()
    if owner is None or owner == user or (user == 0 and (to_destroy or owner in trust.callers())):
        return
    who = trust.user_name(owner)
    hint = (
        f"work as {who}; or make a lab of your own: copy the inventory, and give it another lab_name and index or port"
    )
    raise UsageError(Problem(f"the lab {name} of this machine is another user's", str(_labs() / name), who, hint))


def require_believed_places() -> None:
    """Raise UsageError where others than root and the caller decide on what labctl keeps and uses again."""
    trust.require_trusted("the directory of the labs' records (LABCTL_STATE_DIR)", paths.state_dir())
    trust.require_trusted("the directory of what labs are made of (LABCTL_CACHE_DIR)", paths.cache_dir())
    trust.require_trusted("your directory of what is kept for later (XDG_STATE_HOME)", paths.user_state_dir())
    trust.require_trusted("your directory of what can be made again (XDG_CACHE_HOME)", paths.user_cache_dir())


def list_labs() -> tuple[tuple[Lab, ...], tuple[Problem, ...]]:
    """Every lab that has a record on this machine, by name, running or not; and the records that are not understood."""
    found: list[Lab] = []
    problems: list[Problem] = []
    for name in names():
        with collected(problems):
            found.append(read(name))
    for name in removal.cut_short(_labs()):
        what, where = f"the removal of lab {name} was cut short", str(_labs() / f"{removal.ASIDE}{name}")
        problems.append(Problem(what, where, hint=f"finish it: labctl lab destroy -i {name}"))
    return tuple(found), tuple(problems)


def is_up(name: str) -> bool:
    """Whether a lab of this name exists and all of its nodes run."""
    return name in names() and read(name).state is LabState.RUNNING


def require_running(lab: Inventory) -> None:
    """Raise LabctlError for a lab of this machine of which nothing runs: its addresses are then anybody's.

    Nodes that do not answer, of one that runs in part, are for Ansible to name.
    """
    if lab.kind not in KINDS:
        return
    seen = read(lab.name).state if lab.name in names() else "no record of a lab of this name"
    if seen not in (LabState.RUNNING, LabState.PARTLY):
        what, hint = f"lab {lab.name} does not run on this machine", f"labctl lab create -i {lab.path}"
        raise LabctlError(Problem(what, str(lab.path), str(seen), hint))


def shell_command(lab: str, node: str) -> tuple[str, ...]:
    """The ssh command line that logs in to a node; what follows it is run there.

    `lab` is the name of a recorded lab, or the inventory directory it was created from. Raises LabctlError for a lab
    that does not run, UsageError for an unknown node.
    """
    record = _recorded(lab)
    require_ones_own(record.name)
    found = next((one for one in record.nodes if one.name == node), None)
    if found is None:
        known = ", ".join(one.name for one in record.nodes)
        raise UsageError(Problem(f"the lab {record.name} has no node {node!r}", seen=f"its nodes: {known}"))
    if not _runs(Path(found.pidfile)):
        raise LabctlError(
            Problem(f"{node} of lab {record.name} does not run", found.log, hint="labctl lab create starts it")
        )
    options = {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": record.ssh.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "LogLevel": "ERROR",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    # Without the user's own configuration, which could lead elsewhere under the node's address.
    return ("ssh", "-F", "none", "-i", record.ssh.key, *words, "-p", str(found.port), f"{found.user}@{found.address}")


def _labs() -> Path:
    return paths.state_dir() / "labs"


def _recorded(lab: str) -> Lab:
    """The record that a name or an inventory directory means."""
    if lab not in names() and trust.is_directory(Path(lab)):
        directory = str(Path(lab).resolve())
        for one in list_labs()[0]:
            if one.inventory == directory:
                return one
        hint = f"labctl lab create -i {lab}; or name a lab: {', '.join(names()) or 'there is none'}"
        raise LabctlError(Problem("no lab on this machine was created from this inventory", directory, hint=hint))
    return read(lab)


def _runs(pidfile: Path) -> bool:
    """Whether the process of a pidfile still runs. LabctlError for one that does not say."""
    if not os.path.lexists(pidfile):
        return False
    hint = "whether the node runs is not known: remove the file and `labctl lab create`, which starts what does not run"
    with advised(hint):
        supervisor = records.decode(_Supervisor, read_json(pidfile), str(pidfile))
    try:
        fields = Path(f"/proc/{supervisor.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in "ZX" and int(fields[19]) == supervisor.started


def _require_root() -> None:
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        raise LabctlError(
            Problem(
                "labs on this machine need root: for network namespaces and containers, or to build the guests' image",
                seen=f"user id {os.geteuid()}, and no sudo on this machine",
                hint="run labctl as root, or install sudo",
            )
        )
