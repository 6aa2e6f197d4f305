"""The role vm_lab's decisions that need no lab: inventories, records, QEMU's command line, what a guest gets."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils import lab_host_checks as checks
from ansible.module_utils import lab_host_record as shared
from ansible.module_utils import local_lab_record as local
from ansible.module_utils import vm_lab_guests as guests
from ansible.module_utils import vm_lab_plan as plans
from ansible.module_utils import vm_lab_qemu as qemu
from ansible.module_utils import vm_lab_record as records
from ansible.module_utils import vm_lab_tsc as tsc
from ansible.module_utils.labctl_node.machine import boot_id
from ansible.module_utils.labctl_node.refused import Refused

from labctl.core.records import decode
from labctl.labs.embedded import Lab
from tests.integration.conftest import wait_until

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent

NODES = ["node1", "node2"]
HOSTS = ["127.0.0.1", "127.0.0.1"]
PORTS = [22010, 22011]
CABLE = ["198.18.0.139", "198.18.0.140"]
PLAN = plans.plan("lab", 2, 1536, NODES, PORTS, CABLE)
RECORD = records.Record(
    inventory="/inventory",
    boot_id=boot_id(),
    created="2026-01-01T00:00:00+00:00",
    release="bookworm",
    plan=PLAN,
    image="/image.raw",
    accelerator="tcg",
    cpu="max",
    owner=1000,
)


def module(name: str) -> ModuleType:
    """Return one of the role's modules."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "roles" / "vm_lab" / "library" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("Lab_1", NODES, HOSTS, PORTS, CABLE), "lab_name"),
        (("lab", ["node1"], HOSTS[:1], PORTS[:1], CABLE[:1]), "groups client and server"),
        (("lab", NODES, ["127.0.0.1", "192.0.2.1"], PORTS, CABLE), "ansible_host of the nodes"),
        (("lab", NODES, HOSTS, [22010, 22010], CABLE), "ansible_port of the nodes"),
        (("lab", NODES, HOSTS, [22, 2222], CABLE), "ansible_port of the nodes"),
        (("lab", NODES, HOSTS, PORTS, ["198.18.0.139", "198.18.1.140"]), "cable_address of the nodes"),
        (("lab", NODES, HOSTS, PORTS, ["198.18.0.139", "cable"]), "cable_address of the nodes"),
        (("lab", NODES, HOSTS, PORTS, ["198.18.0.139", "198.18.0.139"]), "cable_address of the nodes"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[Any, ...], where: str) -> None:
    assert [problem["where"] for problem in plans.wrong_arguments(*arguments)] == [where]


def test_the_shipped_arguments_are_right() -> None:
    assert list(plans.wrong_arguments("vm", NODES, HOSTS, PORTS, CABLE)) == []


def write(state_dir: Path, record: object) -> None:
    shared.Files(str(state_dir), "lab").begin()
    (records if isinstance(record, records.Record) else local).write(str(state_dir), record)


def test_a_record_comes_back_as_it_was_written_and_labctl_reads_it(tmp_path: Path) -> None:
    write(tmp_path, RECORD)
    assert records.read(str(tmp_path), "lab") == RECORD
    seen = decode(Lab, json.loads((tmp_path / "labs" / "lab" / "lab.json").read_text()), "lab.json")
    assert [node.place for node in seen.nodes] == ["127.0.0.1:22010", "127.0.0.1:22011"]
    assert (seen.local, seen.emulated) == (None, True)


def test_a_lab_of_the_other_kind_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    write(tmp_path, RECORD)
    with pytest.raises(Refused, match=r"of the kind vm, not local"):
        local.read(str(tmp_path), "lab")
    assert local.others(str(tmp_path), "another") == []
    assert [one.plan.name for one in records.others(str(tmp_path), "another")] == ["lab"]


def test_a_lab_of_another_boot_does_not_exist(tmp_path: Path) -> None:
    write(tmp_path, records.Record(**{**vars(RECORD), "boot_id": "another"}))
    assert records.read(str(tmp_path), "lab") is None


