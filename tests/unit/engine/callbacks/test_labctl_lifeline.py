"""Ansible ends with the labctl that started it, and so do its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.unit.engine.play import LOCAL, Run


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)


def running(marker: str) -> list[int]:
    """Processes whose command line has `marker` as an argument of its own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if marker.encode() in arguments:
                found.append(int(entry.name))
    return found


def ansible_of(marker: str) -> list[int]:
    return [pid for pid in running(marker) if b"sleep" not in Path(f"/proc/{pid}/cmdline").read_bytes()]


def end(marker: str) -> None:
    """End the far end's command itself, which on a node goes with its SSH channel."""
    for pid in running(marker):
        os.kill(pid, signal.SIGKILL)


def test_cancelling_ends_what_the_task_started(play: Run) -> None:
    marker = f"30{os.getpid()}"
    outcome, _ = play(
        f"- name: It takes long\n  ansible.builtin.command: {{argv: [sleep, '{marker}']}}\n  changed_when: false",
        cancelled=lambda: bool(running(marker)),
    )
    assert outcome.status == "interrupted"
    wait_until(lambda: not ansible_of(marker))
    end(marker)


def test_killing_labctl_ends_ansible_and_its_workers(tmp_path: Path) -> None:
    marker = f"31{os.getpid()}"
    (tmp_path / "hosts.yml").write_text(LOCAL)
    (tmp_path / "play.yml").write_text(
        "- name: A play\n  hosts: all\n  gather_facts: false\n  tasks:\n    - name: It takes long\n"
        f"      ansible.builtin.command: {{argv: [sleep, '{marker}']}}\n"
    )
    script = (
        "import sys; from pathlib import Path; from labctl.engine.session import Session\n"
        "with Session() as session: session.run_playbook(sys.argv[1], [Path(sys.argv[2])])\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "play.yml"), str(tmp_path / "hosts.yml")]
    process = subprocess.Popen(arguments, start_new_session=True)
    wait_until(lambda: bool(running(marker)))
    process.kill()
    process.wait()
    wait_until(lambda: not running(str(tmp_path / "play.yml")), 2.0)
    end(marker)
