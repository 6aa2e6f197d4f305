"""What values of an inventory may be."""

from __future__ import annotations

import pytest

from labctl.engine import forms, schema


@pytest.mark.parametrize("name", sorted(schema.VARIABLES))
def test_no_address_is_of_ipv6_whatever_it_is_called(name: str) -> None:
    form = schema.VARIABLES[name].form
    if "IPv4 address" in form.allowed:
        wrong, right = ["::1", "2001:db8::1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"], "192.0.2.1"  # noqa: S104
        wrong += ["192.0.2.1/24", "192.0.2", "192.0.2.1 ", "cable.example", "192.0.2.01"]
    elif "IPv4 network" in form.allowed:
        wrong, right = ["2001:db8::/64", "192.0.2.1/24", "192.0.2.0", "0.0.0.0/0", "192.0.2.0/30"], "192.0.2.0/24"
        wrong += ["192.0.2.0/255.255.255.0", "127.0.0.0/8"]
    else:
        return
    of = (lambda value: [value]) if "list" in form.allowed else (lambda value: value)
    assert form.why_not(of(right)) is None
    assert all(form.why_not(of(value)) for value in [*wrong, 1, None, ["192.0.2.1"]])


def test_a_control_character_is_found_anywhere_inside() -> None:
    assert forms.control_characters({"a": [1, {"b\n": None}]})
    assert forms.control_characters(["x\u2028"])
    assert not forms.control_characters({"a": ["ä b", 1, None, {"c": "{{ 1/0 }}"}]})


def test_the_words_of_a_form_are_what_it_takes() -> None:
    form = forms.each(forms.or_empty(forms.choice(["x", "y"])))
    assert form.allowed == "a list; of each entry: one of: x, y; or empty"
    assert [form.why_not(value) for value in (["x", ""], [], "x", ["z"])] == [
        None,
        None,
        "this is no list",
        "this is none of the values that it can have",
    ]
