"""The guests of a lab: start, wait until they answer, end."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict

from ansible.module_utils.lab_host_keys import greets
from ansible.module_utils.lab_host_removal import remains
from ansible.module_utils.lab_host_seed import write_seed
from ansible.module_utils.labctl_node.files import close_directory, read_text, remove_file, write_json, write_text
from ansible.module_utils.labctl_node.processes import (
    Process,
    kill,
    of_processes,
    process,
    processes_that,
    schedule_as_a_service,
)
from ansible.module_utils.labctl_node.refused import Problem, Refused
from ansible.module_utils.labctl_node.run import run
from ansible.module_utils.labctl_node.wait import wait_until
from ansible.module_utils.vm_lab_plan import CABLE, CABLE_MTU, CABLE_PREFIX, HOST, Guest, Plan
from ansible.module_utils.vm_lab_qemu import KVM, QEMU, command, name_of
from ansible.module_utils.vm_lab_record import GuestFiles, Record
from ansible.module_utils.vm_lab_tsc import frequency_khz

# A guest that listens already, but not to SSH yet, refuses at once: asking costs it more than us.
ASK_INTERVAL_S = 0.5
SEED_SIZE = "8M"
LAST_LINES = 15
CONSOLE = "serial.log"  # in the guest's directory
FIRMWARE = "SeaBIOS (version"  # the first words on the console after every reset
POWERED_OFF = "reboot: Power down"  # the last ones of a kernel that was told to switch the machine off
# After these words on its console a guest will not come up any more, however long one waits.
LOST = ("Kernel panic", "No bootable device", "grub rescue>", "Give root password for maintenance")


def own_files(plan: Plan, guest: Guest, words: str) -> dict[str, str]:
    """What a guest has of its own beyond what nodes of any lab have, by path; `words` go on its kernel command line."""
    names = "".join(f"{other.cable_address} {other.name}\n" for other in plan.guests)
    cable = f"""
        [Match]
        Name={CABLE}
        [Link]
        MTUBytes={CABLE_MTU}
        [Network]
        Address={guest.cable_address}/{CABLE_PREFIX}
        LinkLocalAddressing=no
        IPv6AcceptRA=no
        ConfigureWithoutCarrier=yes
    """
    return {
        "etc/hosts": f"127.0.0.1 localhost\n{names}",
        "etc/resolv.conf": "nameserver 10.0.2.3\n",  # QEMU's own, which asks whom the host asks
        "etc/systemd/network/10-cable0.network": re.sub(r"(?m)^\s+", "", cable),
        "etc/chrony/chrony.conf": chrony(plan, guest),
        # Read by GRUB: see customise_guest.sh.
        "host.cfg": f'set labctl_words="{words}"\n',
    }


def kernel_words(record: Record) -> str:
    """What this host tells the kernel of a guest, on its command line."""
    khz = frequency_khz() if record.accelerator == "tcg" else None
    return f"tsc_early_khz={khz}" if khz else ""


def chrony(plan: Plan, guest: Guest) -> str:
    """The first guest is the lab's clock and the other follows it: their real-time clocks start up to a second apart,
    and a sample is void from 100 ms on."""
    first = plan.guests[0]
    common = "driftfile /var/lib/chrony/drift\nrtcsync\ncmdport 0\n"
    if guest == first:
        return (
            f"local stratum 10\nallow {first.cable_address}/{CABLE_PREFIX}\nbindaddress {first.cable_address}\n{common}"
        )
    return f"server {first.cable_address} iburst minpoll 2 maxpoll 4\nmakestep 0.01 3\nport 0\n{common}"


def make_disks(record: Record, files: GuestFiles, guest: Guest) -> None:
    """The guest's own disk, which stays as it is once it is there, and its seed, which is made for every start."""
    directory = files.guest(guest.name)
    close_directory(directory)
    if not os.path.exists(files.disk(guest.name)):
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", record.image, files.disk(guest.name)])
    os.chmod(files.disk(guest.name), 0o600)
    own = own_files(record.plan, guest, kernel_words(record))
    seed, image = write_seed(files, guest.name, own), files.seed_image(guest.name)
    remove_file(image)
    os.close(os.open(image, os.O_CREAT | os.O_EXCL, 0o600))  # it holds the guest's host key
    plain = "^has_journal,^orphan_file,^metadata_csum_seed"  # GRUB reads it too
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "labctl-seed", "-O", plain, "-d", seed, image, SEED_SIZE])
    for path in (directory, files.disk(guest.name), image):
        os.chown(path, record.owner, -1)


def groups_of(owner: int) -> list[int]:
    """The groups that let a user's QEMU use KVM."""
    try:
        user = pwd.getpwuid(owner)
    except KeyError:
        return []
    mine = os.getgrouplist(user.pw_name, user.pw_gid)
    return [group for group in mine if os.path.exists(KVM) and group == os.stat(KVM).st_gid]


def start_script(what: str, directory: str, argv: list[str], emulated: bool) -> str:
    """The script that runs a guest: QEMU itself, or what starts it anew for every boot.

    An emulated guest that is reset goes on with QEMU's translations of the boot before it, and firmware and boot loader
    take minutes for what takes seconds after a cold start. So QEMU ends with a reset (-no-reboot), and there is a new
    one, unless the guest was switched off or QEMU failed. It dies with the script.
    """
    head = f"#!/bin/sh\n# {what}\ncd {shlex.quote(directory)} || exit\n"
    if not emulated:
        return f"{head}exec {shlex.join(argv)}\n"
    qemu = shlex.join(["setpriv", "--pdeathsig", "KILL", *argv, "-no-reboot"])
    return f"{head}while {qemu}; do\n\ttail -c 500 {CONSOLE} | grep -q '{POWERED_OFF}' && exit\ndone\n"


