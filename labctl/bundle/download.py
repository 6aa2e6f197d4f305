"""A file from a web server, whole or not at all."""

from __future__ import annotations

import http.client
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from labctl import __version__
from labctl.bundle.tree import LARGEST_BYTES
from labctl.core.errors import LabctlError, Problem

TIMEOUT_S = 60.0  # without a byte from the other side
SLOWEST = 1000  # bytes a second over TIMEOUT_S: less would take days, and says nothing in all that time
BLOCK = 1 << 20
SHOWN = 200
AGAIN = "is this machine connected? Try again, or give another location with --overrides"
ROOM = "make room for the bundle, or make it in another directory"
WEB = re.compile(r"https?://", re.IGNORECASE)
_PLAIN = re.compile(r"[!-~]+")


def require_url(url: str, where: str) -> None:
    """Raise LabctlError unless a URL is one that can be fetched, and shown to everybody."""
    try:
        parts = urllib.parse.urlsplit(url)
        named = bool(WEB.match(url) and _PLAIN.fullmatch(url) and parts.hostname and parts.port != 0)
    except ValueError:  # a port that is no number, half an IPv6 address
        named = False
    if not named:
        hint = "correct it with --overrides: https://HOST/PATH, without blanks"
        raise LabctlError(Problem("a file needs an http or https URL", where, url[:SHOWN], hint))
    if "@" in parts.netloc:
        hint = "the index of a bundle holds its origins: name a location that needs none"
        raise LabctlError(Problem("a URL with a password in it", where, parts.netloc.rpartition("@")[2], hint))


def download(url: str, target: Path, checked: bool) -> None:
    """Fetch `url` into a new file. `checked`: whether a checksum will tell whether it is the right one.

    Without one it has to be said how long the file is. Raises LabctlError with what the other side, or the way to it,
    said; what is at `target` then is of no use.
    """
    require_url(url, url)
    request = urllib.request.Request(url, headers={"User-Agent": f"labctl/{__version__}"})  # noqa: S310 - looked at above
    with _created(target) as file:
        try:
            with _opener().open(request, timeout=TIMEOUT_S) as answer:
                length = _length(url, answer, checked)
                _require_room(url, target, length or 0)
                count = _copy(url, answer, file, target, length)
        except http.client.IncompleteRead as error:
            raise _refused(url, "the answer ended before it was whole") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _refused(url, _words(error), _hint(error)) from error
    if length is not None and count < length:
        raise _refused(url, f"the answer ended early: {count} of {length} bytes")
    if count == 0:
        raise _refused(url, "the answer is empty")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects to other web servers, a few of them, and never from an encrypted one to one that is not."""

    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request that follows, where it may; the library refuses loops and more than `max_redirections`."""
        if not WEB.match(newurl) or (req.full_url.lower().startswith("https:") > newurl.lower().startswith("https:")):
            raise urllib.error.HTTPError(newurl, code, f"a redirect to {newurl[:SHOWN]} is not followed", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """What speaks http and https, through the environment's proxies, and nothing else (file, ftp, data)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _length(url: str, answer: Any, checked: bool) -> int | None:
    """How many bytes an answer has, None where only its end tells. Raises LabctlError for what is no whole file."""
    if answer.status != HTTPStatus.OK:
        raise _refused(url, f"HTTP status {answer.status} {answer.reason}"[:SHOWN])
    if answer.chunked:
        return None
    said = {text.strip() for text in answer.headers.get_all("Content-Length", [])}
    if not said and checked:
        return None
    if not said:
        what = "the server does not say how long the file is, and no checksum is known for it"
        raise _refused(url, what, "give its sha256 with --overrides, or another location")
    text = said.pop()
    if said or not re.fullmatch(r"\d{1,15}", text, re.ASCII):
        raise _refused(url, f"a length that is none: Content-Length {text[:SHOWN]!r}")
    return int(text)


def _require_room(url: str, target: Path, length: int) -> None:
    """Raise LabctlError for more bytes than any file of a bundle has, or than there is room for."""
    if length > LARGEST_BYTES:
        raise _refused(url, f"{length} bytes, and no file of a bundle is that large")
    free = shutil.disk_usage(target.parent).free
    if length > free:
        seen = f"{length} bytes from {url}, {free} bytes free"
        raise LabctlError(Problem("there is no room for a file", str(target.parent), seen, ROOM))


def _copy(url: str, answer: IO[bytes], file: BinaryIO, target: Path, length: int | None) -> int:
    """Copy an answer as far as it goes; returns its bytes. Raises LabctlError where that would take for ever."""
    count = lately = 0
    since = time.monotonic()
    while length is None or count < length:
        block = answer.read1(BLOCK if length is None else min(BLOCK, length - count))  # type: ignore[attr-defined]
        if not block:
            break
        with writing(target):
            left = memoryview(block)
            while left:
                left = left[file.write(left) :]
        count += len(block)
        lately += len(block)
        passed = time.monotonic() - since
        if passed >= TIMEOUT_S:
            if lately < SLOWEST * passed:
                raise _refused(url, f"{lately} bytes in the last {passed:.0f} s")
            since, lately = time.monotonic(), 0
        if count > LARGEST_BYTES:
            raise _refused(url, f"more than {LARGEST_BYTES} bytes, and no file of a bundle is that large")
    return count


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What cannot be written inside is a LabctlError that names `path`: it is not the other side's fault."""
    try:
        yield
    except OSError as error:
        raise LabctlError(Problem("a bundle cannot be written", str(path), error.strerror, ROOM)) from error


def _created(path: Path) -> BinaryIO:
    """A new file, each write of which reaches the system at once, and so fails where it can be told why."""
    with writing(path):
        return cast("BinaryIO", path.open("xb", buffering=0))


def _refused(url: str, seen: str, hint: str = AGAIN) -> LabctlError:
    return LabctlError(Problem("a file cannot be fetched", url, seen, hint))


def _words(error: Exception) -> str:
    """What went wrong, in one line. A server's own words may be anything."""
    reason = getattr(error, "reason", None)
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
        words = f"no answer of HTTP: it begins with {error}"
    elif isinstance(error, urllib.error.HTTPError):
        words = f"HTTP status {error.code}: {reason}"
    else:
        words = str(reason or error) or type(error).__name__
    words = " ".join(words.split())
    return "".join(sign if sign.isprintable() else "?" for sign in words)[:SHOWN]


def _hint(error: Exception) -> str:
    """What to do about it."""
    if isinstance(getattr(error, "reason", error), ssl.SSLError):
        return (
            "let this machine trust the server's certificate (SSL_CERT_FILE), or give another location with --overrides"
        )
    return AGAIN
