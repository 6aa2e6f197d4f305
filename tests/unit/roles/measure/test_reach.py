"""Whether an agent can go where Ansible goes: known before anything is deployed, in the words of what is in the way."""

from __future__ import annotations

from pathlib import Path

from labctl.engine.events import TaskResult
from labctl.engine.session import Session

PLAY = """
- name: Reach
  hosts: all
  gather_facts: false
  tasks:
    - name: Reached
      ansible.builtin.include_role: {name: measure, tasks_from: reach}
"""
SSH = """#!/bin/sh
echo 'This account is closed.'
echo 'bench: no such user' >&2
echo 'Connection to node closed.' >&2
exit 255
"""
HOSTS = """
all:
  hosts:
    here:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
    windows: {ansible_connection: ansible.builtin.winrm}
    closed: {ansible_ssh_executable: SSH, ansible_python_interpreter: python3}
    password: {ansible_password: x, ansible_ssh_args: -o Compression=no}
"""


def test_what_is_in_the_way_of_an_agent_is_told_by_node(tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    (tmp_path / "hosts.yml").write_text(HOSTS.replace("SSH", str(ssh), 1))
    (tmp_path / "play.yml").write_text(PLAY)
    reached: dict[str, bool] = {}

    def listen(event: object) -> None:
        if isinstance(event, TaskResult) and event.action == "netperf_reach":
            reached[event.node] = event.ok

    with Session() as session:
        outcome = session.run_playbook(str(tmp_path / "play.yml"), [tmp_path / "hosts.yml"], listener=listen)
    assert reached == {"here": True, "windows": False, "closed": False, "password": False}
    told = {str(problem.where): problem for problem in outcome.problems}
    assert "ansible_connection: ansible.builtin.winrm" in str(told["windows"].seen)
    assert "bench: no such user; Connection to node closed." in str(told["closed"].seen)
    assert "ControlPersist" in str(told["password"].seen)
    assert all("docs/labs.md" in str(problem.hint) for problem in outcome.problems)
