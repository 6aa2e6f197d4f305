"""A channel: lines to and from a real process, and what is said when that fails."""

from __future__ import annotations

import sys
import time

import pytest
from labctl_measure.channel import Channel, ChannelDied, Refused
from labctl_measure.transport import Command

ECHO = """
import json, sys
print("Welcome to node1!", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    print("sudo: a word", flush=True)
    print("labctl:" + json.dumps({"ok": request["op"] != "refuse", "error": "no", **request}), flush=True)
"""
DIES = "import sys; sys.stdin.readline(); sys.exit('node1 is on fire')"


def channel(program: str, head: bytes = b"") -> Channel:
    return Channel("node1", Command([sys.executable, "-c", program]), head)


def test_other_lines_are_passed_over() -> None:
    open_channel = channel(ECHO)
    try:
        assert open_channel.ask("add", a=1)["a"] == 1
        open_channel.send("first")
        open_channel.send("second")
        assert [open_channel.receive()["op"] for _ in range(2)] == ["first", "second"]
    finally:
        open_channel.close()


def test_a_refusal_names_the_node_and_leaves_the_channel_open() -> None:
    open_channel = channel(ECHO)
    try:
        with pytest.raises(Refused, match="node1: no"):
            open_channel.ask("refuse")
        assert open_channel.ask("more")["op"] == "more"
    finally:
        open_channel.close()


def test_a_far_end_that_ends_is_told_with_its_last_words() -> None:
    with pytest.raises(ChannelDied, match=r"node1: the connection was closed \(node1 is on fire\)"):
        channel(DIES).ask("anything")


LOST = "import sys; print('This account is closed.', flush=True); sys.stdin.readline(); sys.exit({})"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("'one\\ntwo\\nthree'", "one; two; three"),
        ("chr(10).join(map(str, range(9)))", "3; 4; 5; 6; 7; 8"),
        ("''", "This account is closed."),
    ],
)
def test_all_that_was_said_at_the_end_is_told(words: str, told: str) -> None:
    with pytest.raises(ChannelDied, match=rf"\({told}\)$"):
        channel(LOST.format(words)).ask("anything")


def test_words_that_come_after_the_output_has_ended_are_waited_for() -> None:
    late = "import os, sys, time; sys.stdin.readline(); os.close(1); time.sleep(0.2); sys.exit('ssh: no route')"
    with pytest.raises(ChannelDied, match="ssh: no route"):
        channel(late).ask("anything")


def test_much_on_standard_error_stops_nobody() -> None:
    loud = ECHO.replace('print("sudo', 'sys.stderr.write("x" * 100000 + chr(10)); sys.stderr.flush(); print("sudo')
    open_channel = channel(loud)
    try:
        assert [open_channel.ask("again")["op"] for _ in range(3)] == ["again"] * 3
    finally:
        open_channel.close()


def test_a_far_end_that_is_silent_is_ended() -> None:
    silent = channel("import time; time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(ChannelDied, match=r"node1: no answer within 0\.3 s"):
        silent.ask("anything", timeout_s=0.3)
    assert time.monotonic() - began < 5
    assert silent.process.returncode is not None
    assert silent.close() == b""


def test_a_far_end_that_reads_nothing_cannot_be_written_to() -> None:
    gone = channel("")
    gone.process.wait(timeout=10)
    with pytest.raises(ChannelDied, match=r"node1: cannot write: .*Broken pipe"):
        gone.send("anything")
