"""How a playbook ended, in words."""

from __future__ import annotations

from dataclasses import replace

from labctl.core.errors import Problem
from labctl.engine.outcome import Failure, Outcome, hint_for, message_of, problems_of


def test_messages_carry_what_the_module_printed() -> None:
    assert message_of({"msg": "failed", "stderr": "because"}) == "failed\nbecause"
    assert message_of({"msg": "failed because", "stderr": "because"}) == "failed because"
    assert message_of({}) == "no message"


def test_advice_is_given_where_it_is_known() -> None:
    assert (hint_for("Permission denied (publickey).") or "").startswith("the node refused the key")
    assert hint_for("anything else") is None


def test_a_module_may_name_its_problems_one_by_one() -> None:
    one = {"what": "no room", "where": "/boot", "seen": "3 MB", "hint": "make some"}
    result = {"msg": "no room and more", "problems": [one]}
    assert problems_of(result, "localhost") == (Problem("no room", "/boot", "3 MB", "make some"),)
    assert problems_of(result, "node1") == (Problem("no room", "node1, /boot", "3 MB", "make some"),)
    assert problems_of({"msg": "no room"}, "node1") == ()


def test_a_place_is_named_once() -> None:
    def where(node: str, **more: object) -> list[str | None]:
        places: tuple[dict[str, str], ...] = ({}, {"where": "node1"}, {"where": "node1, /boot"}, {"where": "node11"})
        told = problems_of({"problems": [{"what": "wrong", **place} for place in places], **more}, node)
        return [problem.where for problem in told]

    assert where("node1") == ["node1", "node1", "node1, /boot", "node1, node11"]
    # A cluster is asked once, for whatever node: what it says of another one is not of this one.
    assert where("node2", of_cluster=True) == ["the cluster", "node1", "node1, /boot", "node11"]
    assert where("localhost") == [None, "node1", "node1, /boot", "node11"]


def test_a_failure_is_told_in_its_own_words_and_gets_a_next_step_where_it_has_none() -> None:
    plain = Failure("play.yml", "A task", "node1", "it broke")
    (told,) = plain.told
    assert (told.where, told.seen, told.hint) == ("node1, task 'A task' of play.yml", "it broke", None)
    assert plain.advised("again").told[0].hint == "again"
    own = replace(plain, problems=(Problem("no room", hint="make some"), Problem("no kernel")))
    assert [one.hint for one in own.advised("again").told] == ["make some", "again"]
    assert Outcome("failed", (plain, own), 0, 0.1).problems == (told, *own.problems)
