#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_build
short_description: A kernel package built from source, or taken from the cache
description:
  - Compiles in a chroot of the builder's tree, below a mount namespace of its own, and fails where a line of the
    configuration did not survive what it depends on.
options:
  tree: {type: path, required: true, description: Debian tree with compiler and sources.}
  cache_dir: {type: path, required: true, description: "Where packages are kept, below kernels/."}
  line: {type: str, required: true, description: Kernel line such as 5.10.}
  tarball: {type: path, default: "", description: Sources instead of the tree's package linux-source-LINE.}
  base: {type: str, required: true, description: distribution or guest.}
  guest_config: {type: list, elements: str, required: true, description: Lines for the base guest.}
  fragment: {type: list, elements: str, default: [], description: Lines on top.}
  preempt: {type: str, required: true, description: "none, voluntary or full."}
  jobs: {type: int, default: 0, description: Processes of make; 0 is one per CPU thread.}
author: labctl
"""

RETURN = r"""
deb: {type: str, description: Path of the package.}
release: {type: str, description: What uname -r will say.}
seconds: {type: float, description: How long the build took; 0.0 from the cache.}
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kernel_facts import MODELS, parse_config
from ansible.module_utils.labctl_node.files import (
    close_directory,
    last_lines,
    read_text,
    seconds_to_make,
    sha256_of,
    write_text,
)
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run

# Run inside the tree; what it needs comes in the environment. bindeb-pkg makes the packages that Debian's tools know.
CONFIGURE = r"""
cd /build/linux
case $BASE in
distribution) xz -dc "/usr/src/linux-config-$LINE/config.${DEB_ARCH}_none_${DEB_ARCH}.xz" > .config ;;
guest) make -s defconfig kvm_guest.config ;;
esac
scripts/kconfig/merge_config.sh -m -r .config /build/fragment
make -s olddefconfig
make -s kernelrelease
"""
COMPILE = 'cd /build/linux && make -s -j"$JOBS" bindeb-pkg DPKG_FLAGS=-d KDEB_PKGVERSION=1'


def fragment(params: dict[str, Any], key: str) -> list[str]:
    """The lines that go on top of the base, ours last."""
    models = [f"{option}=y" if model == params["preempt"] else f"{option}=n" for option, model in MODELS.items()]
    # Signing keys of the distribution are not ours, and debug symbols cost more than the rest of the build.
    own = ['CONFIG_SYSTEM_TRUSTED_KEYS=""', "CONFIG_DEBUG_INFO=n", f'CONFIG_LOCALVERSION="-labctl-{key}"', *models]
    base = params["guest_config"] if params["base"] == "guest" else []
    return [line for line in (*base, *params["fragment"], *own) if line.startswith("CONFIG_")]


def lost(wanted: list[str], config: dict[str, str]) -> list[str]:
    """The lines of a fragment that the finished configuration does not have, with what it has instead."""
    found = []
    for name, value in dict(line.split("=", 1) for line in wanted).items():
        seen = config.get(name, "n")
        if seen != value:
            found.append(f"{name} is {seen}, not {value}")
    return found


def source_identity(params: dict[str, Any]) -> str:
    """What tells one source from another: the version of the package, or a hash of the tarball."""
    if not params["tarball"]:
        question = [
            "dpkg-query",
            f"--admindir={params['tree']}/var/lib/dpkg",
            "--show",
            f"linux-source-{params['line']}",
        ]
        return run(question).strip()
    try:
        return sha256_of(params["tarball"])
    except OSError as error:
        what = "The tarball of the kernel's sources cannot be read."
        where = f"kernel_source_tarball: {params['tarball']}"
        raise Refused(what, where=where, seen=str(error.strerror)) from error


def inside(params: dict[str, Any], work: str, script: str, log: str, **environment: str) -> str:
    """Run a script inside the tree, `work` mounted at /build; return its output. Raises Refused with the log's end."""
    mounts = 'mount --bind "$WORK" "$TREE/build" && mount -t proc proc "$TREE/proc" && mount --bind /dev "$TREE/dev"'
    words = {"WORK": work, "TREE": params["tree"], "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment}
    os.makedirs(os.path.join(params["tree"], "build"), exist_ok=True)
    chroot = f"{mounts} && exec chroot \"$TREE\" sh -euc '{script}'"
    with open(log, "ab") as file:
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", chroot],
            env={**words, "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            check=False,
        )
    if done.returncode != 0:
        what = f"The kernel could not be built (exit code {done.returncode})."
        raise Refused(what, where=log, seen=last_lines(log), hint="Correct kernel_source_*; provision again.")
    return done.stdout.decode()


def unpack(params: dict[str, Any], work: str) -> None:
    tarball = params["tarball"] or f"{params['tree']}/usr/src/linux-source-{params['line']}.tar.xz"
    os.makedirs(f"{work}/linux")
    run(["tar", "--extract", "--file", tarball, "--directory", f"{work}/linux", "--strip-components=1"])


def build(params: dict[str, Any], wanted: list[str], folder: str) -> None:
    """Build into a name beside the folder; only a whole package gets there."""
    work, log = f"{folder}.building", f"{folder}.log"
    shutil.rmtree(work, ignore_errors=True)  # of a build that was killed
    unpack(params, work)
    write_text(f"{work}/fragment", "\n".join(wanted) + "\n")
    arch = run(["dpkg", "--print-architecture"]).strip()
    inside(params, work, CONFIGURE, log, BASE=params["base"], LINE=params["line"], DEB_ARCH=arch)
    missing = lost(wanted, parse_config(read_text(f"{work}/linux/.config") or ""))
    if missing:
        what = "The kernel's configuration does not keep what was asked of it: an option needs another one, or is gone."
        raise Refused(what, where="kernel_source_fragment", seen="; ".join(missing))
    inside(params, work, COMPILE, log, JOBS=str(params["jobs"] or os.cpu_count()))
    os.makedirs(f"{work}/done")
    for name in os.listdir(work):
        if re.match(r"linux-image-[^_]*_.*\.deb$", name) and "-dbg_" not in name:
            os.rename(f"{work}/{name}", f"{work}/done/{name}")
    shutil.copy(f"{work}/linux/.config", f"{work}/done/config")
    os.rename(f"{work}/done", folder)
    shutil.rmtree(work)


def provide(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    inputs = [source_identity(params), params["line"], params["base"], fragment(params, "")]
    key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:8]
    folder = os.path.join(params["cache_dir"], "kernels", f"{params['line']}-{key}")
    if check_mode and not os.path.isdir(folder):
        return {"changed": True, "deb": "", "release": "", "seconds": 0.0}
    close_directory(params["cache_dir"], way=True)  # the package is read by whoever runs Ansible
    seconds = seconds_to_make(folder, lambda: build(params, fragment(params, key), folder))
    (name,) = [name for name in os.listdir(folder) if name.endswith(".deb")]
    release = name.split("_")[0][len("linux-image-") :]
    changed = seconds is not None
    return {"changed": changed, "deb": f"{folder}/{name}", "release": release, "seconds": seconds or 0.0}


def main() -> None:
    os.umask(0o022)
    module = AnsibleModule(
        argument_spec={
            "tree": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "line": {"type": "str", "required": True},
            "tarball": {"type": "path", "default": ""},
            "base": {"type": "str", "required": True},
            "guest_config": {"type": "list", "elements": "str", "required": True},
            "fragment": {"type": "list", "elements": "str", "default": []},
            "preempt": {"type": "str", "required": True},
            "jobs": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: provide(module.params, module.check_mode))


if __name__ == "__main__":
    main()
