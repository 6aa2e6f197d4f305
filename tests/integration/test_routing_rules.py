"""Routing rules that a CNI changed, put back in a network namespace of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

REPOSITORY = Path(__file__).resolve().parent.parent.parent
IN_A_NAMESPACE = """
import importlib, json, subprocess, sys
import ansible.module_utils
repository, *changes = sys.argv[1:]
for role in ("lab_host", "kubernetes"):
    ansible.module_utils.__path__.append(f"{repository}/roles/{role}/module_utils")
sys.path.insert(0, f"{repository}/roles/kubernetes/library")
gone = importlib.import_module("kubernetes_gone")
seen = [sorted(gone.rules())]
for change in changes:
    subprocess.run(["ip", *change.split()], check=True)
seen.append(sorted(gone.rules()))
try:
    gone.remove_rules({"rules": seen[0]})
except gone.Failed as failed:
    seen.append([failed.result()["problems"][0]["what"]])
else:
    seen.append(sorted(gone.rules()))
print(json.dumps(seen))
"""
# What Cilium does for its proxy and for IPsec: its own rules come before the one for the table `local`, which moves.
CILIUM = (
    "-4 rule add priority 100 from all lookup local",
    "-4 rule delete priority 0",
    "-4 rule add priority 9 from all fwmark 0x200/0xf00 lookup 2004 protocol kernel",
    "-4 rule add priority 111 from 10.217.0.0/24 to 10.217.1.0/24 iif lo lookup 2005",
    "-6 rule add priority 100 from all lookup local",
    "-6 rule delete priority 0",
)


def before_and_after(*changes: str) -> list[list[str]]:
    """The rules as they were, as they are after some changes, and after those were removed, or why they were not."""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", IN_A_NAMESPACE, str(REPOSITORY), *changes],
        check=True,
        capture_output=True,
        text=True,
    )
    seen: list[list[str]] = json.loads(done.stdout)
    return seen


def test_the_rule_that_was_moved_is_put_back_and_new_ones_go() -> None:
    before, changed, after = before_and_after(*CILIUM)
    assert len(changed) == len(before) + 2
    assert not [rule for rule in changed if json.loads(rule.partition(" ")[2])["priority"] == 0]
    assert after == before


def test_a_rule_with_selectors_that_are_not_known_is_left_and_named() -> None:
    *_, problems = before_and_after("-4 rule add priority 50 from all uidrange 1000-1001 lookup main")
    assert problems == ["A routing rule has selectors that labctl cannot put back or remove."]
