"""How a playbook ended, in words."""

from __future__ import annotations

from labctl.core.errors import Problem
from labctl.engine.outcome import hint_for, message_of, problems_of


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