def test_the_cables_of_both_guests_end_in_each_other() -> None:
    for mine, other in ((0, 1), (1, 0)):
        words = qemu.command(RECORD, PLAN.guests[mine])
        (cable,) = (word for word in words if word.startswith("dgram,"))
        assert "local.path=cable.sock" in cable
        assert f"remote.path=../{PLAN.guests[other].name}/cable.sock" in cable
        assert f"user,id=mgmt,ipv6=off,hostfwd=tcp:127.0.0.1:{PORTS[mine]}-:22" in words


def test_the_image_knows_the_cards_of_the_guests() -> None:
    script = (REPOSITORY / "roles" / "vm_lab" / "files" / "customise_guest.sh").read_text()
    for guest in PLAN.guests:
        assert guest.cable_mac in script
        assert guest.management_mac in script


@pytest.mark.parametrize(("version", "old"), [((5, 2), True), ((7, 1), True), ((7, 2), False), ((10, 0), False)])
def test_a_qemu_without_the_cable_is_refused(version: tuple[int, int], old: bool) -> None:
    problems = list(qemu.too_old(version))
    assert bool(problems) is old
    assert all(f"version {version[0]}.{version[1]}, wanted 7.2" in problem["seen"] for problem in problems)


def test_what_a_host_lacks_is_told_as_packages() -> None:
    wanted = {"sh": "dash", "no-such-qemu": "qemu-system-x86", "/no/such/file": "keyring", "no-such-too": "keyring"}
    assert checks.lacking_packages(wanted) == ["keyring", "qemu-system-x86"]


def test_the_second_guest_follows_the_clock_of_the_first() -> None:
    first, second = (guests.own_files(PLAN, guest, "tsc_early_khz=1") for guest in PLAN.guests)
    assert "local stratum 10" in first["etc/chrony/chrony.conf"]
    assert f"server {CABLE[0]} " in second["etc/chrony/chrony.conf"]
    assert f"\nAddress={CABLE[1]}/25\n" in second["etc/systemd/network/10-cable0.network"]


def test_the_frequency_of_the_time_stamp_counter_is_measured_alike_twice() -> None:
    first, second = tsc.frequency_khz(), tsc.frequency_khz()
    assert first is not None
    assert second is not None
    assert 500_000 < first < 10_000_000
    assert abs(first - second) < first / 1000


