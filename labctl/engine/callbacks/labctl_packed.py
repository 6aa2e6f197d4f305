"""Callback plugin: what Ansible packed of a module serves later playbooks too.

To run a module, Ansible packs it with everything that it imports, which takes 0.15 to 0.3 s, and keeps that until the
playbook ends. Every visit starts one, and would pack the same modules again. So they are kept in the user's cache, in
a directory whose name follows from all that can be packed: other code, or another Ansible, has another.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ansible import constants as C  # noqa: N812  (Ansible's own name for it)
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__

from labctl.core import paths, trust

DOCUMENTATION = """
    name: labctl_packed
    type: aggregate
    short_description: keeps packed modules for the next playbook
    description: Lets Ansible keep the modules that it packed in the cache of whoever runs it.
"""

UNUSED_S = 7 * 86400  # after that what was packed of other code goes


def sources() -> Iterator[Path]:
    """Every file that Ansible may pack beside its own: of the roles, and of the user's modules."""
    for role in map(Path, C.DEFAULT_ROLES_PATH):
        yield from role.glob("*/library/**/*.py")
        yield from role.glob("*/module_utils/**/*.py")
    for own in map(Path, (*C.DEFAULT_MODULE_PATH, *C.DEFAULT_MODULE_UTILS_PATH)):
        yield from own.rglob("*.py")


def name() -> str:
    """The name of the directory for what can be packed now."""
    stats = [(str(path), path.stat()) for path in sorted(sources())]
    files = [(path, seen.st_size, seen.st_mtime_ns) for path, seen in stats]
    return hashlib.sha256(repr((__version__, sys.version, files)).encode()).hexdigest()[:16]


def kept() -> Path:
    """The directory, there and marked as in use; those that nobody used for long are removed."""
    cache = paths.user_cache_dir() / "packed"
    directory = cache / name()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if doubt := trust.distrusted(directory):  # what is packed runs on the nodes
        raise RuntimeError(doubt)
    os.utime(directory)
    for other in cache.iterdir():
        if time.time() - other.stat().st_mtime > UNUSED_S:
            shutil.rmtree(other, ignore_errors=True)  # a second playbook may remove it as well
    return directory


class CallbackModule(CallbackBase):
    """Takes effect by being loaded."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "labctl_packed"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        try:
            directory = kept()
        except (OSError, RuntimeError) as error:  # without a home to keep it in, each playbook packs for itself
            self._display.v(f"packed modules are not kept: {error}")
            return
        # Ansible looks for them here, and removes no more than the link at its end.
        (Path(C.DEFAULT_LOCAL_TMP) / "ansiballz_cache").symlink_to(directory)
