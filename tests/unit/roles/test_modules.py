"""What modules say of themselves is what they are: options and results. Action plugins have no documentation."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

ROLES = Path(__file__).resolve().parent.parent.parent.parent / "roles"
MODULES = sorted(ROLES.glob("*/library/*.py"))
OF_ANSIBLE = {"changed", "msg", "warnings", "failed", "diff"}  # every module may return them


class Recorded(BaseException):
    """Ends a module where it hands over its arguments."""


def record(argument_spec: Mapping[str, Any], **_: object) -> NoReturn:
    """Stand in for AnsibleModule."""
    raise Recorded(argument_spec)


def arguments_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """Return the argument_spec that a module passes to AnsibleModule when it runs."""
    description = importlib.util.spec_from_file_location(f"documented_{path.stem}", path)
    assert description is not None
    assert description.loader is not None
    module = importlib.util.module_from_spec(description)
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where dataclasses look for their module
    description.loader.exec_module(module)
    vars(module)["AnsibleModule"] = record
    with pytest.raises(Recorded) as recorded:
        module.main()
    spec: Mapping[str, Any] = recorded.value.args[0]
    return spec


def blocks_of(path: Path) -> Mapping[str, Any]:
    """Return DOCUMENTATION and RETURN of a file, as far as it has them."""
    found: dict[str, Any] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            found |= {
                target.id: yaml.safe_load(str(statement.value.value))
                for target in statement.targets
                if isinstance(target, ast.Name) and target.id in ("DOCUMENTATION", "RETURN")
            }
    return found


def plain(options: Mapping[str, Any], below: str) -> Mapping[str, Any]:
    """Return what can be compared of options; what is inside of them stands under the key `below`."""
    return {
        name: {
            "type": option.get("type", "str"),
            "required": option.get("required", False),
            "default": option.get("default"),
            "choices": list(option.get("choices") or ()),
            "elements": option.get("elements"),
            "inside": plain(option.get(below) or {}, below),
        }
        for name, option in options.items()
    }


def words_of(path: Path) -> set[str]:
    """Every string, keyword and name of a field in a file."""
    words: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
        elif isinstance(node, ast.keyword) and node.arg:
            words.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            words.add(node.target.id)
    return words


def returned(path: Path) -> Iterator[str]:
    """Names that a module hands to exit_json one by one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "exit_json":
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)


def undescribed(options: Mapping[str, Any]) -> list[str]:
    """Names of options, those inside others included, of which nothing is said, or something that ends at a comma."""
    inside = [name for option in options.values() for name in undescribed(option.get("suboptions") or {})]
    cut = [name for name, option in options.items() if None in option.values()]
    return [name for name, option in options.items() if not option.get("description")] + cut + inside


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.stem))
def test_documented_options_are_those_of_the_module(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documentation = blocks_of(path)["DOCUMENTATION"]
    options = documentation.get("options") or {}
    assert documentation["module"] == path.stem
    assert plain(options, "suboptions") == plain(arguments_of(path, monkeypatch), "options")
    assert undescribed(options) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.stem))
def test_documented_results_are_those_of_the_module(path: Path) -> None:
    results = blocks_of(path).get("RETURN") or {}
    shared = [*path.parent.parent.glob("module_utils/*.py"), *ROLES.glob("node/module_utils/labctl_node/proof.py")]
    known = words_of(path).union(*map(words_of, shared))
    assert set(results) - known == set(), "nothing in the module or its role has such a name"
    assert set(returned(path)) - set(results) - OF_ANSIBLE == set(), "RETURN says nothing of it"
    assert undescribed(results) == []
    assert [name for name, result in results.items() if not result.get("type")] == []


def test_a_difference_at_any_depth_is_seen() -> None:
    inside = {"mtu": {"type": "int", "default": 1500, "description": "x"}}
    documented = {"pod": {"type": "dict", "suboptions": inside}}
    for wrong in ({"default": 1400}, {"type": "str"}, {"required": True}, {"choices": [1500]}):
        actual = {"pod": {"type": "dict", "options": {"mtu": inside["mtu"] | wrong}}}
        assert plain(documented, "suboptions") != plain(actual, "options")
    assert plain(documented, "suboptions") == plain({"pod": {"type": "dict", "options": inside}}, "options")
    assert undescribed(documented) == ["pod"]