def test_what_a_terminal_would_not_show_is_no_last_line(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    log.write_bytes(b"\x1b[2J\x1bM[\x1b[0;32m  OK  \x1b[0m] Reached target\r\n\r\n\x1b[K\r\nKernel panic\r\n")
    assert guests.tail(str(log)) == "[  OK  ] Reached target\nKernel panic"


def test_a_panic_on_the_console_is_the_end(tmp_path: Path) -> None:
    files = records.GuestFiles(str(tmp_path), "lab")
    guest = PLAN.guests[0]
    assert guests.lost(files, guest) is None
    log = Path(files.log(guest.name))
    log.parent.mkdir(parents=True)
    log.write_text("[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n")
    assert guests.lost(files, guest) == "Kernel panic"
    log.write_text(f"{log.read_text()}SeaBIOS (version 1.16.2)\nGRUB loading...\nLinux version 6.1\n")
    assert guests.lost(files, guest) is None, "it was reset since"


class TestAccelerator:
    @pytest.fixture
    def accelerator(self) -> ModuleType:
        return module("vm_lab_accelerator")

    def test_an_answer_is_kept_for_its_question_alone(self, accelerator: ModuleType, tmp_path: Path) -> None:
        path = tmp_path / "accelerator.json"
        question = {"boot_id": "one", "qemu": [7, 2], "kernel": "/kernel"}
        answer = {"name": "kvm", "cpu": "host", "reason": ""}
        path.write_text(json.dumps({"question": question, "answer": answer}))
        assert accelerator.known(str(path), question) == qemu.Accelerator("kvm", "host")
        assert accelerator.known(str(path), question | {"boot_id": "two"}) is None
        path.write_text("{")
        assert accelerator.known(str(path), question) is None

    def test_emulation_can_be_insisted_on(self, accelerator: ModuleType, tmp_path: Path) -> None:
        assert accelerator.find("tcg", "/kernel", str(tmp_path)).name == "tcg"
        assert list(tmp_path.iterdir()) == [], "nothing was tried"


def test_an_image_is_read_by_whoever_runs_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = module("vm_lab_image")

    def build(tree: str, path: str, disk_gib: int) -> None:
        for one in (path, f"{path}.vmlinuz"):
            Path(one).touch()
            Path(one).chmod(0o644)

    monkeypatch.setattr(image, "build", build)
    given: list[tuple[str, int]] = []
    monkeypatch.setattr(image.os, "chown", lambda path, user, _: given.append((path, user)))
    cache = tmp_path / "cache"
    roots = image.provide(str(cache), "/cache/bookworm-1", 8, 0)
    assert [oct(path.stat().st_mode & 0o777) for path in (cache, cache / "images")] == ["0o700", "0o700"]
    users = image.provide(str(cache), "/cache/bookworm-1", 8, 1000)
    assert [oct(path.stat().st_mode & 0o777) for path in (cache, cache / "images")] == ["0o711", "0o711"]
    assert roots["image"] != users["image"]
    assert given == [(one[word], user) for one, user in ((roots, 0), (users, 1000)) for word in ("image", "kernel")]
    Path(roots["image"]).chmod(0o644)
    image.provide(str(cache), "/cache/bookworm-1", 8, 0)  # one that was made before
    assert {oct(Path(path).stat().st_mode & 0o777) for path, _ in given} == {"0o600"}


def started(tmp_path: Path, boots: str) -> tuple[int, list[str]]:
    """Run the script of an emulated guest whose QEMU does what the shell words in `boots` say, boot after boot."""
    fake = tmp_path / "qemu"
    fake.write_text(f'#!/bin/sh\necho boot "$@" >> argv\nset -- {boots}\nshift $(($(wc -l < argv) - 1))\neval "$1"\n')
    fake.chmod(0o755)
    script = tmp_path / "start.sh"
    script.write_text(guests.start_script("Starts it.", str(tmp_path), ["./qemu", "-smp", "2"], emulated=True))
    done = subprocess.run(["sh", str(script)], check=False, timeout=30)
    return done.returncode, (tmp_path / "argv").read_text().splitlines()


def test_an_emulated_guest_gets_a_new_qemu_for_every_boot_until_it_is_switched_off(tmp_path: Path) -> None:
    said = "'echo reboot: {} >> serial.log'"
    boots = " ".join(said.format(words) for words in ("Restarting system", "machine restart", "Power down"))
    code, argv = started(tmp_path, boots)
    assert (code, argv) == (0, ["boot -smp 2 -no-reboot"] * 3)


def test_an_emulated_guest_whose_qemu_fails_is_not_started_again(tmp_path: Path) -> None:
    _, argv = started(tmp_path, "'echo reboot: Restarting system >> serial.log' 'kill -9 $$'")
    assert len(argv) == 2


def test_qemu_dies_with_the_script_that_runs_it(tmp_path: Path) -> None:
    text = guests.start_script("Starts it.", str(tmp_path), ["sleep", "600"], emulated=True).replace(" -no-reboot", "")
    (tmp_path / "start.sh").write_text(text)
    with subprocess.Popen(["sh", str(tmp_path / "start.sh")]) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: any(_runs(pid, "sleep") for pid in children.read_text().split()))
        (child,) = children.read_text().split()
        process.kill()
    wait_until(lambda: not _runs(child, "sleep"))


def _runs(pid: str, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except FileNotFoundError:
        return False


def test_a_guest_on_kvm_is_qemu_itself(tmp_path: Path) -> None:
    text = guests.start_script("Starts it.", str(tmp_path), ["qemu", "-m", "1"], emulated=False)
    assert text.splitlines()[-1] == "exec qemu -m 1"
