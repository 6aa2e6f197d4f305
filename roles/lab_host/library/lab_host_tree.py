#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_host_tree
short_description: The tree that the nodes boot from
description:
  - Builds it with mmdebstrap unless the cache has one made from the same inputs. The archive and the way to it
    (proxy, certificates) are those of the host's own apt. Only root gets to it, there are programs with root's rights.
options:
  cache_dir: {type: path, required: true, description: Where trees are kept.}
  release: {type: str, required: true, description: Code name of the Debian release.}
  mirror: {type: str, default: "", description: URI of the archive instead of the host's.}
  keyring: {type: str, default: "", description: Keyring of the archive instead of Debian's.}
  components: {type: list, elements: str, default: [], description: Components of the archive.}
  packages: {type: list, elements: str, required: true, description: Packages of the tree.}
  customise: {type: list, elements: path, required: true, description: Scripts run as SCRIPT STAGE TREE.}
author: labctl
"""

RETURN = r"""
tree: {type: str, description: Directory of the tree.}
key: {type: str, description: Hash of everything that went into it.}
seconds: {type: float, description: How long the build took; 0.0 from the cache.}
"""

import hashlib
import json
import os
import platform
import shlex
import shutil
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_host_apt import acquire_file, sources
from ansible.module_utils.labctl_node.files import (
    close_directory,
    last_lines,
    remove_file,
    seconds_to_make,
    write_json,
)
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run_while_wanted

# A build that a crash of the host cuts short is thrown away: its files need not be on the disk one by one.
DPKG_OPTIONS = ("force-unsafe-io",)
HOOKS = {"extracted": "extract", "installed": "customize"}


def inputs(params: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides what the tree will hold."""
    scripts = []
    for path in params["customise"]:
        with open(path, encoding="utf-8") as file:
            scripts.append(file.read())
    return {
        "format": 2,
        "machine": platform.machine(),
        "release": params["release"],
        "sources": sources(params["release"], params["mirror"], params["components"], params["cache_dir"]),
        "keyring": params["keyring"],
        "packages": sorted(set(params["packages"])),
        "dpkg": DPKG_OPTIONS,
        "customise": scripts,
    }


def command(wanted: dict[str, Any], params: dict[str, Any], target: str, acquire: str) -> list[str]:
    """The build's command line. How to fetch is in the file `acquire`: a command line is everybody's to read."""
    argv = ["mmdebstrap", "--variant=apt", "--mode=root", "--format=directory"]
    argv += [f"--dpkgopt={option}" for option in wanted["dpkg"]]
    argv.append(f"--aptopt={acquire}")
    if wanted["keyring"]:
        argv.append(f"--keyring={wanted['keyring']}")
    argv.append(f"--components={','.join(wanted['sources']['components'])}")
    argv.append(f"--include={','.join(wanted['packages'])}")
    for stage, hook in HOOKS.items():
        argv += [f'--{hook}-hook=sh {shlex.quote(script)} {stage} "$1"' for script in params["customise"]]
    return [*argv, wanted["release"], target, *wanted["sources"]["lines"]]


def build(wanted: dict[str, Any], params: dict[str, Any], tree: str) -> None:
    """Build into a temporary name beside the tree; only a whole tree gets its name. Raises Refused naming the log."""
    target, log = f"{tree}.building", f"{tree}.log"
    shutil.rmtree(target, ignore_errors=True)  # of a build that was killed
    # Only root reads it, and it is gone with this file: a proxy may want a password.
    with open(log, "w", encoding="utf-8") as file, tempfile.NamedTemporaryFile("w", suffix=".conf") as acquire:
        acquire.write(acquire_file())
        acquire.flush()
        argv = command(wanted, params, target, acquire.name)
        code = run_while_wanted(argv, file)
    if code != 0:
        shutil.rmtree(target, ignore_errors=True)
        raise Refused(
            f"mmdebstrap could not build the nodes' tree (exit code {code}).",
            where=log,
            seen=last_lines(log),
            hint=f"Does the archive serve {wanted['release']}? See the lab's variables for mirror and release; "
            "`apt-get update` on this host shows whether it is reached at all.",
        )
    remove_file(f"{target}/etc/apt/apt.conf.d/99mmdebstrap")  # how the host fetches is no part of the tree
    write_json(f"{tree}.json", wanted)
    os.rename(target, tree)


def provide(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    wanted = inputs(params)
    key = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
    tree = os.path.join(params["cache_dir"], "trees", f"{params['release']}-{key}")
    if check_mode:
        return {"changed": not os.path.isdir(tree), "key": key, "tree": tree, "seconds": 0.0}
    for directory in (params["cache_dir"], os.path.dirname(tree)):
        close_directory(directory)
    seconds = seconds_to_make(tree, lambda: build(wanted, params, tree))
    return {"changed": seconds is not None, "key": key, "tree": tree, "seconds": seconds or 0.0}


def main() -> None:
    os.umask(0o022)  # whoever calls labctl reads the records and the logs
    module = AnsibleModule(
        argument_spec={
            "cache_dir": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "mirror": {"type": "str", "default": ""},
            "keyring": {"type": "str", "default": "", "no_log": False},
            "components": {"type": "list", "elements": "str", "default": []},
            "packages": {"type": "list", "elements": "str", "required": True},
            "customise": {"type": "list", "elements": "path", "required": True},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: provide(module.params, module.check_mode))


if __name__ == "__main__":
    main()
