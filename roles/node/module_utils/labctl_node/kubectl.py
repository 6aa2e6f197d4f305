"""Talking to a cluster through kubectl, which knows every way to log in that a kubeconfig can name."""

from __future__ import annotations

import json
from typing import Any, Dict, List

from ansible.module_utils.labctl_node.run import run

TIMEOUT_S = 60
# kubectl and kubeconfig on the control plane of a cluster that labctl made.
CONTROL_PLANE = ("/usr/local/bin/kubectl", "/etc/kubernetes/admin.conf")


class Kubectl:
    """kubectl with one kubeconfig and one of its contexts, and the seconds that one call may take."""

    def __init__(self, program: str, kubeconfig: str, context: str = "", timeout: float = TIMEOUT_S) -> None:
        self.timeout = timeout
        self.prefix = [program, f"--kubeconfig={kubeconfig}", *([f"--context={context}"] if context else [])]

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Return what kubectl prints. Raise CommandFailed with its words when it fails.

        Never with an open standard input: kubectl would ask for a password there.
        """
        argv = [*self.prefix, f"--request-timeout={self.timeout:.0f}s", *arguments]
        return run(argv, stdin, self.timeout + 5)

    def get(self, *arguments: str) -> Dict[str, Any]:
        """Return an object, or a list of objects, of the API."""
        found: Dict[str, Any] = json.loads(self.run("get", *arguments, "--output=json"))
        return found

    def items(self, *arguments: str) -> List[Dict[str, Any]]:
        """Return the objects of a list."""
        items: List[Dict[str, Any]] = self.get(*arguments)["items"]
        return items

    def create(self, *objects: Dict[str, Any]) -> List[Dict[str, Any]]:
        """Create objects and return them as the API has them."""
        if len(objects) == 1:
            text = json.dumps(objects[0])
        else:
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        # What the API server refuses it says itself; kubectl's own look at its schema costs a megabyte each time.
        return documents(self.run("create", "--filename=-", "--output=json", "--validate=false", stdin=text))


def documents(text: str) -> List[Dict[str, Any]]:
    """Return the objects in what kubectl prints: one after the other, whatever it was given."""
    found: List[Dict[str, Any]] = []
    decoder = json.JSONDecoder()
    while text.strip():
        document, end = decoder.raw_decode(text.lstrip())
        found += document["items"] if document["kind"] == "List" else [document]
        text = text.lstrip()[end:]
    return found
