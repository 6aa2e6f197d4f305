"""Signals that ask to end: told to work that ends in order, else an exception, and after that only clean-ups."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from labctl.core import ending
from labctl.core.ending import Ended


def send(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ending.SIGNALS)
def test_work_that_does_not_end_by_itself_is_left(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Ended) as ended, ending.heard(lambda _: None) as requests, ending.leaves("half"):
        send(number)
    assert (ended.value.number, ended.value.left, ended.value.exit_code) == (number, "half", 128 + number)
    assert requests.first is number
    assert signal.getsignal(number) == before


def test_the_innermost_word_on_what_is_left_stays() -> None:
    with pytest.raises(Ended) as ended, ending.leaves("outer"), ending.leaves("inner"):
        raise Ended(signal.SIGINT)
    assert ended.value.left == "inner"


def test_work_that_ends_in_order_is_told_and_left_at_its_end() -> None:
    asked: list[int] = []
    said: list[str] = []

    def answer(count: int) -> str:
        asked.append(count)
        return f"{count}"

    def work() -> None:
        with ending.answered(answer):
            send(signal.SIGTERM)
            send(signal.SIGINT)
            asked.append(0)
        asked.append(-1)

    with pytest.raises(Ended) as ended, ending.heard(said.append):
        work()
    assert (asked, said) == ([1, 2, 0], ["SIGTERM: 1", "SIGTERM: 2"])
    assert ended.value.number is signal.SIGTERM


def test_the_outermost_work_decides_and_says() -> None:
    said: list[str] = []
    with ending.heard(said.append) as requests:
        with ending.kept(lambda _: "the run"):
            with ending.answered(lambda _: "a playbook"):
                send()
            said.append("the run goes on")
        said.append("and says how it ended")
    assert said == ["SIGINT: the run", "the run goes on", "and says how it ended"]
    assert requests.first is signal.SIGINT


def test_work_that_failed_on_the_way_fails_with_its_own_words() -> None:
    def fail() -> None:
        send()
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"), ending.heard(lambda _: None), ending.answered(lambda _: ""):
        fail()


def test_nothing_is_asked_where_nobody_hears() -> None:
    with ending.answered(lambda _: ""), ending.kept(lambda _: ""):
        pass


CLEANING = """
import os, signal
from labctl.core import ending
with ending.heard(lambda text: print(text, flush=True)):
    try:
        os.kill(os.getpid(), signal.SIGHUP)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        print("clean", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        print("never", flush=True)
"""


def test_a_second_signal_does_not_end_a_clean_up_and_a_third_does() -> None:
    done = subprocess.run([sys.executable, "-c", CLEANING], capture_output=True, text=True, check=False)
    assert done.stdout == "SIGHUP: cleaning up; once more ends that, too\nclean\n"
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


def test_what_the_caller_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with ending.heard(lambda _: None) as requests:
            send(signal.SIGHUP)
        assert requests.first is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
