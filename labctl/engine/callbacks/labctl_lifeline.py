"""Callback plugin: Ansible dies with the labctl that started it, and ends between two tasks when asked to.

ansible-runner cancels by killing ansible-playbook, whose workers have sessions of their own and would run on; a
killed labctl would leave all of it running. So ansible-playbook, from its start (launch.py), and through a fork hook
each of its workers ask the kernel for SIGKILL when their parent ends (prctl(2), PR_SET_PDEATHSIG).

While the file that LABCTL_STOP_FILE names is there, no task begins: Ansible ends as after Ctrl-C. From the first sample
on the samples themselves look at it, and what follows them takes the setup down.

Each task says when it begins, so that a log tells where the time went.
"""

from __future__ import annotations

import ctypes
import os
import signal
from datetime import UTC, datetime
from typing import Any

from ansible import constants as C  # noqa: N812  (Ansible's own name for it)
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: labctl_lifeline
    type: aggregate
    short_description: ends Ansible when the labctl that started it ends
    description: Binds ansible-playbook and its workers to the life of their parent process, and says when tasks begin.
"""

PR_SET_PDEATHSIG = 1
POLL_S = C.DEFAULT_INTERNAL_POLL_INTERVAL
MEASURING_POLL_S = 0.1  # results of samples do not wait for it: they come through a thread of their own
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with(parent: int) -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


class CallbackModule(CallbackBase):
    """Takes effect by being loaded."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "labctl_lifeline"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        playbook = os.getpid()
        os.register_at_fork(after_in_child=lambda: _die_with(playbook) if os.getppid() == playbook else None)

        self._stop = os.environ.get("LABCTL_STOP_FILE")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002  (Ansible's signature)
        """Say when, and see whether it is to begin at all.

        While Ansible measures, let it look for results less often: its polling would take CPU from netperf.
        """
        self._display.display(datetime.now(UTC).isoformat(timespec="milliseconds"))
        measuring = task.action.rpartition(".")[2] == "netperf_sample"
        C.DEFAULT_INTERNAL_POLL_INTERVAL = MEASURING_POLL_S if measuring else POLL_S
        if measuring:
            self._stop = None
        if self._stop and os.path.exists(self._stop):  # noqa: PTH110  (no pathlib for one look per task)
            raise KeyboardInterrupt
