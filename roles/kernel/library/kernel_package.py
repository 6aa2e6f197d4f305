#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_package
short_description: A kernel is installed, and the old one stays the default
description:
  - Finishes what an interrupted dpkg left, adds the archive (pinned, so that nothing else comes from it), and installs.
    GRUB is told to go on booting what runs now before the package's own scripts call it.
options:
  line: {type: str, required: true, description: Kernel line such as 5.10.}
  suite: {type: str, default: "", description: Debian release that carries the line.}
  archive: {type: str, default: "", description: URI of its archive; empty for the node's own.}
  keyring: {type: path, required: true, description: Keyring of the archive.}
  deb: {type: path, default: "", description: "A package to install instead, on the node."}
  preempt: {type: str, default: "", description: Preemption model that it must have.}
  cmdline: {type: list, elements: str, default: [], description: Words for the kernel command line.}
author: labctl
"""

RETURN = r"""
release: {type: str, description: "The release that is installed, as uname -r will say it."}
package: {type: str, description: Its package.}
"""

import os
import re
from typing import Any

from ansible.module_utils import kernel_facts as facts
from ansible.module_utils import kernel_record as records
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kernel_grub import set_default
from ansible.module_utils.labctl_node.files import write_text
from ansible.module_utils.labctl_node.machine import os_release
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run

# Another dpkg (unattended upgrades, or our own after SSH was lost) is waited for, as long as a slow machine may take.
APT = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=1800", "-o", "Dpkg::Options::=--force-confold"]
PRIORITY = 100  # below what the release of the node has: nothing comes from there that is not named


def architecture() -> str:
    return run(["dpkg", "--print-architecture"]).strip()


# What Debian calls its releases by their age: a node that has one has its own release by it.
AGES = ("stable", "oldstable", "oldoldstable", "testing", "unstable", "sid")


def own_archive(codename: str) -> str | None:
    """The URI that the node's apt has the main suite of its release from; no index need have been fetched."""
    fields = "$(RELEASE) $(COMPONENT) $(SITE)"
    question = ["apt-get", "indextargets", "--no-release-info", "--format", fields, "Created-By: Packages"]
    return archive_of(codename, [line.split(" ") for line in run(question).splitlines()])


def archive_of(codename: str, rows: list[list[str]]) -> str | None:
    """The first site whose suite is the release, by its name or its age, among rows of suite, component and site."""
    sites = {suite: site for suite, component, site in reversed(rows) if component == "main"}
    return next((sites[suite] for suite in (codename, *AGES) if suite in sites), None)


def newest_of(line: str, arch: str, names: list[str]) -> str | None:
    """The newest release of a line among package names such as linux-image-5.10.0-32-amd64.

    After the version come parts that begin with a digit, or nothing: words are flavours (cloud, rt).
    """
    pattern = rf"linux-image-({re.escape(line)}(?!\d)[^-]*(?:-\d[^-]*)*-{arch})$"
    return facts.newest([found[1] for found in (re.match(pattern, name) for name in names) if found])


def pinned(suite: str) -> str:
    return f"# Written by labctl (role kernel).\nPackage: *\nPin: release n={suite}*\nPin-Priority: {PRIORITY}\n"


def offered(line: str) -> str | None:
    names = run(["apt-cache", "pkgnames", f"linux-image-{line}"]).split()
    return newest_of(line, architecture(), names)


def from_archive(params: dict[str, Any]) -> str:
    """The newest release of the line that the archive has, its index fetched. Raises Refused where there is none."""
    codename, suite = os_release().get("VERSION_CODENAME", ""), params["suite"]
    archive = params["archive"] or own_archive(codename)
    if archive is None:
        what = f"The node's apt has no source of {codename}, so it is not known where {suite} is to be had."
        raise Refused(what, where="kernel_archive", hint="Set kernel_archive to the archive of that release.")
    # The support of an old release has ended, and with it the renewal of its index; its signature is checked as ever.
    options = f"signed-by={params['keyring']} check-valid-until=no"
    write_text(records.SOURCE, f"# Written by labctl (role kernel).\ndeb [{options}] {archive} {suite} main\n")
    write_text(records.PREFERENCES, pinned(suite))
    only_this = ["-o", f"Dir::Etc::sourcelist={records.SOURCE}", "-o", "Dir::Etc::sourceparts=-"]
    lean = ["-o", "APT::Get::List-Cleanup=false", "-o", "Acquire::Languages=none"]
    try:
        run([*APT, *only_this, *lean, "--error-on=any", "update"])
    except Refused as failed:
        os.unlink(records.SOURCE)
        hint = (
            f"Does the archive still carry {suite}? Set kernel_archive, to https://archive.debian.org/debian for one."
        )
        first = failed.problems[0]
        what = f"The archive of {suite} cannot be read."
        raise Refused(what, where="kernel_archive", seen=first.get("seen", ""), hint=hint) from failed
    release = offered(params["line"])
    if release is None:
        what = f"The archive has no kernel of the line {params['line']} for {architecture()}."
        raise Refused(
            what,
            where=f"kernel_line, {suite}",
            hint="Choose another line, or kernel_method: source.",
        )
    return release


def refuse_other_model(release: str, wanted: str, cmdline: list[str]) -> None:
    """Before anything is rebooted: what was installed must be what is wanted."""
    model = facts.preemption(facts.config_of(release), cmdline)
    if wanted and model != wanted:
        what = f"The kernel {release} is built with the preemption model {model or 'unknown'}, and {wanted} is wanted."
        hint = "kernel_method: source builds it with the wanted one; or leave kernel_preempt empty."
        raise Refused(what, where="kernel_preempt", seen=f"/boot/config-{release}", hint=hint)


def install(params: dict[str, Any]) -> dict[str, Any]:
    if run(["dpkg", "--audit"]).strip():  # of a provision that was cut short
        run(["dpkg", "--configure", "-a", "--force-confold"])
    if params["deb"]:
        package = run(["dpkg-deb", "--field", params["deb"], "Package"]).strip()
        release, what = package[len("linux-image-") :], params["deb"]
    else:
        release = from_archive(params)
        package = what = f"linux-image-{release}"
    running = os.uname().release
    records.add(running, release, package)
    set_default(running, params["cmdline"], update=False)  # the package's own script calls update-grub
    run(["env", "DEBIAN_FRONTEND=noninteractive", *APT, "--no-install-recommends", "install", what])
    refuse_other_model(release, params["preempt"], params["cmdline"])
    return {"changed": True, "release": release, "package": package}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "line": {"type": "str", "required": True},
            "suite": {"type": "str", "default": ""},
            "archive": {"type": "str", "default": ""},
            "keyring": {"type": "path", "required": True, "no_log": False},
            "deb": {"type": "path", "default": ""},
            "preempt": {"type": "str", "default": ""},
            "cmdline": {"type": "list", "elements": "str", "default": []},
        },
    )
    finish(module, lambda: install(module.params))


if __name__ == "__main__":
    main()
