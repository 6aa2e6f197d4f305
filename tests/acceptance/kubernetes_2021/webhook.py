"""Admission as a cluster's owner has it: refuses labctl's agents without the word that the API has for it, and injects.

Runs on the control plane, whose API server's own certificate it answers with: `webhook.py PORT`. The pods between which
is measured get a container that somebody else made.
"""

from __future__ import annotations

import base64
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

PKI = "/etc/kubernetes/pki"


def answer(pod: dict[str, Any]) -> dict[str, Any]:
    """What becomes of a pod."""
    if pod["metadata"]["name"].startswith("agent-"):
        return {"allowed": False, "status": {"message": "no pod looks at its node here"}}
    (own,) = pod["spec"]["containers"]
    command = ["python3", "-IS", "-c", "import signal; signal.pause()"]
    proxy = {"name": "istio-proxy", "image": own["image"], "imagePullPolicy": "Never", "command": command}
    patch = [{"op": "add", "path": "/spec/containers/0", "value": proxy}]
    return {
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
    }


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        response = {"uid": request["uid"], **answer(request["object"])}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(review).encode())


def main() -> None:
    server = HTTPServer(("", int(sys.argv[1])), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{PKI}/apiserver.crt", f"{PKI}/apiserver.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
