#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: netperf_image
short_description: Pack the node's netperf into an image and import it into the node's containerd
description:
  - The image holds netperf, netserver and python3 of this node with all libraries that they need.
    What runs in a pod is the very program that runs on the node. No registry is asked for anything.
  - The archive stays on the node. An image that is the same already is not imported again.
options:
  name: {type: str, required: true, description: "Whole reference of the image, with its tag."}
  archive: {type: path, required: true, description: Where the archive (OCI image layout) is written.}
  namespace: {type: str, default: k8s.io, description: Namespace of containerd that kubelet looks in.}
author: labctl
"""

RETURN = r"""
digest: {description: Digest of the image's manifest., type: str, returned: always}
"""

import os
import platform
import shutil
import sysconfig
from typing import Dict, Iterable, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run
from ansible.module_utils.netperf_pods_oci import PATH, image, write

PROGRAMS = ("netperf", "netserver", "python3")
# Parts of Python's library that no helper of ours needs.
LEFT_OUT = ("__pycache__", "test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3", "pydoc_data", "turtledemo")
LEFT_OUT_PREFIXES = ("config-", "dist-packages", "site-packages")


def program(name: str) -> str:
    """Return where a program of this node is."""
    found: Optional[str] = shutil.which(name, path=PATH)
    if found is None:
        raise Refused(f"{name} is not installed on this node.", where=PATH, hint="Run `labctl provision` first.")
    return found


def libraries(binaries: Iterable[str]) -> List[str]:
    """Return the shared libraries that these are linked to, the loader among them."""
    found: "set[str]" = set()
    for line in run(["ldd", *binaries]).splitlines():
        words = line.split()
        # `libm.so.6 => /lib/.../libm.so.6 (0x...)`, and of the loader `/lib64/ld-linux-x86-64.so.2 (0x...)`
        if "not found" in line:
            raise Refused("A library is missing on this node.", seen=line.strip(), hint="Install its package.")
        found.update(word for word in words[-2:-1] if word.startswith("/"))
    return sorted(found)


def python_library() -> List[str]:
    """Return the files of Python's own library."""
    found = []
    for directory, below, names in os.walk(sysconfig.get_path("stdlib")):
        below[:] = [name for name in below if name not in LEFT_OUT and not name.startswith(LEFT_OUT_PREFIXES)]
        found += [os.path.join(directory, name) for name in names]
    return [path for path in found if os.path.isfile(path)]


def contents() -> Dict[str, str]:
    """Return the image's files: path in the image to path on this node."""
    programs = {f"/usr/bin/{name}": program(name) for name in PROGRAMS}
    library = python_library()
    linked = [*programs.values(), *(path for path in library if path.endswith(".so"))]
    return {**{path: path for path in (*library, *libraries(linked))}, **programs}


def imported(namespace: str, name: str) -> Optional[str]:
    """Return the digest of the image that containerd has under this name, None when it has none."""
    for line in run(["ctr", "--namespace", namespace, "images", "list", f"name=={name}"]).splitlines()[1:]:
        return line.split()[2]
    return None


def act(module: AnsibleModule) -> Dict[str, object]:
    """Bring the image into containerd and return the task's result."""
    wanted = module.params
    blobs, manifest = image(contents(), platform.machine(), ["netserver"])
    digest = str(manifest["digest"])
    fits = imported(wanted["namespace"], wanted["name"]) == digest and os.path.exists(wanted["archive"])
    if not fits and not module.check_mode:
        os.makedirs(os.path.dirname(wanted["archive"]), exist_ok=True)
        write(wanted["archive"], wanted["name"], blobs, manifest)
        run(["ctr", "--namespace", wanted["namespace"], "images", "import", wanted["archive"]])
        seen = imported(wanted["namespace"], wanted["name"])
        if seen != digest:
            raise Refused(
                f"{wanted['name']} was imported with digest {digest}, and containerd has another.", seen=f"{seen}"
            )
    return {"changed": not fits, "digest": digest}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "archive": {"type": "path", "required": True},
            "namespace": {"type": "str", "default": "k8s.io"},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: act(module))


if __name__ == "__main__":
    main()
