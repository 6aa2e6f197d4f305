"""The CPUs of this machine, and lists of them as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

from labctl_agent import cpus


def test_a_list_may_have_gaps_and_more_than_64_cpus() -> None:
    assert cpus.numbers("0,2,4\n") == [0, 2, 4]
    assert cpus.numbers("0-2,62-66,127") == [0, 1, 2, 62, 63, 64, 65, 66, 127]
    assert cpus.numbers("\n") == []


def test_those_that_are_on_are_read(tmp_path: Path) -> None:
    assert set(cpus.online() or ()) >= os.sched_getaffinity(0)
    assert cpus.online(str(tmp_path)) is None
