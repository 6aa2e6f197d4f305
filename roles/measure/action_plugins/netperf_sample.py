"""Action plugin: measure one netperf sample between the lab's client and server.

Runs on the controller, once per item of a loop. All items of one loop share the worker process, so the module
keeps one channel per node open (`node_agent.py` at its other end) and a sample costs two round trips instead of
two logins. The sample's raw files are on disk, synced and renamed into place, before the plugin returns.

A sample that fails is returned as data (`status: failed` and the reason). What fails the task ends the loop as well:
a node that cannot be reached, a setup that is not there (any more), files that cannot be written.
"""

from __future__ import annotations

import datetime
import json
import os
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812  (Ansible's own name for it)
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import become_loader, connection_loader

from labctl.tools import netperf

MARK = b"LABCTL-AGENT\n"
PREFIX = b"labctl:"
# Anything before the mark (a become password that was not asked for) is passed over.
BOOTSTRAP = (
    "import sys; i=sys.stdin.buffer\n"
    'while i.readline() not in (b"LABCTL-AGENT\\n", b""): pass\n'
    'exec(compile(i.read(int(i.readline())), "node_agent.py", "exec"))'
)
ANSWER_S = 30.0
CLOCK_PROBES = 5


class ChannelDied(Exception):
    """The helper on a node is gone, or does not answer."""


class Refused(Exception):
    """The helper on a node answered that it cannot do what was asked."""


class SetupGone(Exception):
    """A node was restarted: what was deployed and proven there is gone, though the node answers."""


class Channel:
    """One helper on one node: a JSON line out, a JSON line back."""

    def __init__(self, node: str, argv: list[str], password: str | None, source: bytes) -> None:
        self.node = node
        self.buffer = b""
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.process.stdin is None or self.process.stdout is None:
            raise ChannelDied(f"{node}: no pipes to {argv[0]}")
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        secret = f"{password}\n".encode() if password else b""
        self.write(secret + MARK + f"{len(source)}\n".encode() + source)

    def write(self, data: bytes) -> None:
        try:
            self.stdin.write(data)
            self.stdin.flush()
        except OSError as error:
            raise self.died(f"cannot write: {error}") from error

    def send(self, op: str, **request: object) -> None:
        self.write(json.dumps({"op": op, **request}).encode() + b"\n")

    def receive(self, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        """The next response; other lines (a banner, sudo's own words) are passed over."""
        deadline = time.monotonic() + timeout_s
        while True:
            line, newline, rest = self.buffer.partition(b"\n")
            if newline:
                self.buffer = rest
                if line.startswith(PREFIX):
                    return self.answer(line)
                continue
            if not select.select([self.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise self.died(f"no answer within {timeout_s:g} s")
            data = os.read(self.stdout.fileno(), 1 << 16)
            if not data:
                raise self.died("the connection was closed")
            self.buffer += data

    def answer(self, line: bytes) -> dict[str, Any]:
        response: dict[str, Any] = json.loads(line[len(PREFIX) :])
        if not response["ok"]:
            raise Refused(f"{self.node}: {response['error']}")
        return response

    def ask(self, op: str, timeout_s: float = ANSWER_S, **request: object) -> dict[str, Any]:
        self.send(op, **request)
        return self.receive(timeout_s)

    def close(self) -> bytes:
        """End the channel, whose far end then ends what it started; what the node said on standard error."""
        self.process.kill()
        closed = self.process.returncode is not None
        return b"" if closed else self.process.communicate()[1]

    def died(self, seen: str) -> ChannelDied:
        """Close the channel and say what the node said last."""
        stderr = self.close()
        words = stderr.decode(errors="replace").strip().splitlines()
        return ChannelDied(f"{self.node}: {seen}" + (f" ({words[-1]})" if words else ""))


def cable_kind(named: list[str], watched: list[bool]) -> str:
    """Whose the bytes on the cable are: `own` test traffic alone, `shared` with others', or `unknown`."""
    return "unknown" if not all(watched) else "own" if all(named) else "shared"


class Session:
    """Both ends of the measurement, ready for samples."""

    def __init__(
        self, client: Channel, server: Channel, endpoint: dict[str, str], sides: dict[str, dict[str, Any]], again: bool
    ) -> None:
        self.client, self.server, self.endpoint = client, server, endpoint
        for end, channel in (("client", client), ("server", server)):
            where = {name: endpoint[f"{end}_{name}"] for name in ("netns", "pod")}
            channel.send("hello", **where, **sides[end], again=again)
        self.facts = {
            "client": {"node": client.node, **client.receive()},
            "server": {"node": server.node, **server.receive()},
        }
        self.boots = {facts["node"]: facts.pop("boot") for facts in self.facts.values()}
        self.shared_kernel = self.kernel_is_shared()
        self.cable = cable_kind([side["cable"] for side in sides.values()], [side["watch"] for side in sides.values()])

    def close(self) -> None:
        for channel in (self.client, self.server):
            channel.close()

    def kernel_is_shared(self) -> bool:
        """Whether both nodes run on one kernel: their machine-wide counters interleave exactly."""
        first = self.client.ask("stat")["kernel"]
        middle = self.server.ask("stat")["kernel"]
        last = self.client.ask("stat")["kernel"]
        return all(first[name] <= middle[name] <= last[name] for name in first)

    def clock_offset(self) -> tuple[float, float]:
        """Server's clock minus client's in seconds, and its uncertainty: the best of a few round trips each."""
        readings = []
        for channel in (self.client, self.server):
            best = (float("inf"), 0.0)
            for _ in range(CLOCK_PROBES):
                sent = time.time()
                remote = channel.ask("stat")["t"]
                received = time.time()
                best = min(best, ((received - sent) / 2, remote - (sent + received) / 2))
            readings.append(best)
        (client_error, client_offset), (server_error, server_offset) = readings
        return server_offset - client_offset, client_error + server_error

    def measure(self, sample: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """One sample: hygiene and counters on both ends, netperf on the client, counters again."""
        endpoint = self.endpoint
        begin = {
            "interval": sample["interval_s"],
            "time_limit": sample["time_limit_s"],
            "addresses": [endpoint["client_address"], endpoint["server_address"]],
        }
        count = sample["processes"]
        argvs = [
            netperf.argv(sample, endpoint["client_address"], endpoint["server_address"], process=index)
            for index in range(count)
        ]
        threads = self.facts["client"]["threads"]
        cpus = [index % threads if sample["pin"] == "cores" else None for index in range(count)]
        offset, uncertainty = self.clock_offset()
        self.server.send("begin", port=netperf.CONTROL_PORT, **begin)
        self.client.send("begin", port=None, **begin)
        server, client = self.server.receive(), self.client.receive()
        limit = sample["time_limit_s"]
        client.update(self.client.ask("run", argvs=argvs, time_limit=limit, cpus=cpus, timeout_s=limit + ANSWER_S))
        failed = client["reason"] is not None or any(process["exit"] != 0 for process in client["processes"])
        self.server.send("end", failed=failed)
        self.client.send("end", failed=failed)
        reasons = [client.pop("reason")]
        server.update(self.server.receive())
        client.update(self.client.receive())
        reasons += [server.pop("reason"), client.pop("reason")]
        head = {"clock_offset_s": offset, "clock_uncertainty_s": uncertainty, "shared_kernel": self.shared_kernel}
        return {
            "measurement": {
                **head,
                "cable": self.cable,
                "endpoint": endpoint,
                "reason": "; ".join(filter(None, reasons)) or None,
            },
            "client": self.facts["client"] | client,
            "server": self.facts["server"] | server,
        }


# These live as long as the loop's worker: the open session, the nodes' boots as the first session found them, and why
# no further sample begins.
_sessions: dict[str, Session] = {}
_boots: dict[str, str] = {}
_over: list[str] = []


def write_folder(folder: Path, files: dict[str, str]) -> None:
    """Write a folder of text files so that it is there whole or not at all, also after a power cut."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for name, text in files.items():
            with (partial / name).open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for directory, then in ((partial, lambda: partial.rename(folder)), (folder.parent, lambda: None)):
            fd = os.open(directory, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            then()
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)  # on a full disk its room is needed to say so
        raise


def sample_files(sample: dict[str, Any], started: str, status: str, ends: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The raw files of one sample: name to text (docs/run-folder.md)."""
    files = {}
    for process in ends.get("client", {}).get("processes", ()):
        process["stdout_file"] = f"netperf-{process['index']:02d}.txt"
        files[process["stdout_file"]] = process.pop("stdout")
    for end in ("client", "server"):
        if end in ends:
            files[f"{end}.json"] = json.dumps({"schema": "labctl.end/1", **ends[end]}) + "\n"
    head = {"schema": "labctl.measurement/1", "sample": sample, "status": status, "started_at": started}
    files["measurement.json"] = json.dumps(head | ends["measurement"], indent=1) + "\n"
    return files


class ActionModule(ActionBase):
    """Arguments: `sample` (an item of the plan), `output_dir`, `client`, `server` (node names), `stop_file`."""

    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars) | {"changed": False}
        args = self._task.args
        sample, folder = args["sample"], Path(args["output_dir"]) / args["sample"]["id"]
        result |= {"sample_id": sample["id"], "folder": str(folder)}
        if not _over and args.get("stop_file") and Path(args["stop_file"]).exists():
            _over.append("the run was asked to stop")
        if _over:
            return result | {"status": "stopped", "reason": _over[0]}
        if folder.exists():
            return self.ended(result, f"{folder} holds this sample already: move it away to measure it again")
        started = datetime.datetime.now(datetime.UTC).isoformat()
        try:
            ends = self.session(args["client"], args["server"], task_vars or {}).measure(sample)
            reason = ends["measurement"]["reason"]
        except (ChannelDied, Refused) as error:
            if "" in _sessions:
                _sessions.pop("").close()  # the next sample opens fresh channels
            reason = str(error)
            ends = {"measurement": {"reason": reason}}
        except SetupGone as error:
            return self.ended(result, str(error))
        except AnsibleConnectionFailure as error:
            _over.append(str(error))
            raise
        status = "failed" if reason else "ok"
        try:
            write_folder(folder, sample_files(sample, started, status, ends))
        except OSError as error:
            words = f"sample {sample['id']} is lost, its files cannot be written: {error.strerror} ({folder})"
            return self.ended(result | {"reason": reason}, words, "unwritten")
        return result | {"status": status, "reason": reason}

    def ended(self, result: dict[str, Any], message: str, status: str = "refused") -> dict[str, Any]:
        """The task's failure; no further sample of the loop begins."""
        _over.append(message)
        return result | {"failed": True, "msg": message, "status": status}

    def session(self, client: str, server: str, task_vars: dict[str, Any]) -> Session:
        """The open session of this loop, or a new one."""
        if "" not in _sessions:
            hostvars = task_vars["hostvars"]
            source = Path(self._find_needle("files", "node_agent.py")).read_bytes()
            ends = {"client": client, "server": server}
            endpoint = {}
            for end, node in ends.items():
                for name in ("address", "netns"):
                    if f"endpoint_{name}" not in hostvars[node]:
                        raise SetupGone(f"{node} has no deployed endpoint (endpoint_{name}): run deploy.yml first")
                    endpoint[f"{end}_{name}"] = str(hostvars[node][f"endpoint_{name}"])
                endpoint[f"{end}_pod"] = str(hostvars[node].get("endpoint_pod", ""))
            channels: list[Channel] = []
            peers = {"client": server, "server": client}
            sides = {end: self.side(hostvars[node], hostvars[peers[end]]) for end, node in ends.items()}
            try:
                for node in ends.values():
                    channels.append(self.channel(node, hostvars[node], source))
                session = Session(channels[0], channels[1], endpoint, sides, again=bool(_boots))
            except (ChannelDied, Refused) as error:
                for channel in channels:
                    channel.close()
                if isinstance(error, Refused):
                    raise SetupGone(str(error)) from error
                raise AnsibleConnectionFailure(str(error)) from error
            for node, boot in session.boots.items():
                if _boots.setdefault(node, boot) != boot:
                    session.close()
                    raise SetupGone(f"{node} was restarted: the setup that was deployed there is gone")
            _sessions[""] = session
        return _sessions[""]

    def side(self, node: Any, peer: Any) -> dict[str, Any]:
        """What a helper is told of its node: the cable, else by which address the other node is reached over it.

        Without SSH it lives in a pod, which sees its node only where the cluster let it.
        """
        watch = bool(node.get("endpoint_agent_watches", True))
        return {
            "cable": str(node.get("cable_interface", "")),
            "peer": str(peer.get("cable_address", "")),
            "watch": watch,
        }

    def channel(self, node: str, variables: dict[str, Any], source: bytes) -> Channel:
        """Start the helper on `node` through the connection that Ansible would use for it, or in a pod there."""
        if "endpoint_agent" in variables:
            argv = [*map(str, variables["endpoint_agent"]), "python3", "-IS", "-c", BOOTSTRAP]
            return Channel(node, argv, None, source)
        connection = connection_loader.get(
            variables.get("ansible_connection", "ssh"),
            self._play_context,
            task_uuid=self._task._uuid,
            ansible_playbook_pid=str(os.getppid()),
        )
        names = C.config.get_plugin_vars("connection", connection._load_name)
        connection.set_options(var_options={name: variables[name] for name in names if name in variables})
        python = variables.get("ansible_python_interpreter", "python3")
        command = f"{python} -IS -c {shlex.quote(BOOTSTRAP)}"
        command, password = self.become_command(command, connection, variables)
        if connection._load_name == "local":
            return Channel(node, ["/bin/sh", "-c", command], password, source)
        if connection._load_name != "ssh" or connection.get_option("password"):
            raise AnsibleActionFail(
                f"{node}: samples are measured over SSH with a key, or on the controller itself; seen: connection "
                f"{connection._load_name}" + (" with a password" if connection._load_name == "ssh" else "")
            )
        connection.host = connection.get_option("host") or node
        argv = connection._build_command(connection.get_option("ssh_executable"), "ssh", connection.host, command)
        return Channel(node, [part.decode() for part in argv], password, source)

    def become_command(self, command: str, connection: Any, variables: dict[str, Any]) -> tuple[str, str | None]:
        """The command as the user to become, and the password it will ask for on its input, if there is one."""
        if not boolean(variables.get("ansible_become", self._task.become or False)):
            return command, None
        method = variables.get("ansible_become_method", self._task.become_method or "sudo")
        become = become_loader.get(method)
        names = C.config.get_plugin_vars("become", become._load_name)
        task_keys = {"become_user": self._task.become_user, "become_pass": self._play_context.become_pass}
        become.set_options(
            task_keys={name: value for name, value in task_keys.items() if value},
            var_options={name: variables[name] for name in names if name in variables},
        )
        return become.build_become_command(command, connection._shell), become.get_option("become_pass")
