"""Images out of a registry, by skopeo."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from labctl.catalog.editions import REFERENCE
from labctl.core.errors import LabctlError, Problem

PATIENCE = "1h"  # for one image, whatever the network does
SHOWN = 300
AGAIN = "is this machine connected? Another location, or another digest, can be given with --overrides"
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+)(:\d+)?/")
_MESSAGE = re.compile(r'msg="((?:[^"\\]|\\.)*)"')


def require_program() -> None:
    """Raise LabctlError where there is nothing to fetch images with."""
    if shutil.which("skopeo") is None:
        hint = "install the package skopeo, or give URLs of image archives with --overrides"
        raise LabctlError(Problem("images are fetched with skopeo, which is not installed", "PATH", hint=hint))


def require_reference(origin: str, where: str) -> None:
    """Raise LabctlError unless an origin names an image in a registry."""
    if not REFERENCE.fullmatch(origin) or "/" not in origin:
        hint = "write REGISTRY/PATH:TAG, or the URL (http, https) of an image archive"
        raise LabctlError(Problem("not the origin of an image", where, ascii(origin)[:SHOWN], hint))


def digest(origin: str) -> str:
    """What the registry has under a name now: the digest of its manifest, which names all of the content."""
    said = _skopeo(
        "an image cannot be looked up", origin, "inspect", *_certificates(origin, ""), "--raw", f"docker://{origin}"
    )
    return f"sha256:{hashlib.sha256(said).hexdigest()}"


def copy(origin: str, pin: str | None, reference: str, target: Path, architecture: str) -> None:
    """Fetch an image, that of the digest `pin` if there is one, as an archive under its name on the nodes."""
    source = origin if pin is None else f"{_untagged(origin)}@{pin}"
    # The place is named without its directory, in which a colon would be taken for what separates it from the name.
    words = (
        "copy",
        "--quiet",
        *_certificates(origin, "src-"),
        f"docker://{source}",
        f"docker-archive:{target.name}:{reference}",
    )
    _skopeo(
        "an image cannot be fetched",
        source,
        "--override-os",
        "linux",
        "--override-arch",
        architecture,
        *words,
        cwd=target.parent,
    )


def _untagged(origin: str) -> str:
    """An image without its tag or digest; the port of a registry is none."""
    name = origin.partition("@")[0]
    above, colon, last = name.rpartition(":")
    return above if colon and "/" not in last else name


def _certificates(origin: str, prefix: str) -> tuple[str, ...]:
    """As everywhere in this field, a registry on this machine needs no certificate."""
    return (f"--{prefix}tls-verify=false",) if _LOOPBACK.match(origin) else ()


def _skopeo(what: str, source: str, *words: str, cwd: Path | None = None) -> bytes:
    """What skopeo prints. Raises LabctlError with its last words where it fails."""
    try:
        done = subprocess.run(
            ["skopeo", "--command-timeout", PATIENCE, *words],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
        )
    except OSError as error:
        raise LabctlError(
            Problem("skopeo cannot be run", source, error.strerror, "install the package skopeo")
        ) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        messages = _MESSAGE.findall(said) or said.splitlines() or [f"skopeo ended with {done.returncode}"]
        raise LabctlError(Problem(what, source, messages[-1].replace('\\"', '"')[:SHOWN], AGAIN))
    return done.stdout
