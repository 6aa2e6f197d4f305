"""The library that the modules of all roles share, and that mypy sees what it is called with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.labctl_node import cluster, files, kubectl, machine, processes, run
from ansible.module_utils.labctl_node.proof import Assertion, broken
from ansible.module_utils.labctl_node.refused import Refused, finish, refuse
from ansible.module_utils.labctl_node.wait import wait_until

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent


class Ended(BaseException):
    """Ends a module, as its exit does."""


class Module:
    """What `finish` needs of an AnsibleModule."""

    def exit_json(self, **result: Any) -> None:
        raise Ended(result)

    def fail_json(self, **result: Any) -> None:
        raise Ended({"failed": True, **result})


def ended(act: Any) -> dict[str, Any]:
    with pytest.raises(Ended) as end:
        finish(Module(), act)  # type: ignore[arg-type]  # a stand-in
    result: dict[str, Any] = end.value.args[0]
    return result


def test_a_module_ends_with_its_result() -> None:
    assert ended(lambda: {"changed": True}) == {"changed": True}


def test_a_module_fails_with_each_problem_and_with_words_for_people() -> None:
    def act() -> dict[str, object]:
        refuse([{"what": "No room.", "where": "/boot", "seen": "3 MB\nof 4"}, {"what": "No key."}])
        return {}

    assert ended(act) == {
        "failed": True,
        "msg": "No room.\n  where: /boot\n  seen:  3 MB\n         of 4\nNo key.",
        "problems": [{"what": "No room.", "where": "/boot", "seen": "3 MB\nof 4"}, {"what": "No key."}],
    }


def test_what_is_not_known_of_a_problem_is_left_out() -> None:
    assert Refused("No room.", hint="Make some.").problems == [{"what": "No room.", "hint": "Make some."}]


def test_a_tool_gives_its_output_or_fails_with_its_words() -> None:
    assert run.run(["cat"], "text") == "text"
    assert run.run_json(["echo", '{"a": 1}']) == {"a": 1}
    assert run.run_json(["true"]) == []
    with pytest.raises(run.CommandFailed, match=r"(?s)failed with exit code 3.*seen:  why") as failed:
        run.run(["sh", "-c", "echo why >&2; exit 3"])
    assert failed.value.output == "why\n"
    assert run.attempt(["false"]).returncode == 1


def test_a_tool_that_is_not_there_and_one_that_hangs_are_named() -> None:
    with pytest.raises(Refused, match="The command /nowhere/tool is not installed"):
        run.run(["/nowhere/tool"])
    with pytest.raises(run.CommandFailed, match=r"`sleep 60` did not end within 0\.1 s"):
        run.run(["sleep", "60"], timeout_s=0.1)


def test_waiting_ends_with_what_was_seen_last() -> None:
    answers = iter([0, 0, 7])
    assert wait_until(lambda: next(answers), 10, 0.001) == 7
    assert wait_until(lambda: "", 0.01, 0.001) == ""


def test_a_file_is_whole_readable_by_its_mode_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert files.read_json(str(path)) is None
    files.write_json(str(path), {"a": [1]}, 0o600)
    assert files.read_json(str(path)) == {"a": [1]}
    assert (path.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (0o600, [path])


def test_a_setting_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "setting"
    files.write_setting(str(path), "1")
    assert files.read_text(str(path)) == "1"
    with pytest.raises(Refused, match=f"(?s)cannot be set to 1.*{tmp_path}"):
        files.write_setting(str(tmp_path), "1")
    with pytest.raises(Refused, match="does not keep the value 1"):
        files.write_setting("/dev/null", "1")


SCHEDULED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import tests.conftest  # where role modules share code
from ansible.module_utils.labctl_node.processes import schedule_as_a_service
schedule_as_a_service()
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), len(os.sched_getaffinity(0)))
"""


@pytest.mark.parametrize(
    ("before", "way", "after"), [(0o755, False, 0o700), (0o777, True, 0o711), (0o711, False, 0o711)]
)
def test_a_cache_is_closed_also_one_that_was_open(tmp_path: Path, before: int, way: bool, after: int) -> None:
    cache = tmp_path / "cache"
    files.close_directory(str(cache), way)
    assert cache.stat().st_mode & 0o7777 == (0o711 if way else 0o700)
    cache.chmod(before)
    files.close_directory(str(cache), way)
    assert cache.stat().st_mode & 0o7777 == after


def test_nobody_else_can_open_and_so_hold_the_lock_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "lock").chmod(0o666)
    with files.locked(str(tmp_path)):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), files.locked(str(tmp_path)):
        pass


