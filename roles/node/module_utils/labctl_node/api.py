"""The API of a cluster itself, logged in to by kubectl: for what kubectl tells in words alone, as why it refuses."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from typing import Any, Dict, List, Mapping, Optional

from ansible.module_utils.labctl_node.kubectl import Kubectl
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import CommandFailed
from ansible.module_utils.labctl_node.wait import wait_until

START_S = 15.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h
ANSWERS = "Does it run, and does this kubeconfig lead to it? kubectl get --raw /readyz asks it."
Object = Dict[str, Any]


def _end_with_parent() -> None:
    """Let the kernel end this process with the one that started it, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Answered(Refused):
    """The API server answered that it does not do it: HTTP `code`, and `reason` and `message` of its Status."""

    def __init__(self, what: str, code: int, status: Mapping[str, Any]) -> None:
        self.code, self.reason = code, str(status.get("reason") or "")
        self.message = str(status.get("message") or f"HTTP status {code}")
        super().__init__(what, seen=f"{code} {self.reason}: {self.message}".replace(" :", ":"), hint=_hint(code))

    @property
    def denied(self) -> bool:
        """Whether the object itself is what it does not take, whoever said so: access, admission, a webhook, a policy.

        Not a login that is not taken (401), something that is not there, is there already or changes (404, 409),
        nor a server that has no time (429) or fails (5xx), as where it cannot call a webhook.
        """
        return 400 <= self.code < 500 and self.code not in (401, 404, 408, 409, 429)


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Api:
    """`kubectl proxy` on a socket that nobody else can reach, as long as the context lasts."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._directory = ""
        self._proxy: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> Api:
        self._directory = tempfile.mkdtemp(prefix="labctl-api-")  # 0700
        self._socket = os.path.join(self._directory, "socket")
        argv = [*self._kubectl.prefix, "proxy", f"--unix-socket={self._socket}"]
        try:
            self._proxy = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                preexec_fn=_end_with_parent,
            )
        except OSError as error:
            self._clear()
            hint = "Install kubectl, or set netperf_pods_kubectl."
            raise Refused(f"The command {argv[0]} cannot be run.", seen=str(error.strerror), hint=hint) from error
        if not wait_until(lambda: os.path.exists(self._socket) or self._ended(), START_S) or self._ended():
            words = self._words()
            self._clear()
            raise CommandFailed(argv, "does not serve the cluster's API", words)
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def create(self, collection: str, one: Object) -> Object:
        """Create an object below a path of the API, and return it as it came to be. Raises Answered."""
        what = f"The cluster does not take the {str(one['kind']).lower()} {_name(one)}."
        return self._ask("POST", collection, what, one)

    def get(self, path: str) -> Object:
        """Return an object, or a list of objects. Raises Answered."""
        return self._ask("GET", path, f"The cluster does not give {path}.")

    def items(self, path: str) -> List[Object]:
        """Return the objects of a list. Raises Answered."""
        found: List[Object] = self.get(path).get("items") or []
        return found

    def _ask(self, method: str, path: str, what: str, body: Optional[Object] = None) -> Object:
        connection = _Connection(self._socket, self._kubectl.timeout)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            seen = self._words() if self._ended() else f"{type(error).__name__}: {error}"
            raise Refused("The API server does not answer.", where=path, seen=seen, hint=ANSWERS) from error
        finally:
            connection.close()
        try:
            document = json.loads(text)
        except ValueError:
            document = {"message": text.strip()}
        if answer.status == 502 and document.get("kind") != "Status":  # the proxy's own, where it reaches nobody
            raise Refused("The API server does not answer.", where=path, seen=document["message"], hint=ANSWERS)
        if answer.status >= 400 or not isinstance(document, dict):
            raise Answered(what, answer.status, document if isinstance(document, dict) else {"message": text})
        return document

    def _ended(self) -> bool:
        return self._proxy is None or self._proxy.poll() is not None

    def _words(self) -> str:
        """What a proxy that ended said."""
        if self._proxy is None or self._proxy.stderr is None or not self._ended():
            return ""
        return self._proxy.stderr.read().decode(errors="replace").strip()

    def _clear(self) -> None:
        if self._proxy is not None:
            self._proxy.kill()
            self._proxy.wait()
            if self._proxy.stderr is not None:
                self._proxy.stderr.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _hint(code: int) -> str:
    """What to do about an answer, as far as its code tells."""
    if code == 401:
        return "Log in anew: the cluster does not know this user (any more)."
    if code >= 500 or code == 429:
        return "The API server, or a webhook that it calls, has no answer now: mend that, or try again later."
    return "Ask whoever runs the cluster: its own words say what it wants."


def _name(one: Object) -> str:
    metadata = one["metadata"]
    return str(metadata.get("name") or f"{metadata.get('generateName', '')}...")
