"""Servers: made to listen, and asked what is wrong. A unit of systemd is left to the tests with a lab."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
from labctl_agent import procfs
from labctl_agent.places import Node, Pod
from labctl_agent.servers import PodServer, Server, UnitServer, server

from tests.unit.roles.measure.conftest import until

LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"


class OwnServer(Server):
    """A server that this process itself keeps running."""

    limit_s = 10.0
    when_ended = ": nobody started it again"

    def __init__(self, port: int, program: str = LISTEN) -> None:
        super().__init__("listener", port)
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None

    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def restart(self) -> None:
        self.end()
        self.process = subprocess.Popen([sys.executable, "-c", self.program, str(self.port)])

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        found: int = free.getsockname()[1]
        return found


def test_a_server_listens_once_it_is_started_and_is_another_process_each_time(port: int) -> None:
    listener = OwnServer(port)
    try:
        first = listener.start()
        socket.create_connection(("127.0.0.1", port)).close()
        assert listener.trouble(first) is None
        second = listener.start()
        assert second != first
        assert listener.trouble(first) == f"listener (process {first}) ended during the sample: nobody started it again"
    finally:
        listener.end()


def test_a_server_that_does_not_listen_is_named_with_its_port(port: int) -> None:
    listener = OwnServer(port, "import time; time.sleep(60)")
    listener.limit_s = 0.3
    try:
        with pytest.raises(RuntimeError, match=f"listener was started again and does not listen on port {port}"):
            listener.start()
    finally:
        listener.end()


def test_a_server_that_was_stopped_is_named(port: int) -> None:
    listener = OwnServer(port)
    try:
        pid = listener.start()
        os.kill(pid, signal.SIGSTOP)
        until(lambda: procfs.is_stopped(pid))
        assert listener.trouble(pid) == f"listener (process {pid}) was stopped"
    finally:
        listener.end()


def test_a_server_of_which_a_child_was_stopped_names_the_child(port: int) -> None:
    listener = OwnServer(port, f"import subprocess; child = subprocess.Popen(['sleep', '60']); {LISTEN}")
    try:
        pid = listener.start()
        (child,) = procfs.children(pid)
        os.kill(child, signal.SIGSTOP)
        until(lambda: procfs.is_stopped(child))
        assert listener.trouble(pid) == f"listener (process {child}) was stopped"
        os.kill(child, signal.SIGKILL)
    finally:
        listener.end()


def test_a_pod_has_its_own_server_and_everything_else_a_unit() -> None:
    data = {"name": "netserver", "port": 12865, "unit": "labctl-netserver.service"}
    unit = server(Node(), **data)  # type: ignore[arg-type]
    assert isinstance(unit, UnitServer)
    assert (unit.name, unit.port, unit.unit) == ("netserver", 12865, "labctl-netserver.service")
    pod = server(Pod("u"), **data)  # type: ignore[arg-type]
    assert isinstance(pod, PodServer)
    assert pod.name == "netserver of the pod with uid u"
    assert pod.pid() == 0