def start(record: Record, files: GuestFiles, guest: Guest) -> Process:
    """Start the guest as the lab's owner, in its directory and in a session of its own."""
    make_disks(record, files, guest)
    remove_file(files.log(guest.name))  # of the start before: QEMU appends to it, so that reboots stay in it
    argv, directory = command(record, guest), files.guest(guest.name)
    what = f"Starts {guest.name} of the lab {record.plan.name}; written by labctl."
    write_text(files.start_script(guest.name), start_script(what, directory, argv, record.accelerator == "tcg"))
    schedule_as_a_service()
    with open(files.qemu_log(guest.name), "w", encoding="utf-8") as log:
        child = subprocess.Popen(
            ["sh", files.start_script(guest.name)],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=record.owner,
            extra_groups=groups_of(record.owner) if os.geteuid() == 0 else None,
        )
    found = process(child.pid)
    if found is None:
        raise not_ready(files, guest, "QEMU ended as soon as it was started")
    write_json(files.pidfile(guest.name), asdict(found))
    return found


def of_guest(files: GuestFiles, guest: str) -> list[int]:
    """The processes of a guest: the one in its pidfile, which starts QEMU or is it, and any QEMU that works in its
    directory, also one that a crash between the start and the pidfile left."""
    known = files.process(guest)
    found = {known.pid} if known is not None and known.alive else set()

    def is_qemu(directory: str) -> bool:
        program = os.path.basename(os.readlink(f"{directory}/exe"))
        return os.readlink(f"{directory}/cwd") == files.guest(guest) and program == QEMU

    return sorted(found.union(processes_that(is_qemu)))


def left_of(lab: str, record: str) -> Iterator[Problem]:
    """The guests that run under the name of a lab, wherever its files are: QEMU works in the guest's own directory."""

    def guest_of(directory: str) -> tuple[str, str] | None:
        with open(f"{directory}/cmdline", encoding="utf-8", errors="replace") as file:
            argv = file.read().split("\0")
        place = os.readlink(f"{directory}/cwd")
        guest = os.path.basename(place.removesuffix(" (deleted)"))
        ours = os.path.basename(argv[0]) == QEMU and argv[1:3] == ["-name", name_of(lab, guest)]
        return (guest, place) if ours else None

    for pid, found in sorted(of_processes(guest_of).items()):
        if found is not None:
            seen = f"process {pid} ({QEMU}) in {found[1]}"
            yield remains(lab, record, f"guest {found[0]}", [seen], [f"kill -9 {pid}"])


def end(files: GuestFiles, guest: str) -> bool:
    """End the QEMU of a guest. Returns whether one ran."""
    ended = kill(of_guest(files, guest))
    remove_file(files.pidfile(guest))
    return ended > 0


def bring_up(record: Record, files: GuestFiles, timeout_s: int) -> list[str]:
    """Start the guests whose QEMU does not run, both at once, and wait until all answer. Says which were started."""
    started = []
    for guest in record.plan.guests:
        running = files.process(guest.name)
        if running is None or not running.alive:
            end(files, guest.name)
            start(record, files, guest)
            started.append(guest.name)
    deadline = time.monotonic() + timeout_s
    for guest in record.plan.guests:
        await_answer(files, guest, deadline, timeout_s)
    return started


def await_answer(files: GuestFiles, guest: Guest, deadline: float, timeout_s: int) -> None:
    """Wait until a guest answers; the end of its QEMU, and of the time, are failures."""

    def runs() -> bool:
        running = files.process(guest.name)
        return running is not None and running.alive

    in_time = wait_until(
        lambda: not runs() or lost(files, guest) is not None or greets(HOST, guest.port, 5),
        deadline - time.monotonic(),
        ASK_INTERVAL_S,
    )
    words = lost(files, guest)
    if words is not None:
        raise not_ready(files, guest, f"its console says {words!r}")
    if not runs():
        raise not_ready(files, guest, "QEMU ended while it booted")
    if not in_time:
        raise not_ready(files, guest, f"its SSH server does not answer within {timeout_s} s")


def lost(files: GuestFiles, guest: Guest) -> str | None:
    """The words on a guest's console that say that it will not come up; None where there are none.

    What it said before its last reset does not count: it may have booted another kernel since.
    """
    said = (read_text(files.log(guest.name)) or "").rpartition(FIRMWARE)[2]
    return next((words for words in LOST if words in said), None)


def not_ready(files: GuestFiles, guest: Guest, what: str) -> Refused:
    said = [tail(files.log(guest.name)), tail(files.qemu_log(guest.name))]
    return Refused(
        f"The guest {guest.name} did not come up: {what}.",
        where=files.log(guest.name),
        seen="\n".join(filter(None, said)) or "nothing on its serial console",
        hint="These are the last lines of its console, and of QEMU if it said any. A slow machine may need a larger "
        "vm_lab_boot_timeout_s; else destroy the lab and create it again.",
    )


def tail(log: str) -> str:
    """The last lines of a log, what a terminal would not show left out."""
    shown = re.sub(r"\x1b(\[[0-9;?]*[a-zA-Z]|M)|[\x00-\x08\x0b-\x1f]", "", read_text(log) or "")
    lines = [line.rstrip() for line in shown.splitlines()]
    return "\n".join([line for line in lines if line][-LAST_LINES:])


def take_down(files: GuestFiles, guests: list[str]) -> list[str]:
    """End guests, whatever became of their pidfiles. Says which ran."""
    return [guest for guest in guests if end(files, guest)]


def guests_on_disk(files: GuestFiles) -> list[str]:
    """The guests that have a directory, whether or not a record names them."""
    directory = os.path.dirname(files.guest("x"))
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []
