"""What nobody foresaw: one line for the user, and a file to send in for whoever mends it.

The file holds the traceback, the versions and the command line, and no secret: not what was typed at a prompt, not the
value of anything that is called a secret, and no password of an address.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from labctl.core import paths
from labctl.core.errors import LabctlError

PACKAGES = ("labctl", "ansible-core", "ansible-runner", "jinja2", "pyyaml", "typer")
HIDDEN = "***"
_NAMES = r"[\w.-]*(?:passw|token|secret|private|credential|api[_-]?key)[\w.-]*"
# An assignment to what is called a secret, as an option, a variable or a field; and the user of an address.
_VALUES = re.compile(rf"(?i)(?<![\w-])(-*{_NAMES}[\"']?(?:\s*[=:]\s*|\s+))(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;)}}\]]+)")
_USERS = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_typed: list[str] = []


def keep_secret(text: str) -> None:
    """Let no report contain this text: it was typed at a prompt."""
    _typed.append(text)


def report(error: Exception, argv: Sequence[str]) -> str:
    """Write the file, and return the line for the user."""
    said = _without_secrets(f"{type(error).__name__}: {error}".splitlines()[0])[:200]
    path = _write(_text(error, argv))
    where = (
        f"please send in {path}" if path else "no report of it could be written: is there room in the home directory?"
    )
    return f"error: labctl met what it does not expect ({said}); {where}"


def _text(error: Exception, argv: Sequence[str]) -> str:
    lines = [
        f"labctl met what it does not expect, {datetime.now(UTC).isoformat(timespec='seconds')}",
        f"command: {shlex.join(map(_without_secrets, argv))}",
        f"system: {platform.platform()}, Python {platform.python_version()}",
        *(f"{name}: {_version(name)}" for name in PACKAGES),
        "",
        *traceback.format_exception(error),
    ]
    return _without_secrets("\n".join(lines))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _without_secrets(text: str) -> str:
    for secret in filter(None, _typed):
        text = text.replace(secret, HIDDEN)
    return _USERS.sub(HIDDEN, _VALUES.sub(rf"\1{HIDDEN}", text))


def _write(text: str) -> Path | None:
    """Write a file that only the user can read, in the first place that takes it; None where none does."""
    for directory in _places():
        with suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-", suffix=".txt", dir=directory)
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            return Path(name)
    return None


def _places() -> list[Path]:
    places = []
    with suppress(LabctlError):
        places.append(paths.user_state_dir() / "crashes")
    with suppress(OSError):
        places.append(Path(tempfile.gettempdir()))
    return places
