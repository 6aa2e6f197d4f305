"""The rules that every role and playbook keeps, read from their files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent
ROLES = sorted(path for path in (REPOSITORY / "roles").iterdir() if path.is_dir())
SCENARIOS = REPOSITORY / "molecule"
STEPS = [
    path for scenario in SCENARIOS.glob("*/molecule.yml") for path in scenario.parent.glob("*.yml") if path != scenario
]
PLAYBOOKS = sorted([*(REPOSITORY / "playbooks").glob("*.yml"), *STEPS])
TASK_FILES = sorted((REPOSITORY / "roles").glob("*/tasks/**/*.yml"))
CONTENT = sorted([*PLAYBOOKS, *(REPOSITORY / "roles").glob("*/*/**/*.yml")])
MOST_LINES = 60
ESCAPES = re.compile(
    r"ignore_errors:|ignore_unreachable:|failed_when: *(false|no)\b|\|\| *true\b|ansible\.builtin\.pause:"
)
# What leans on the task before, which may be far above in Ansible's log, or skipped.
BACKWARD = re.compile(
    r"(also|and|but|his|it|its|neither|nor|same|second|so|such|that|their|them|then|there|these|they|this|those)\b",
    re.IGNORECASE,
)

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def of_repository(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def defaults_of(role: Path) -> Mapping[str, object]:
    """Return the public defaults; `__role_x` is the role's own business."""
    path = role / "defaults" / "main.yml"
    content = (load(path) or {}) if path.exists() else {}
    return {name: value for name, value in content.items() if not name.startswith("__")}


def options_of(role: Path) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield entry point, name and specification of every argument of a role."""
    for entry, specification in load(role / "meta" / "argument_specs.yml")["argument_specs"].items():
        for name, option in (specification.get("options") or {}).items():
            yield entry, name, option


@each_role
def test_arguments_and_defaults_name_the_same_variables(role: Path) -> None:
    required = {name for _, name, option in options_of(role) if option.get("required")}
    optional = {name for _, name, option in options_of(role)} - required
    defaults = set(defaults_of(role))
    assert optional == defaults, "meta/argument_specs.yml (optional) and defaults/main.yml differ"
    assert not required & defaults, "a required argument with a default is not required"


@each_role
def test_arguments_and_defaults_have_the_same_values(role: Path) -> None:
    defaults = defaults_of(role)
    for entry, name, option in options_of(role):
        if not option.get("required"):
            assert "default" in option, f"{entry}: {name} has no default in meta/argument_specs.yml"
            assert option["default"] == defaults[name], f"{entry}: {name}"


@each_role
def test_arguments_are_typed_described_and_named_after_the_role(role: Path) -> None:
    for entry, name, option in options_of(role):
        where = f"{entry}: {name}"
        assert option.get("type"), f"{where} has no type"
        assert option.get("description"), f"{where} has no description"
        # Set up for every role by the inventory and by the deploy interface of the variants.
        shared = name in {"lab_name", "lab_kind"} or name.startswith(("cable_", "pod_", "setup_", "endpoint_"))
        assert shared or name.startswith(f"{role.name}_"), f"{where} does not begin with {role.name}_"


@each_role
def test_every_entry_point_has_its_arguments_checked(role: Path) -> None:
    for entry in load(role / "meta" / "argument_specs.yml")["argument_specs"]:
        assert (role / "tasks" / f"{entry}.yml").is_file(), f"{entry} is no task file of the role"


@each_role
def test_every_default_is_explained(role: Path) -> None:
    path = role / "defaults" / "main.yml"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines):
        if re.match(r"[a-z]\w*:", line):
            paragraph = lines[:number][::-1]
            above = next((text for text in paragraph if not re.match(r"[a-z_]\w*:|\s+\S", text)), "")
            assert above.startswith("#"), f"{of_repository(path)}:{number + 1} has no comment above it"


@each_role
def test_every_role_has_a_readme(role: Path) -> None:
    readme = role / "README.md"
    assert readme.is_file()
    assert readme.read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("role", [role for role in ROLES if (role / "tasks").is_dir()], ids=lambda role: role.name)
def test_every_role_that_does_something_has_a_scenario(role: Path) -> None:
    """A role without tasks lends its modules to others, whose scenarios run them."""
    scenario = SCENARIOS / role.name
    assert load(scenario / "molecule.yml")["scenario"]["name"] == role.name
    for step in ("converge", "verify"):
        assert load(scenario / f"{step}.yml"), f"molecule/{role.name}/{step}.yml does nothing"


@pytest.mark.parametrize("path", TASK_FILES, ids=of_repository)
def test_task_files_are_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES, f"{lines} lines: split it by what it does"


@pytest.mark.parametrize("path", [*PLAYBOOKS, *TASK_FILES], ids=of_repository)
def test_plays_and_tasks_are_named(path: Path) -> None:
    for item in every_item(load(path) or []):
        assert item.get("name"), f"no name: {item}"


@pytest.mark.parametrize("path", [*PLAYBOOKS, *TASK_FILES], ids=of_repository)
def test_names_stand_alone_in_the_log(path: Path) -> None:
    names = [item["name"] for item in every_item(load(path) or [])]
    leaning = [name for name in names if BACKWARD.match(name)]
    assert not leaning, "name what is meant: a reader of the log does not see the task before"


@pytest.mark.parametrize("path", CONTENT, ids=of_repository)
def test_nothing_fails_in_silence(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        code = line.partition(" #")[0] if not line.lstrip().startswith("#") else ""
        assert not ESCAPES.search(code), f"{of_repository(path)}:{number}: {line.strip()}"


def every_item(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield plays, tasks, and the tasks inside them, however deep."""
    for item in items:
        yield item
        for inside in ("pre_tasks", "tasks", "post_tasks", "handlers", "block", "rescue", "always"):
            yield from every_item(item.get(inside) or [])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("- name: a\n  tasks:\n    - name: b\n    - block:\n        - name: c\n", ["a", "b", None, "c"]),
        ("- name: a\n  handlers: [{name: b}]\n", ["a", "b"]),
    ],
)
def test_items_are_found_at_every_depth(text: str, names: list[str | None]) -> None:
    assert [item.get("name") for item in every_item(yaml.safe_load(text))] == names
