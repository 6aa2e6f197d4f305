"""Every entry point of a role that is in use is declared, so that Ansible checks its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from labctl import catalog
from tests.unit.roles.test_roles import PLAYBOOKS, REPOSITORY, ROLES, TASK_FILES, every_item, load, of_repository

TESTS_OWN = sorted((REPOSITORY / "tests").glob("acceptance/**/*.yml"))
NAMES = [role.name for role in ROLES]
INCLUDES = ("include_role", "import_role", "ansible.builtin.include_role", "ansible.builtin.import_role")
# Roles that data names: those of variants in the catalog, and those of kinds of lab in playbooks/group_vars.
BY_DATA = sorted({variant.role for variant in catalog.load().variants.values()} | {"lab_nodes"})
TEMPLATE = re.compile(r"\{\{.*?\}\}")


def named(items: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the roles that plays and tasks name, templates unrendered, with the entry point of each."""
    for item in every_item([one for one in items if isinstance(one, dict)]):
        called = [item[word] for word in INCLUDES if word in item]
        called += [{"name": one} if isinstance(one, str) else one for one in item.get("roles", ())]
        for one in called:
            yield one.get("name") or one["role"], one.get("tasks_from", "main").removesuffix(".yml")


def roles_of(name: str, entry: str) -> list[str]:
    """Return the roles that a name stands for; a template alone, for all that data may name and that have the entry."""
    if name in NAMES:
        return [name]
    pattern = ".+".join(re.escape(part) for part in TEMPLATE.split(name))
    if pattern != ".+":
        return [role for role in NAMES if re.fullmatch(pattern, role)]
    return [role for role in BY_DATA if (REPOSITORY / f"roles/{role}/tasks/{entry}.yml").is_file()]


def in_use() -> dict[tuple[str, str], str]:
    """Return every entry point in use, with one file that uses it."""
    used: dict[tuple[str, str], str] = {}
    for path in (*PLAYBOOKS, *TASK_FILES, *TESTS_OWN):
        for name, entry in named(load(path) or []):
            roles = roles_of(name, entry)
            assert roles, f"{of_repository(path)}: no role is called {name}"
            # One without tasks lends its modules and has nothing to call.
            with_tasks = [role for role in roles if (REPOSITORY / "roles" / role / "tasks").is_dir()]
            used |= {(role, entry): of_repository(path) for role in with_tasks}
    return used


USED = in_use()


@pytest.mark.parametrize(("role", "entry"), sorted(USED))
def test_every_entry_point_in_use_is_declared(role: str, entry: str) -> None:
    declared = load(REPOSITORY / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    assert entry in declared, f"{USED[role, entry]} uses it: declare it in meta/argument_specs.yml"
    assert declared[entry].get("short_description")


def test_the_role_of_every_variant_deploys_and_undeploys() -> None:
    wanted = {(variant.role, entry) for variant in catalog.load().variants.values() for entry in ("deploy", "undeploy")}
    assert wanted <= set(USED)


@pytest.mark.parametrize("folder", ["playbooks", *(f"roles/{name}" for name in NAMES if name not in BY_DATA)])
def test_what_variants_share_names_none_of_them(folder: str) -> None:
    """Neither in code nor in a comment: what one of them needs is said by its own role, or by the catalog."""
    variants = catalog.load().variants.values()
    names = {variant.name for variant in variants} | {variant.role for variant in variants} | {"cilium", "calico"}
    named = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, sorted(names)))})(?![\w-])", re.IGNORECASE)
    files = [path for ending in ("py", "yml", "j2") for path in (REPOSITORY / folder).rglob(f"*.{ending}")]
    found = {of_repository(path): named.findall(path.read_text(encoding="utf-8")) for path in files}
    # Which of the two roles goes with a kind of lab is the playbooks' own business.
    allowed = {"existing_cluster"} if folder == "playbooks" else set()
    assert {path: words for path, words in found.items() if set(words) - allowed} == {}


def test_the_roles_of_all_kinds_of_lab_have_the_same_entry_points() -> None:
    """Playbooks call the one that `lab_role` names."""
    kinds = [load(REPOSITORY / f"roles/{role}/meta/argument_specs.yml") for role in ("lab_nodes", "existing_cluster")]
    own, api = (set(kind["argument_specs"]) for kind in kinds)
    assert own == api
    playbooks = (REPOSITORY / "playbooks").glob("*.yml")
    called = {entry for path in playbooks for name, entry in named(load(path)) if name == "{{ lab_role }}"}
    assert called == own


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("- hosts: x\n  roles: [a, {role: b, tasks_from: c}]\n", [("a", "main"), ("b", "c")]),
        ("- block:\n    - include_role: {name: '{{ x }}_lab', tasks_from: d.yml}\n", [("{{ x }}_lab", "d")]),
        ("- ansible.builtin.import_role: {name: a}\n", [("a", "main")]),
    ],
)
def test_calls_are_found_wherever_they_stand(text: str, calls: list[tuple[str, str]]) -> None:
    assert list(named(yaml.safe_load(text))) == calls


def test_names_with_templates_stand_for_the_roles_that_they_can_be() -> None:
    assert roles_of("{{ lab_kind }}_lab", "create") == ["local_lab", "vm_lab"]
    assert "veth_datapath" in roles_of("{{ setup_role }}", "deploy")
    assert "netperf" not in roles_of("{{ setup_role }}", "deploy")
    assert roles_of("nobody", "main") == []