def test_a_node_does_not_inherit_how_its_caller_is_scheduled(repository: Path) -> None:
    caller = ["nice", "-n", "10", "taskset", "--cpu-list", "0", "chrt", "--batch", "0"]
    command = [*caller, sys.executable, "-c", SCHEDULED, str(repository)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    service, callers = ["0", str(os.SCHED_OTHER), str(os.cpu_count())], ["10", str(os.SCHED_BATCH), "1"]
    assert done.stdout.split() == (service if os.geteuid() == 0 else callers)  # only root may raise a priority


def test_processes_are_ended_until_none_is_left() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert processes.end_all(lambda: [child.pid] if child.poll() is None else [], "It does not end.", 10)
    assert not processes.end_all(list, "It does not end.", 10)
    with pytest.raises(Refused, match=r"(?s)Init does not end\..*processes \[1234567890\]"):
        processes.end_all(lambda: [1234567890], "Init does not end.", 0.01)


def test_the_distribution_is_read_with_its_quotes_taken_off() -> None:
    text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID='12'\n"
    fields = machine.release_fields(text)
    assert fields == {"PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)", "ID": "debian", "VERSION_ID": "12"}


def test_a_cluster_is_asked_with_a_limit_and_nothing_on_standard_input(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho "$*"\ncat\n')
    program.chmod(0o755)
    asked = kubectl.Kubectl(str(program), "/config", "there", 7).run("get", "nodes")
    assert asked == "--kubeconfig=/config --context=there --request-timeout=7s get nodes\n"


def test_a_proof_names_what_does_not_hold() -> None:
    assertions = [Assertion("mtu", "node1", 1500, 1500), Assertion("mss", "node1", 1448, None)]
    (problem,) = broken("baseline", assertions).problems
    assert problem == {
        "what": "baseline is not what it claims to be: 1 of 2 assertions do not hold.",
        "seen": "mss on node1: wanted 1448, seen None",
    }


def test_a_wrong_call_across_role_files_is_reported_by_mypy(tmp_path: Path) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text(
        "from ansible.module_utils.basic import AnsibleModule\n"
        "from ansible.module_utils.datapath_links import set_mtu\n"
        "from ansible.module_utils.labctl_node.run import run\n"
        "run(42, nonsense=True)\n"
        'set_mtu("cable0", "1500")\n'
        'AnsibleModule({}).exit_json("done")\n'
    )
    mypy = [sys.executable, "-m", "mypy", "--output=json", str(probe)]
    done = subprocess.run(mypy, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(one["line"], one["code"]) for one in found} == {
        (4, "call-arg"),
        (4, "arg-type"),
        (5, "arg-type"),
        (6, "call-arg"),
    }, done.stdout + done.stderr


def pod(name: str, space: str = "kube-system", owner: tuple[str, str] | None = None, restarts: int = 0) -> Any:
    """A pod as the API shows it."""
    owners = [{"kind": owner[0], "name": owner[1]}] if owner else []
    status = {"name": "c", "imageID": "sha256:1", "containerID": f"containerd://{name}", "restartCount": restarts}
    metadata = {"name": name, "namespace": space, "uid": f"uid-{name}", "ownerReferences": owners}
    return {"metadata": metadata, "spec": {"nodeName": "node1"}, "status": {"containerStatuses": [status]}}


def test_pods_are_told_by_what_made_them_and_only_agents_and_measured_ones_have_to_stay_who_they_are() -> None:
    agent, other = pod("agent-x7k2p", owner=("DaemonSet", "agent")), pod("agent-q8w9e", owner=("DaemonSet", "agent"))
    operator = pod("operator-66d-abcde", owner=("ReplicaSet", "operator-66d"))
    etcd, measured = pod("etcd-node1", owner=("Node", "node1")), pod("netperf-client", "labctl-x2b4c")
    pods = [agent, operator, etcd, measured]
    agents = "kube-system/agent on node1"
    roles = [agents, "kube-system/operator-66d on node1", "kube-system/etcd-node1 on node1"]
    assert cluster.images(pods) == {role: ["c sha256:1"] for role in [*roles, "labctl/netperf-client on node1"]}
    before = cluster.instances(pods)
    assert before is not None
    assert list(before) == [agents, "labctl/netperf-client on node1"]
    assert before[agents] == ["pod uid-agent-x7k2p, c containerd://agent-x7k2p, 0 restarts"]
    for now in (other, pod("agent-x7k2p", owner=("DaemonSet", "agent"), restarts=1)):
        assert (cluster.instances([now, measured]) or {})[agents] != before[agents]
    assert (cluster.instances(None), cluster.images(None), cluster.settings(None)) == (None, None, None)


def test_settings_of_a_cluster_are_kept_as_they_are_and_long_ones_by_their_hash() -> None:
    def told(text: str) -> Any:
        metadata = {"namespace": "kube-system", "name": "agent-config"}
        return cluster.settings([{"metadata": metadata, "data": {"mode": "bpf", "file": text}}])

    first, second = told("a" * 1000), told("b" * 1000)
    assert first["kube-system/agent-config"]["mode"] == "bpf"
    assert first["kube-system/agent-config"]["file"].startswith("sha256 ")
    assert first != second


WANTED = """
import os, sys
import tests.conftest
from ansible.module_utils.labctl_node import run
run.WANTED_POLL_S = 0.05
try:
    script = "trap 'echo cleaned; exit 1' TERM; sleep 20 & echo $$; wait"
    run.run_while_wanted(["sh", "-c", script], open(sys.argv[1], "w"))
except run.CommandFailed as failed:
    print(failed, file=sys.stderr)
"""


def test_what_takes_minutes_ends_when_nobody_waits_for_it_any_more(tmp_path: Path, repository: Path) -> None:
    log = tmp_path / "log"
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", WANTED, str(log)], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=repository
    ) as module:
        os.close(writer)
        while not (log.exists() and log.read_text()):
            assert module.poll() is None
        os.close(reader)  # as when Ansible is ended
        _, said = module.communicate()
    assert "nobody waits for it any more" in said
    assert log.read_text().endswith("cleaned\n")


def test_what_takes_minutes_says_how_it_ended(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        assert run.run_while_wanted(["sh", "-c", "echo said; exit 3"], log) == 3
    assert (tmp_path / "log").read_text() == "said\n"
