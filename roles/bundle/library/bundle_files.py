#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_files
short_description: Files of a bundle are installed on a node, or gone
description:
  - Wanted, says which of the files the node does not have as they are in the bundle; changes nothing.
  - Present, installs those that lie in the staging directory under their names, and removes them there.
  - Absent, removes everything that was ever installed by this module, images apart (they go with containerd's data).
options:
  state: {type: str, choices: [wanted, present, absent], required: true, description: What is asked for.}
  files:
    type: list
    elements: dict
    default: []
    description: Entries of a bundle's index (name, use, sha256, reference), each with dest, a directory of the node.
  staged: {type: path, default: /var/lib/labctl/bundle/staged, description: Where files arrive.}
  records: {type: path, default: /var/lib/labctl/bundle, description: Where it is kept what was installed.}
author: labctl
"""

RETURN = r"""
wanted: {type: list, description: The files that the node lacks.}
done: {type: list, description: "Names of the files that were installed, or paths that were removed."}
"""

import contextlib
import lzma
import os
import re
import shutil
import tarfile
import zlib
from typing import IO, Any, Iterator, cast

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.files import read_json, sha256_of, write_json
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run

CTR = ("ctr", "--namespace", "k8s.io")
BLOCK = 1 << 20
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")  # it becomes part of paths
AGAIN = "Make the bundle again: `labctl bundle create`."


def record_path(records: str, file: dict[str, Any]) -> str:
    return os.path.join(records, f"{file['use']}-{file['name']}.json")


def recorded(path: str) -> dict[str, Any]:
    return read_json(path) or {}


def images() -> set[str]:
    """References of the images that containerd has."""
    return set(run([*CTR, "images", "list", "--quiet"]).split())


def wanted(params: dict[str, Any]) -> list[dict[str, Any]]:
    """The files that are not installed, or not from this content."""
    for file in params["files"]:
        if not NAME.fullmatch(file["name"]):
            raise Refused("This cannot be the name of a file of a bundle.", seen=ascii(file["name"]), hint=AGAIN)
    there = images() if any(file["use"] == "image" for file in params["files"]) else set()
    lacking = []
    for file in params["files"]:
        record = recorded(record_path(params["records"], file))
        whole = all(os.path.lexists(path) for path in record.get("paths", []))
        if file["use"] == "image":
            whole = file["reference"] in there
        if record.get("sha256") != file["sha256"] or not whole:
            lacking.append(file)
    return lacking


def make_directory(path: str) -> list[str]:
    """Make a directory with those above it; returns the ones that were not there."""
    made: list[str] = []
    while not os.path.isdir(path):
        made.append(path)
        path = os.path.dirname(path)
    for directory in reversed(made):
        os.mkdir(directory)
    return made


def install_program(staged: str, file: dict[str, Any]) -> list[str]:
    target = os.path.join(file["dest"], file["name"])
    made = make_directory(file["dest"])
    shutil.copyfile(staged, f"{target}.new")
    os.chmod(f"{target}.new", 0o755)  # noqa: S103 - a program for all
    os.replace(f"{target}.new", target)  # a program that runs cannot be written, but replaced
    return [*made, target]


@contextlib.contextmanager
def opened(staged: str, file: dict[str, Any]) -> Iterator[tarfile.TarFile]:
    """Open an archive; one that cannot be read to its end is refused."""
    try:
        with tarfile.open(staged) as archive:
            yield archive
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise Refused("An archive cannot be unpacked.", where=file["name"], seen=str(error), hint=AGAIN) from error


def unpack(staged: str, file: dict[str, Any]) -> list[str]:
    """Unpack the regular files of an archive; anything else, or a way out of the directory, is refused beforehand."""
    with opened(staged, file) as archive:
        members = [member for member in archive if not member.isdir()]
        for member in members:
            name = os.path.normpath(member.name)
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or name.startswith(("/", "..")):
                raise Refused("An archive holds what it should not.", where=file["name"], seen=member.name, hint=AGAIN)
        paths = []
        for member in members:
            target = os.path.join(file["dest"], os.path.normpath(member.name))
            paths += make_directory(os.path.dirname(target))
            with open(f"{target}.new", "wb") as out:
                shutil.copyfileobj(cast("IO[bytes]", archive.extractfile(member)), out, BLOCK)
                os.fchmod(out.fileno(), 0o755 if member.mode & 0o111 else 0o644)
            os.replace(f"{target}.new", target)
            paths.append(target)
    return paths


def import_image(staged: str, file: dict[str, Any]) -> list[str]:
    run([*CTR, "images", "import", staged])
    if file["reference"] not in images():
        raise Refused(
            f"The archive of the image {file['name']} holds another image.",
            where=file["name"],
            seen=f"{file['reference']} is not there after its import",
            hint=AGAIN,
        )
    return []


INSTALL = {"program": install_program, "archive": unpack, "image": import_image}


def present(params: dict[str, Any]) -> list[str]:
    """Install what is wanted, each file checked once more: it came over a network."""
    done = []
    for file in wanted(params):
        staged = os.path.join(params["staged"], file["name"])
        seen = sha256_of(staged) if os.path.isfile(staged) and not os.path.islink(staged) else "no file"
        if seen != file["sha256"]:
            raise Refused(
                f"{file['name']} did not arrive on the node as it is in the bundle.",
                where=staged,
                seen=f"SHA-256 {seen}, in the bundle {file['sha256']}",
                hint="Is there room on the node? `labctl bundle verify` checks the bundle.",
            )
        path = record_path(params["records"], file)
        earlier = recorded(path).get("paths", [])
        paths = INSTALL[file["use"]](staged, file)
        # Of an earlier version nothing stays that this one does not have: a chart takes every template that it finds.
        for gone in set(earlier) - set(paths):
            if os.path.isfile(gone) or os.path.islink(gone):
                os.unlink(gone)
        kept = [known for known in earlier if os.path.isdir(known)]
        record = {"name": file["name"], "sha256": file["sha256"], "version": file["version"], "paths": kept + paths}
        write_json(path, record)
        os.unlink(staged)
        done.append(file["name"])
    return done


def absent(params: dict[str, Any], check_mode: bool) -> list[str]:
    """Remove what the records name, and the records."""
    records = params["records"]
    names = sorted(os.listdir(records)) if os.path.isdir(records) else []
    paths = [
        path
        for name in names
        if name.endswith(".json")
        for path in recorded(os.path.join(records, name))["paths"]
        if os.path.lexists(path)
    ]
    if check_mode:
        return paths
    for path in sorted(paths, key=len, reverse=True):
        if not os.path.isdir(path) or os.path.islink(path):
            os.unlink(path)
            continue
        with contextlib.suppress(OSError):  # others have files there
            os.rmdir(path)
    if os.path.isdir(records):
        shutil.rmtree(records)
    return paths


def answer(module: AnsibleModule) -> dict[str, Any]:
    params, state = module.params, module.params["state"]
    if state == "wanted" or (state == "present" and module.check_mode):
        lacking = wanted(params)
        return {"changed": state == "present" and bool(lacking), "wanted": lacking}
    done = present(params) if state == "present" else absent(params, module.check_mode)
    return {"changed": bool(done), "done": done}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["wanted", "present", "absent"], "required": True},
            "files": {"type": "list", "elements": "dict", "default": []},
            "staged": {"type": "path", "default": "/var/lib/labctl/bundle/staged"},
            "records": {"type": "path", "default": "/var/lib/labctl/bundle"},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: answer(module))


if __name__ == "__main__":
    main()
