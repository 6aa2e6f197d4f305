"""Strict decoding: every message names its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest

from labctl.core.errors import RESTORE, LabctlError, Problem
from labctl.core.records import decode, encode, load_yaml, suggestion


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Wheel:
    size: float
    spokes: int | None = None


@dataclass(frozen=True)
class Cart:
    name: str
    colour: Colour
    wheels: tuple[Wheel, ...]
    labels: Mapping[str, bool | str]
    axle: tuple[int, int]
    kind: Literal["cart/1"] = "cart/1"


GOOD = {
    "name": "a",
    "colour": "red",
    "wheels": [{"size": 1, "spokes": 3}, {"size": 2.5}],
    "labels": {"x": True, "y": "no"},
    "axle": [1, 2],
}


def test_a_document_becomes_a_dataclass_and_back() -> None:
    cart = decode(Cart, GOOD, "cart.yml")
    assert cart == Cart("a", Colour.RED, (Wheel(1.0, 3), Wheel(2.5)), {"x": True, "y": "no"}, (1, 2))
    assert decode(Cart, encode(cart), "cart.yml") == cart
    assert encode(cart)["wheels"] == [{"size": 1.0, "spokes": 3}, {"size": 2.5, "spokes": None}]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"colour": "green"}, Problem("the value is not red or blue", "cart.yml:colour", "'green'")),
        ({"name": 3}, Problem("the value is not a text", "cart.yml:name", "3")),
        ({"name": None}, Problem("the value is not a text", "cart.yml:name", "None")),
        ({"axle": [1, True]}, Problem("the value is not a whole number", "cart.yml:axle[1]", "True")),
        ({"axle": [1]}, Problem("the value is not a list of 2", "cart.yml:axle", "[1]")),
        ({"wheels": {}}, Problem("the value is not a list", "cart.yml:wheels", "{}")),
        ({"labels": {"x": 1}}, Problem("the value is not true or false or a text", "cart.yml:labels.x", "1")),
        ({"labels": []}, Problem("the value is not a mapping", "cart.yml:labels", "[]")),
        ({"kind": "cart/2"}, Problem("the value is not cart/1", "cart.yml:kind", "'cart/2'")),
        (
            {"colur": "red"},
            Problem(
                "unknown key",
                "cart.yml:colur",
                hint="did you mean colour? known: name, colour, wheels, labels, axle, kind",
            ),
        ),
    ],
)
def test_a_wrong_value_names_its_place(change: dict[str, object], problem: Problem) -> None:
    with pytest.raises(LabctlError) as raised:
        decode(Cart, GOOD | change, "cart.yml")
    assert raised.value.problems == (replace(problem, hint=problem.hint or RESTORE),)


def test_all_problems_of_a_document_come_together() -> None:
    with pytest.raises(LabctlError) as raised:
        decode(Cart, {"name": "a", "colour": "green", "wheels": [{"spokes": "3"}], "labels": {}}, "cart.yml")
    assert [(problem.what, problem.where) for problem in raised.value.problems] == [
        ("the value is not red or blue", "cart.yml:colour"),
        ("missing key", "cart.yml:wheels[0].size"),
        ("the value is not a whole number", "cart.yml:wheels[0].spokes"),
        ("missing key", "cart.yml:axle"),
    ]


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yml"
    path.write_text("a: 1\nb: {c: 1, c: 2}\n")
    with pytest.raises(LabctlError, match="the key 'c' is written twice"):
        load_yaml(path)


def test_broken_yaml_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.yml"
    path.write_text("a: [1\n")
    with pytest.raises(LabctlError) as raised:
        load_yaml(path)
    assert raised.value.problems[0].what == "a file is not valid YAML"
    assert raised.value.problems[0].where == str(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabctlError) as raised:
        load_yaml(tmp_path / "none.yml")
    assert raised.value.problems == (
        Problem("a file cannot be read", str(tmp_path / "none.yml"), "No such file or directory", RESTORE),
    )


def test_a_suggestion_names_the_closest_word() -> None:
    assert suggestion("veth-epbf", ["baseline", "veth-ebpf"]) == "did you mean veth-ebpf? known: baseline, veth-ebpf"
    assert suggestion("zzz", ["baseline", "veth-ebpf"]) == "known: baseline, veth-ebpf"
