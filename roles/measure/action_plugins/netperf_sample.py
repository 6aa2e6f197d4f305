"""Action plugin: measure one netperf sample between the lab's client and server.

Runs on the controller, once per item of a loop. All items of one loop share the worker process, so the module
keeps one channel per node open (an agent at its other end) and a sample costs a few round trips instead of two logins.
The sample's raw files are on disk, synced and renamed into place, before the plugin returns.

A sample that fails is returned as data (`status: failed` and the reason). What fails the task ends the loop as well:
a node that cannot be reached, a setup that is not there (any more), a machine that does not come to rest, files that
cannot be written.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

# Ansible loads a role's plugin as a lone file: what this one consists of is not on Python's path.
# The agent's own code also says what this controller's kernel counts.
sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("plugin_utils", "files")]

from labctl_measure import raw_files
from labctl_measure.channel import Channel, ChannelDied, Refused
from labctl_measure.ends import End, Ends, SetupGone
from labctl_measure.rest import NoRest, Unwanted
from labctl_measure.session import Session
from labctl_measure.transport import Command, Transport, pack

STOPPED = "the run was asked to stop"

# These live as long as the loop's worker: the open session, the nodes' boots as the first session found them, and why
# no further sample begins.
_sessions: dict[str, Session] = {}
_boots: dict[str, str] = {}
_over: list[str] = []


class ActionModule(ActionBase):
    """Arguments: `sample` (an item of the plan), `output_dir`, `client`, `server` (node names), `stop_file`.

    `rest_limit_s`: how long to wait before the first sample until the machines are at rest.
    """

    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars) | {"changed": False}
        args = self._task.args
        sample, folder = args["sample"], Path(args["output_dir"]) / args["sample"]["id"]
        result |= {"sample_id": sample["id"], "folder": str(folder)}
        if not _over and self.stopped():
            _over.append(STOPPED)
        if _over:
            return result | {"status": "stopped", "reason": _over[0]}
        if folder.exists():
            return self.ended(result, f"{folder} holds this sample already: move it away to measure it again")
        started = datetime.datetime.now(datetime.UTC).isoformat()
        try:
            ends = self.measure(sample, task_vars or {})
        except Unwanted:
            _over.append(STOPPED)
            return result | {"status": "stopped", "reason": STOPPED}
        except (SetupGone, NoRest, AnsibleActionFail) as error:
            return self.ended(result, str(error))
        except AnsibleConnectionFailure as error:
            _over.append(str(error))
            raise
        reason = ends["measurement"]["reason"]
        status = "failed" if reason else "ok"
        try:
            raw_files.write(folder, raw_files.texts(sample, started, status, ends))
        except OSError as error:
            words = f"sample {sample['id']} is lost, its files cannot be written: {error.strerror} ({folder})"
            return self.ended(result | {"reason": reason}, words, "unwritten")
        return result | {"status": status, "reason": reason}

    def stopped(self) -> bool:
        """Whether the run was asked to stop."""
        return bool(self._task.args.get("stop_file")) and Path(self._task.args["stop_file"]).exists()

    def ended(self, result: dict[str, Any], message: str, status: str = "refused") -> dict[str, Any]:
        """The task's failure; no further sample of the loop begins."""
        _over.append(message)
        return result | {"failed": True, "msg": message, "status": status}

    def measure(self, sample: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """What both ends saw of a sample; why not, where an agent failed in it."""
        try:
            if "" not in _sessions:
                _sessions[""] = self.session(task_vars["hostvars"])
            return _sessions[""].measure(sample)
        except (ChannelDied, Refused) as error:
            _sessions.pop("").close()  # the next sample opens fresh channels
            return {"measurement": {"reason": str(error)}}

    def session(self, hostvars: Any) -> Session:
        """A new session with both nodes, on which nothing was restarted since the first one."""
        client, server = self._task.args["client"], self._task.args["server"]
        ends = Ends(End.of(client, server, hostvars), End.of(server, client, hostvars))
        agent = pack(Path(self._find_needle("files", "labctl_agent")))
        transport = Transport(self)
        channels: list[Channel] = []

        def channel(node: str, command: Command) -> Channel:
            channels.append(Channel(node, command, agent))
            return channels[-1]

        def host() -> Channel:
            return channel("this controller", transport.on_the_controller(hostvars.raw_get("localhost")))

        try:
            both = [channel(node, transport.command(node, hostvars.raw_get(node))) for node in (client, server)]
            session = Session(both[0], both[1], ends, bool(_boots), host)
        except (ChannelDied, Refused) as error:
            for each in channels:
                each.close()
            if isinstance(error, Refused):
                raise SetupGone(str(error)) from error
            raise AnsibleConnectionFailure(str(error)) from error
        for node, boot in session.boots.items():
            if _boots.setdefault(node, boot) != boot:
                session.close()
                raise SetupGone(f"{node} was restarted: the setup that was deployed there is gone")
        try:
            session.rest(float(self._task.args["rest_limit_s"]), self.stopped)
        except (NoRest, Unwanted):
            session.close()
            raise
        return session
