"""Fetching a file from a server that does not behave: one line about it, and nothing left that looks like the file."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from labctl.bundle import download as downloads
from labctl.bundle.download import download, require_url
from labctl.core.errors import LabctlError, Problem
from tests.unit.bundle.loopback import Answer, misbehaving, problems

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 5\r\n\r\nwhole"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def redirect(url: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()


def refused(answer: Answer, target: Path, checked: bool = True) -> Problem:
    """The one problem that fetching it ends with, by its URL, in single lines."""
    with misbehaving({"/file": answer, "/loop": redirect("/file")}) as url:
        (problem,) = problems(lambda: download(f"{url}/file", target, checked))
        assert problem.where == f"{url}/file"
    assert "\n" not in f"{problem.what}{problem.seen}{problem.hint}"
    assert problem.hint
    return problem


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (OK + b"Content-Length: 100000\r\n\r\n" + b"x" * 5000, "the answer ended early: 5000 of 100000 bytes"),
        (CHUNKED + b"5\r\nhello\r\n3\r\nx", "the answer ended before it was whole"),
        (CHUNKED + b"5\r\nhello\r\n", "the answer ended before it was whole"),
        (CHUNKED + b"5\r\nhello\r\nzz\r\n", "the answer ended before it was whole"),
        (CHUNKED + b"0\r\n\r\n", "the answer is empty"),
        (OK + b"Content-Length: 0\r\n\r\n", "the answer is empty"),
        (OK + b"\r\n", "the answer is empty"),
        (OK + b"Content-Length: -5\r\n\r\nhello", "a length that is none: Content-Length '-5'"),
        (OK + b"Content-Length: 1\r\nContent-Length: 5\r\n\r\nhello", "a length that is none"),
        (OK + b"Content-Length: 999999999999999\r\n\r\nhello", "and no file of a bundle is that large"),
        (b"", "Remote end closed connection without response"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer of HTTP: it begins with SSH-2.0-OpenSSH_9.2"),
        (b"\x00\x1b[2J\xff" * 9 + b"\r\n", "no answer of HTTP"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "no answer of HTTP"),
        (OK + b"X: " + b"y" * 70_000, "got more than 65536 bytes when reading header line"),
        (OK + b"X: y\r\n" * 300 + b"\r\n", "got more than 100 headers"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP status 404: Not Found"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "HTTP status 204 No Content"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx", "HTTP status 206 Partial Content"),
        (redirect("/file"), "would lead to an infinite loop"),
        (redirect("/loop"), "would lead to an infinite loop"),
        (redirect("file:///etc/passwd"), "is not allowed"),
        (redirect("ftp://127.0.0.1/file"), "a redirect to ftp://127.0.0.1/file is not followed"),
        (redirect("http://127.0.0.1:1/file"), "Connection refused"),
        (redirect("http://[::1/file"), "Invalid IPv6 URL"),
        (redirect("http://127.0.0.1:x/file"), "nonnumeric port"),
        (redirect(""), "HTTP status 302"),
    ],
)
def test_what_is_no_whole_file_is_refused_in_one_line(answer: Answer, seen: str, tmp_path: Path) -> None:
    problem = refused(answer, tmp_path / "file")
    assert problem.what == "a file cannot be fetched"
    assert seen in str(problem.seen)


def test_a_file_of_unknown_length_is_taken_only_where_a_checksum_tells(tmp_path: Path) -> None:
    problem = refused(OK + b"\r\nwhole", tmp_path / "one", checked=False)
    assert "does not say how long the file is" in str(problem.seen)
    with misbehaving({"/file": OK + b"\r\nwhole"}) as url:
        download(f"{url}/file", tmp_path / "two", checked=True)
    assert (tmp_path / "two").read_bytes() == b"whole"


def test_what_behaves_is_fetched_also_behind_a_redirect_and_without_an_end_of_the_connection(tmp_path: Path) -> None:
    def keep_open(stream: BinaryIO) -> None:
        stream.write(WHOLE + b"more that does not belong to it")
        time.sleep(2)

    with misbehaving({"/old": redirect("/new"), "/new": WHOLE, "/open": keep_open}) as url:
        for name in ("old", "open"):
            download(f"{url}/{name}", tmp_path / name, checked=False)
            assert (tmp_path / name).read_bytes() == b"whole"


def test_a_server_that_stalls_or_drips_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stall(stream: BinaryIO) -> None:
        stream.write(OK + b"Content-Length: 100\r\n\r\nx")
        time.sleep(1)

    def drip(stream: BinaryIO) -> None:
        stream.write(OK + b"Content-Length: 100\r\n\r\n")
        for _ in range(50):
            stream.write(b"x")
            time.sleep(0.05)

    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.2)
    assert refused(stall, tmp_path / "one").seen == "timed out"
    assert "bytes in the last 0 s" in str(refused(drip, tmp_path / "two").seen)


def test_a_server_that_speaks_no_tls_is_told_as_such(tmp_path: Path) -> None:
    def answer(server: socket.socket) -> None:
        other, _ = server.accept()
        with other:
            other.recv(1 << 16)
            other.sendall(WHOLE)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        pool.submit(answer, server)
        url = f"https://127.0.0.1:{server.getsockname()[1]}/file"
        (problem,) = problems(lambda: download(url, tmp_path / "file", checked=True))
    assert "SSL" in str(problem.seen)
    assert "SSL_CERT_FILE" in str(problem.hint)


def test_a_full_disk_is_not_the_servers_fault(tmp_path: Path) -> None:
    with misbehaving({"/file": WHOLE}) as url:
        (problem,) = problems(lambda: download(f"{url}/file", tmp_path / "none" / "file", checked=True))
        assert problem.what == "a bundle cannot be written"
        assert "make room" in str(problem.hint)


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://a/b", "a/b", "", "http://", "http:///b", "http://a:x/b", "http://a:99999/b"),
        *("http://a:0/b", "http://a/b c", "http://a/b\n", "http://a/ü", "http://[::1/b", "-o", "https:a"),
    ],
)
def test_what_is_no_url_of_the_web_is_refused(url: str) -> None:
    (problem,) = problems(lambda: require_url(url, "2021.files.kubelet.origin"))
    assert (problem.what, problem.where) == ("a file needs an http or https URL", "2021.files.kubelet.origin")


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(LabctlError) as raised:
        require_url("https://me:secret@mirror.example/kubelet", "here")
    assert "a URL with a password in it" in str(raised.value)
    assert "secret" not in str(raised.value)
