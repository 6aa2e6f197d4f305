"""QEMU's command line, its version, and whether KVM truly works."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ansible.module_utils.labctl_node.refused import Problem, Refused
from ansible.module_utils.labctl_node.run import run
from ansible.module_utils.vm_lab_plan import CABLE_MAX_MTU, HOST, Guest
from ansible.module_utils.vm_lab_record import Record

QEMU = "qemu-system-x86_64"
# The first with the network backend `dgram`, which is the cable.
OLDEST = (7, 2)
KVM = "/dev/kvm"
# A guest kernel's first words. Where KVM is broken, firmware still speaks and then nothing comes, so less is no proof;
# a guest that works gets there in a second.
BANNER = b"Linux version"
PROBE_S = 15.0
# `host` fails on machines that hide one of its registers, where the second works.
KVM_CPUS = ("host", "host,-arch-capabilities")
TCG_CPU = "max"


def version() -> tuple[int, int]:
    """QEMU's major and minor version. Raises Refused where it is missing or does not say."""
    said = run([QEMU, "--version"])
    found = re.search(r"version (\d+)\.(\d+)", said)
    if found is None:
        raise Refused("QEMU does not say which version it is.", where=QEMU, seen=said.strip())
    return int(found[1]), int(found[2])


def too_old(seen: tuple[int, int]) -> Iterator[Problem]:
    """What a version lacks that the lab needs."""
    if seen < OLDEST:
        yield {
            "what": "QEMU is too old: it lacks the network backend `dgram`, which is the lab's cable.",
            "where": QEMU,
            "seen": "version {}.{}, wanted {}.{} or newer".format(*seen, *OLDEST),
            "hint": "Debian 12, Debian 13 and Ubuntu 24.04 have a newer one.",
        }


@dataclass(frozen=True)
class Accelerator:
    """How guests run: `name` is kvm or tcg, `cpu` the model for QEMU, `reason` why it is not kvm."""

    name: str
    cpu: str
    reason: str = ""


def probe(kernel: str) -> Accelerator:
    """KVM if a guest kernel speaks under it, else TCG."""
    if not os.access(KVM, os.R_OK | os.W_OK):
        return Accelerator("tcg", TCG_CPU, f"{KVM} is not there, or not for this user")
    reasons = []
    for cpu in KVM_CPUS:
        reason = _trial(kernel, cpu)
        if reason is None:
            return Accelerator("kvm", cpu)
        reasons.append(f"-cpu {cpu}: {reason}")
        if reason.startswith("no word"):
            break  # it started, and a guest that hangs hangs with the other model too
    return Accelerator("tcg", TCG_CPU, "; ".join(reasons))


def _trial(kernel: str, cpu: str) -> str | None:
    """Boot the kernel under KVM; None when it speaks, else what was seen instead."""
    machine = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35", "-m", "256"]
    boot = ["-kernel", kernel, "-append", "console=ttyS0,115200", "-serial", "stdio"]
    argv = [QEMU, *machine, "-accel", "kvm", "-cpu", cpu, *boot]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as trial:
        assert trial.stdout is not None  # noqa: S101 - it is a pipe
        said, deadline = b"", time.monotonic() + PROBE_S
        try:
            while BANNER not in said:
                if not select.select([trial.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    return f"no word of a guest kernel within {PROBE_S:g} s"
                data = os.read(trial.stdout.fileno(), 1 << 16)
                if not data:
                    lines = said.decode(errors="replace").strip().splitlines()
                    return f"QEMU ended: {lines[-1] if lines else 'it said nothing'}"
                said += data
            return None
        finally:
            trial.kill()


def name_of(lab: str, guest: str) -> str:
    """What QEMU calls a guest."""
    return f"labctl-{lab}-{guest}"


def command(record: Record, guest: Guest) -> list[str]:
    """What starts a guest, in its own directory: all paths but the image's are relative to it."""
    plan = record.plan
    (peer,) = (other for other in plan.guests if other != guest)
    accel = "tcg,thread=multi" if record.accelerator == "tcg" else record.accelerator
    disk = "driver=qcow2,node-name=disk,file.driver=file,file.filename=disk.qcow2,cache.direct=off,cache.no-flush=on"
    seed = "driver=raw,node-name=seed,read-only=on,file.driver=file,file.filename=seed.img"
    cable = (
        f"dgram,id=cable,local.type=unix,local.path=cable.sock,remote.type=unix,remote.path=../{peer.name}/cable.sock"
    )
    return [
        QEMU,
        *("-name", name_of(plan.name, guest.name)),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        # graphics=off: firmware and boot loader speak on the serial console too, so that its log tells what went wrong.
        *("-machine", "q35,graphics=off", "-accel", accel, "-cpu", record.cpu),
        *("-smp", str(plan.vcpus), "-m", str(plan.memory_mib)),
        *("-blockdev", f"{disk},discard=unmap", "-device", "virtio-blk-pci,drive=disk,serial=labctl-root,bootindex=0"),
        *("-blockdev", seed, "-device", "virtio-blk-pci,drive=seed,serial=labctl-seed"),
        *("-device", "virtio-rng-pci"),
        *("-netdev", f"user,id=mgmt,ipv6=off,hostfwd=tcp:{HOST}:{guest.port}-:22"),
        *("-device", f"virtio-net-pci,netdev=mgmt,mac={guest.management_mac},romfile="),
        *("-netdev", cable),
        *("-device", f"virtio-net-pci,netdev=cable,mac={guest.cable_mac},host_mtu={CABLE_MAX_MTU},romfile="),
        *("-chardev", "file,id=serial,path=serial.log,append=on", "-serial", "chardev:serial"),
        *("-qmp", "unix:qmp.sock,server=on,wait=off"),
    ]
