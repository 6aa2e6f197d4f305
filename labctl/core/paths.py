"""Where things are: the Ansible content, the labs, the runs, the records.

Nothing here creates a directory, and only the current directory and some environment variables are read:
`LABCTL_STATE_DIR` and `LABCTL_CACHE_DIR` move what belongs to the machine and not to a user or a run, `XDG_STATE_HOME`
and `XDG_CACHE_HOME` what belongs to a user.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from labctl.core import trust
from labctl.core.errors import LabctlError, Problem, UsageError

_PACKAGE = Path(__file__).resolve().parent.parent


class UnknownLab(UsageError):
    """There is no inventory of this name or path."""


def content_root() -> Path:
    """Return the directory that holds `playbooks/`, `roles/` and `inventories/`.

    In a wheel that is `labctl/_content`, in a checkout the repository's root. Raises `LabctlError` where
    neither is there, which only a broken installation can do.
    """
    for root in (_PACKAGE / "_content", _PACKAGE.parent):
        if (root / "playbooks").is_dir():
            return root
    raise LabctlError(
        Problem(
            "The playbooks of labctl are not where its package is.",
            where=str(_PACKAGE),
            hint="Install labctl again: `pipx install .` in a checkout, or `make setup` to use it there.",
        )
    )


def resolve_lab(lab: str) -> Path:
    """Return the absolute inventory directory of a lab.

    `lab` is a directory, else the name of one in `./inventories`, else of one that labctl ships. Raises `UnknownLab`
    naming the labs that exist for anything else, and `UsageError` for one that others than root and the caller decide
    on: its files run programs. What is shipped is believed as labctl itself is.
    """
    if lab.strip():
        for candidate in (expanded(lab, "--lab"), *(root / lab for root in _lab_roots())):
            if trust.is_directory(candidate):
                if not candidate.resolve().is_relative_to(content_root()):
                    trust.require_trusted_tree("the lab's inventory", candidate)
                return candidate.resolve()
    known = known_labs()
    raise UnknownLab(
        Problem(
            f"There is no lab {lab!r}.",
            where=" and ".join(str(root) for root in _lab_roots()),
            seen="A file: a lab is an inventory directory." if os.path.isfile(lab) else None,  # noqa: PTH113
            hint=f"Name one of {', '.join(known)}, or give the path of an inventory directory.",
        )
    )


def known_labs() -> tuple[str, ...]:
    """Return the names that `resolve_lab` knows from here, sorted."""
    found: set[str] = set()
    for root in _lab_roots():
        with suppress(OSError):  # one that cannot be listed has no lab for this user
            found |= {entry.name for entry in root.iterdir() if trust.is_directory(entry)}
    return tuple(sorted(found))


def require_working_directory() -> None:
    """Raise UsageError where the current directory was removed: `./runs` and relative paths mean nothing then."""
    try:
        Path.cwd()
    except FileNotFoundError:
        hint = "change to a directory that exists: cd"
        raise UsageError(Problem("the current directory does not exist any more", hint=hint)) from None


def runs_dir() -> Path:
    """Return the directory of the runs: `./runs`, absolute. It may not exist yet."""
    return Path.cwd() / "runs"


def state_dir() -> Path:
    """Return the directory of the records that say which lab owns what on this machine."""
    return expanded(os.environ.get("LABCTL_STATE_DIR") or "/var/lib/labctl", "LABCTL_STATE_DIR").absolute()


def cache_dir() -> Path:
    """Return the directory of the trees and images that labs on this machine are made of."""
    return expanded(os.environ.get("LABCTL_CACHE_DIR") or "/var/cache/labctl", "LABCTL_CACHE_DIR").absolute()


def user_cache_dir() -> Path:
    """Return the directory of what labctl and Ansible make for this user and use again."""
    return _of_user("XDG_CACHE_HOME", "~/.cache")


def user_state_dir() -> Path:
    """Return the directory of what labctl remembers for this user: it needs no root."""
    return _of_user("XDG_STATE_HOME", "~/.local/state")


def _of_user(variable: str, default: str) -> Path:
    """A directory of labctl's below one of the user's; a relative one is invalid, and ignored (XDG Base Directory)."""
    given = os.environ.get(variable, "")
    return expanded(given if given.startswith(("/", "~")) else default, f"{variable}, HOME") / "labctl"


def expanded(path: str, where: str) -> Path:
    """A path that was given at `where`, with the home that ~ stands for. UsageError for a user without one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        hint = "set HOME, or write the path out"
        raise UsageError(Problem("there is no home directory that ~ could mean", where, path, hint)) from None


def _lab_roots() -> tuple[Path, ...]:
    # The same directory twice where one stands in the checkout: the first hit wins, so it does not matter.
    return (Path.cwd() / "inventories", content_root() / "inventories")
