#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_state
short_description: The kernel of a node against the wanted one
description:
  - Changes nothing. Fails, with all reasons at once, where the wanted kernel does not run and the role may not or
    cannot bring it there.
options:
  line: {type: str, required: true, description: "Kernel line such as 5.10, or distribution."}
  preempt: {type: str, default: "", description: "Preemption model, or empty for any."}
  cmdline: {type: list, elements: str, default: [], description: Words wanted on the kernel command line.}
  managed: {type: bool, required: true, description: Whether the role may change the node's kernel.}
  allow_reboot: {type: bool, required: true, description: Whether the node may be rebooted.}
  method: {type: str, required: true, description: package or source.}
  lines: {type: dict, required: true, description: Known lines to the Debian release they belong to.}
  room_boot_mib: {type: int, required: true, description: Room a kernel takes in /boot.}
  room_modules_mib: {type: int, required: true, description: Room its modules take.}
  booted_from: {type: str, default: "", description: The boot before the reboot that this looks at; empty for none.}
author: labctl
"""

RETURN = r"""
release: {type: str, description: "What runs, as uname -r says it."}
version: {type: str, description: The line of /proc/version.}
boot: {type: str, description: Number of this boot.}
action: {type: str, description: "none, keep (it runs, and is to be the default), boot (it is installed) or install."}
target: {type: str, description: The installed release to boot.}
lacking: {type: list, description: What is not as wanted.}
"""

import os
from collections.abc import Iterator
from typing import Any

from ansible.module_utils import kernel_facts as facts
from ansible.module_utils import kernel_record as records
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.machine import boot_id, os_release
from ansible.module_utils.labctl_node.refused import Problem, finish, refuse
from ansible.module_utils.labctl_node.run import run

MANAGED_DISTRIBUTIONS = ("debian",)


def differences(params: dict[str, Any], release: str, cmdline: list[str], ours: tuple[str, ...]) -> list[str]:
    """What the running kernel is not."""
    line, wanted = params["line"], params["preempt"]
    if line == facts.DISTRIBUTION:
        return [f"{release} runs, which labctl installed"] if release in ours else []
    if not facts.is_of_line(release, line):
        return [f"{release} runs, not a kernel of the line {line}"]
    found = []
    model = facts.preemption(facts.config_of(release), cmdline)
    if wanted and model != wanted:
        found.append(f"{release} has the preemption model {model or 'unknown'}, not {wanted}")
    found += [f"{word} is not on the kernel command line" for word in params["cmdline"] if word not in cmdline]
    return found


def candidate(params: dict[str, Any], record: records.Record | None) -> str | None:
    """The release to boot that is installed already, if there is one."""
    there = facts.installed()
    ours = record.releases if record else ()
    if params["line"] == facts.DISTRIBUTION:
        if record and record.previous in there:
            return record.previous
        return facts.newest([release for release in there if release not in ours])
    fitting = [
        release
        for release in there
        if facts.is_of_line(release, params["line"])
        and (
            not params["preempt"] or facts.preemption(facts.config_of(release), params["cmdline"]) == params["preempt"]
        )
    ]
    # Of several builds of ours the one that was installed last, of others the newest.
    built = [release for release in ours if release in fitting]
    return built[-1] if built else facts.newest(fitting)


def is_kept(params: dict[str, Any], release: str, record: records.Record | None) -> bool:
    """Whether the running kernel is the default and held; for the distribution's, whether nothing of ours is left."""
    left = read_text(records.GRUB)
    if params["line"] == facts.DISTRIBUTION:
        return record is None and left is None
    if os_release().get("ID") not in MANAGED_DISTRIBUTIONS:
        return True
    choice = facts.entry_of(read_text(facts.GRUB_CFG) or "", release)
    held = f"linux-image-{release}" in run(["apt-mark", "showhold"]).split()
    return choice is not None and held and left == records.grub_defaults(choice, params["cmdline"])


def obstacles(params: dict[str, Any], action: str, target: str | None) -> Iterator[Problem]:
    """Why the role cannot bring the node there; everything at once."""
    if os.path.exists("/run/systemd/container"):
        what = "The node shares its kernel with the machine it runs on, so no kernel can be installed there."
        yield {"what": what, "where": "kernel_line", "hint": "Use a vm or metal lab, or leave kernel_line empty."}
        return
    for word in records.unfit(params["cmdline"]):
        what = "A word of the kernel's command line cannot reach a kernel through GRUB."
        hint = "Write one word of ASCII characters, without blanks, quotes and backslashes."
        yield {"what": what, "where": "kernel_cmdline", "seen": ascii(word), "hint": hint}
    if read_text(facts.GRUB_CFG) is None:
        what = "The node does not boot through GRUB, the only boot loader that the role knows."
        yield {"what": what, "where": facts.GRUB_CFG, "hint": "Install the kernel by hand: kernel_managed: false"}
    if action == "install":
        yield from install_obstacles(params)
    if params["line"] == facts.DISTRIBUTION and target is None:
        what = "No kernel of the distribution is installed any more."
        yield {"what": what, "where": "/boot", "hint": "On the node: apt-get install linux-image-amd64"}


def install_obstacles(params: dict[str, Any]) -> Iterator[Problem]:
    """Why nothing can be installed."""
    system = os_release()
    if system.get("ID") not in MANAGED_DISTRIBUTIONS:
        seen = system.get("PRETTY_NAME", "no /etc/os-release")
        what = "The role installs kernels on Debian only."
        yield {"what": what, "seen": seen, "hint": "Install it by hand: kernel_managed: false verifies it."}
    if params["line"] not in params["lines"] and params["line"] != facts.DISTRIBUTION:
        known = ", ".join(params["lines"])
        what = f"No Debian release is known to carry the kernel line {params['line']}."
        yield {"what": what, "where": "kernel_line", "seen": f"known: {known}", "hint": "Choose one of them."}
    if params["method"] == "source" and facts.secure_boot():
        what = "Secure Boot is on: the firmware will not start a kernel that nobody signed."
        hint = "Switch it off in the firmware, or use kernel_method: package, whose kernels Debian signs."
        yield {"what": what, "where": "kernel_method: source", "hint": hint}
    for directory, name in (("/boot", "kernel_room_boot_mib"), ("/lib/modules", "kernel_room_modules_mib")):
        wanted = params[name.replace("kernel_", "")]
        free = facts.free_mib(directory)
        if free < wanted:
            what = f"There is too little room for a kernel in {directory}."
            hint = f"Remove old kernels (apt-get autoremove --purge), or lower {name} if you know better."
            yield {"what": what, "where": directory, "seen": f"{free} MiB free, {wanted} wanted", "hint": hint}


def may_not(params: dict[str, Any], lacking: list[str], action: str, target: str | None) -> Iterator[Problem]:
    """Why the role may not do it."""
    seen = "; ".join(lacking)
    if not params["managed"]:
        what = "The node does not run the kernel that the lab wants, and labctl is not to change it."
        yield {"what": what, "where": "kernel_managed: false", "seen": seen, "hint": "Boot the wanted one."}
    elif not params["allow_reboot"]:
        deed = (
            f"install a kernel of the line {params['line']} and reboot"
            if action == "install"
            else f"reboot into {target}"
        )
        what = f"The node does not run the kernel that the lab wants. labctl would {deed}, and may not reboot."
        yield {"what": what, "where": "kernel_line", "seen": seen, "hint": "labctl provision --allow-reboot"}


def came_back(params: dict[str, Any], release: str, boot: str, lacking: list[str]) -> Iterator[Problem]:
    """What is wrong after a reboot."""
    hint = "It is left on the kernel that works. Its console says why the other did not come up; then provision again."
    if boot == params["booted_from"]:
        yield {"what": "The node did not reboot.", "seen": f"still boot {boot}", "hint": "Look at its console."}
    elif lacking:
        what = f"The node came back, but on {release}: the wanted kernel was tried once, and did not stay up."
        yield {"what": what, "seen": "; ".join(lacking), "hint": hint}


def state(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    release, cmdline, record, boot = os.uname().release, facts.cmdline(), records.load(), boot_id()
    lacking = differences(params, release, cmdline, record.releases if record else ())
    action, target = "none", release
    if params["booted_from"]:
        refuse(came_back(params, release, boot, lacking))
    elif lacking:
        found = candidate(params, record)
        action = "boot" if found else "install"
        problems = list(may_not(params, lacking, action, found)) if not check_mode or not params["managed"] else []
        problems += obstacles(params, action, found) if params["managed"] else []
        refuse(problems)
        target = found or ""
    if not lacking and params["managed"] and not is_kept(params, release, record):
        action = "keep"
    version = read_text("/proc/version") or ""
    found_state = {"release": release, "version": version, "boot": boot, "lacking": lacking}
    return {"changed": False, "action": action, "target": target, **found_state}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "line": {"type": "str", "required": True},
            "preempt": {"type": "str", "default": ""},
            "cmdline": {"type": "list", "elements": "str", "default": []},
            "managed": {"type": "bool", "required": True},
            "allow_reboot": {"type": "bool", "required": True},
            "method": {"type": "str", "required": True},
            "lines": {"type": "dict", "required": True},
            "room_boot_mib": {"type": "int", "required": True},
            "room_modules_mib": {"type": "int", "required": True},
            "booted_from": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: state(module.params, module.check_mode))


if __name__ == "__main__":
    main()
