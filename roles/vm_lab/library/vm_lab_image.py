#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_lab_image
short_description: A disk image that boots by itself, made of a tree
description:
  - One ext4 file system in one partition, filled by mke2fs from the tree, and GRUB in front of it. Takes no loop
    device, mount or device mapper.
options:
  cache_dir: {type: path, required: true, description: Where images are kept.}
  tree: {type: path, required: true, description: Directory of the tree; its name says what is in it.}
  disk_gib: {type: int, required: true, description: Size of the disk.}
  owner: {type: int, default: 0, description: "User id that runs QEMU, and alone reads the image."}
author: labctl
"""

RETURN = r"""
image: {type: str, description: "The image, raw and sparse."}
kernel: {type: str, description: "The kernel it boots, as a file of the host."}
seconds: {type: float, description: How long it took; 0.0 from the cache.}
"""

import glob
import hashlib
import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.files import close_directory, remove_file, seconds_to_make
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run

FORMAT = 1
SECTOR = 512
PARTITION_SECTOR = 2048
GRUB = "boot/grub/i386-pc"
# Named one by one: what mke2fs enables by itself differs from host to host, and older kernels refuse the latest.
FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize,metadata_csum"
)


def build(tree: str, image: str, disk_gib: int) -> None:
    """Write the image, sparse, and beside it the kernel; only a whole image gets its name."""
    remove_file(f"{image}.building")  # of a build that was killed
    shutil.copyfile(kernel_of(tree), f"{image}.vmlinuz")
    write(tree, f"{image}.building", disk_gib)
    os.rename(f"{image}.building", image)


def write(tree: str, image: str, disk_gib: int) -> None:
    size = disk_gib << 30
    offset = PARTITION_SECTOR * SECTOR
    with open(image, "wb") as file:
        file.truncate(size)
    run(["sfdisk", "--quiet", image], stdin=f"label: dos\nstart={PARTITION_SECTOR}, type=83, bootable\n")
    options = ["-q", "-F", "-t", "ext4", "-L", "rootfs", "-O", FEATURES, "-E", f"offset={offset}", "-d", tree]
    run(["mke2fs", *options, image, f"{(size - offset) >> 10}k"])
    with open(os.path.join(tree, GRUB, "boot.img"), "rb") as file:
        boot = file.read()[:440]  # what follows is the partition table
    with open(os.path.join(tree, GRUB, "core.img"), "rb") as file:
        core = file.read()
    if len(core) > (PARTITION_SECTOR - 1) * SECTOR:
        raise Refused("GRUB does not fit in front of the partition.", seen=f"{len(core)} bytes")
    with open(image, "r+b") as file:
        file.write(boot)
        file.seek(SECTOR)
        file.write(core)


def kernel_of(tree: str) -> str:
    found = sorted(glob.glob(os.path.join(tree, "boot", "vmlinuz-*")))
    if not found:
        raise Refused("The tree has no kernel.", where=tree, hint="vm_lab_packages has to name one.")
    return found[-1]


def provide(cache_dir: str, tree: str, disk_gib: int, owner: int) -> dict[str, Any]:
    inputs = f"{FORMAT} {os.path.basename(tree)} {disk_gib} {FEATURES}"
    key = hashlib.sha256(inputs.encode()).hexdigest()[:16]
    mine = f"-{owner}" if owner else ""
    images = os.path.join(cache_dir, "images")
    image = os.path.join(images, f"{os.path.basename(tree).split('-')[0]}-{key}{mine}.raw")
    for directory in (cache_dir, images):
        close_directory(directory, way=owner != 0)
    seconds = seconds_to_make(image, lambda: build(tree, image, disk_gib))
    for path in (image, f"{image}.vmlinuz"):
        os.chmod(path, 0o600)
        os.chown(path, owner, -1)
    changed = seconds is not None
    return {"changed": changed, "image": image, "kernel": f"{image}.vmlinuz", "seconds": seconds or 0.0}


def main() -> None:
    os.umask(0o077)
    module = AnsibleModule(
        argument_spec={
            "cache_dir": {"type": "path", "required": True},
            "tree": {"type": "path", "required": True},
            "disk_gib": {"type": "int", "required": True},
            "owner": {"type": "int", "default": 0},
        },
    )
    finish(module, lambda: provide(**module.params))


if __name__ == "__main__":
    main()
