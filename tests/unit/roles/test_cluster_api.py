"""The API of a cluster behind `kubectl proxy`: what it refuses is known by its Status, not by words."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.labctl_node import api as apis
from ansible.module_utils.labctl_node.api import Answered, Api
from ansible.module_utils.labctl_node.kubectl import Kubectl
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import CommandFailed
from ansible.module_utils.labctl_node.wait import wait_until

# Stands in for kubectl: a proxy that gives the prepared answer to everything, and echoes what it is sent.
PROXY = """\
#!{python}
import http.server, json, os, socketserver, sys
path = next(word.partition("=")[2] for word in sys.argv if word.startswith("--unix-socket="))
code, text = json.load(open({answer!r}))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(code)
        self.end_headers()
        self.wfile.write((text or sent.decode() or json.dumps({{"path": self.path}})).encode())
    do_GET = do_POST
    def address_string(self):
        return ""
    def log_message(self, *_):
        pass
socketserver.UnixStreamServer(path, Handler).serve_forever()
"""


def kubectl(tmp_path: Path, code: int = 201, text: str | None = None) -> Kubectl:
    """A kubectl whose proxy gives this answer, None for what it was sent."""
    answer, program = tmp_path / "answer", tmp_path / "kubectl"
    answer.write_text(json.dumps([code, text]))
    program.write_text(PROXY.format(python=sys.executable, answer=str(answer)))
    program.chmod(0o755)
    return Kubectl(str(program), "/config", "there", 5)


POD = {"kind": "Pod", "metadata": {"name": "agent-client"}}


def test_objects_are_created_and_read_and_nothing_of_the_proxy_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Api(kubectl(tmp_path)) as api:
        (directory,) = tmp_path.glob("labctl-api-*")
        assert directory.stat().st_mode & 0o077 == 0
        assert api.create("/api/v1/pods", POD) == POD
        assert api.get("/api/v1/x") == {"path": "/api/v1/x"}
        proxy = api._proxy
    assert proxy is not None
    assert proxy.poll() is not None
    assert list(tmp_path.glob("labctl-api-*")) == []


def status(reason: str | None, message: str) -> str:
    return json.dumps(
        {"kind": "Status", "status": "Failure", "message": message, **({"reason": reason} if reason else {})}
    )


# As Kubernetes answers: 1.20 (PodSecurityPolicy, quota, webhooks) and 1.36 (pod security, policies), by its source.
DENIED = [
    (403, status("Forbidden", 'pods "agent-client" is forbidden: exceeded quota: q')),
    (403, status("Forbidden", 'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)')),
    (400, status(None, 'admission webhook "deny.example" denied the request: no pods today')),
    (400, status("BadRequest", "not with us")),
    (422, status("Invalid", "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression")),
    (418, status(None, "a teapot")),
    (405, status("MethodNotAllowed", "no")),
]
FAILED = [
    (401, status("Unauthorized", "Unauthorized")),
    (404, status("NotFound", 'namespaces "labctl-x" not found')),
    (409, status("AlreadyExists", 'pods "agent-client" already exists')),
    (429, status("TooManyRequests", "later")),
    (500, status("InternalError", 'failed calling webhook "x": connection refused, which is Forbidden')),
    (503, status("ServiceUnavailable", "etcd has no leader")),
    (504, status("Timeout", "timed out")),
]


@pytest.mark.parametrize(("answers", "denied"), [(DENIED, True), (FAILED, False)])
def test_a_denial_is_told_from_a_failure_by_code_and_reason(
    tmp_path: Path, answers: list[tuple[int, str]], denied: bool
) -> None:
    for code, text in answers:
        refusal = Answered("It does not.", code, json.loads(text))
        assert refusal.denied is denied, text
    with Api(kubectl(tmp_path, *answers[0])) as api, pytest.raises(Answered) as caught:
        api.create("/api/v1/pods", POD)
    assert (caught.value.code, caught.value.denied) == (answers[0][0], denied)
    assert caught.value.problems[0]["what"] == "The cluster does not take the pod agent-client."
    assert json.loads(answers[0][1])["message"] in caught.value.problems[0]["seen"]


def test_an_answer_that_is_no_status_is_told_as_it_is(tmp_path: Path) -> None:
    with Api(kubectl(tmp_path, 403, "<html>a firewall</html>")) as api, pytest.raises(Answered) as caught:
        api.create("/api/v1/pods", POD)
    assert caught.value.message == "<html>a firewall</html>"
    with Api(kubectl(tmp_path, 200, "[1, 2]")) as api, pytest.raises(Answered):
        api.get("/api")
    with Api(kubectl(tmp_path, 502, "dial tcp: connection refused")) as api, pytest.raises(Refused) as silent:
        api.get("/api")
    assert silent.value.problems[0]["what"] == "The API server does not answer."
    assert silent.value.problems[0]["hint"]


def test_a_proxy_that_does_not_come_up_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho 'error: exec plugin: no token' >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(CommandFailed, match="exec plugin: no token"), Api(Kubectl(str(program), "/config")):
        pass
    with pytest.raises(Refused, match="cannot be run"), Api(Kubectl(str(tmp_path / "none"), "/config")):
        pass
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(apis, "START_S", 0.05)
    with pytest.raises(CommandFailed, match="does not serve"), Api(Kubectl(str(program), "/config")):
        pass


def test_a_proxy_that_dies_is_no_endless_wait(tmp_path: Path) -> None:
    with Api(kubectl(tmp_path)) as api:
        assert api._proxy is not None
        os.kill(api._proxy.pid, 9)
        api._proxy.wait()
        with pytest.raises(Refused, match="The API server does not answer"):
            api.create("/api/v1/pods", POD)


def test_a_proxy_ends_with_whoever_started_it_even_if_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where what was killed leaves its directory
    made = kubectl(tmp_path)

    def starter() -> None:
        with Api(made) as api:
            assert api._proxy is not None
            (tmp_path / "pid").write_text(str(api._proxy.pid))
            os.kill(os.getpid(), 9)

    child = multiprocessing.get_context("fork").Process(target=starter)
    child.start()
    child.join()
    pid = int((tmp_path / "pid").read_text())
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in _status(pid), 5)


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "\nState:\tZ"


class Scripted:
    """An API that refuses what `refuses` says, and takes the rest; `made` is what it took."""

    def __init__(self, refuses: Any = lambda _: None) -> None:
        self.refuses, self.made = refuses, []  # type: ignore[var-annotated]

    def create(self, collection: str, one: dict[str, Any]) -> dict[str, Any]:
        refusal = self.refuses(one)
        if refusal is not None:
            code, text = refusal
            raise Answered("The cluster does not take it.", code, json.loads(text))
        name = one["metadata"].get("name") or f"{one['metadata']['generateName']}x"
        self.made.append(f"{collection} {name}")
        return {**one, "metadata": {**one["metadata"], "name": name}}


__all__ = ["DENIED", "FAILED", "Scripted", "status"]
