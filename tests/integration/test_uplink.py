"""The uplink of a local lab forwards for the lab's own addresses alone, and for nobody once the lab is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import LAB_NAME

pytestmark = pytest.mark.lab

# The conftest lets ansible.module_utils have what is the roles'.
RUN = "import tests.conftest, runpy; runpy.run_module('tests.integration.uplink', run_name='__main__')"
CLOSED = {"neighbour to far": False, "far to neighbour": False, "neighbour to node": False, "far to node": False}
OPEN = {"neighbour to far": True, "far to neighbour": True, "neighbour to node": False, "far to node": False}
OWN = {"node to neighbour": True, "node to node": True, "foreign source": False}


@pytest.mark.parametrize(("routes", "others"), [("01", CLOSED), ("00", CLOSED), ("11", OPEN)])
def test_nobody_but_the_lab_is_forwarded_who_was_not_before(
    tmp_path: Path, repository: Path, routes: str, others: dict[str, bool]
) -> None:
    host = f"{LAB_NAME}-uplink"
    script = [sys.executable, "-c", RUN, str(tmp_path / "state"), routes]
    subprocess.run(["ip", "netns", "add", host], check=True)
    try:
        done = subprocess.run(
            ["ip", "netns", "exec", host, *script], cwd=repository, capture_output=True, text=True, check=False
        )
    finally:
        subprocess.run(["ip", "netns", "delete", host], check=True)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    untouched = {**others, "forwarding": [*routes], "table": False}
    assert told["before"] == untouched
    assert told["with"] == {**others, **OWN, "forwarding": ["1", routes[1]], "table": True}
    assert told["after"] == untouched
    assert "net/ipv4/conf/up0/forwarding" in told["changed"]
