"""The package's rooms: a room imports only rooms above it, and some things are known in one room alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.import_levels import PACKAGE, graph, levels, room_of, rooms

# In the order in which they may import; `results` and `matrix` never see each other.
ROOMS = (
    *("core", "tools", "catalog", "engine", "bundle", "samples", "nodes", "labs", "plan", "runs", "results", "matrix"),
    "cli",
)
STRANGERS = {"matrix": "results", "results": "matrix"}
DOORS = {"labctl", "labctl.__main__"}  # the version, and `python -m labctl`
# What one room alone may import.
KNOWN_IN = {"ansible_runner": "engine", "typer": "cli"}
TESTS = Path(__file__).parent
OPEN = {"labctl.tools", "labctl.tools.reading", "labctl.tools.tool"}  # what other rooms may import of the tools


def test_every_room_is_one_of_the_design() -> None:
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert found == set(ROOMS)
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_a_room_imports_only_rooms_above_it() -> None:
    wrong = [
        f"{room} imports {other}"
        for room, imported in rooms(graph()).items()
        for other in imported - DOORS
        if room not in DOORS and not may_import(room.removeprefix("labctl."), other.removeprefix("labctl."))
    ]
    assert wrong == []


def may_import(room: str, other: str) -> bool:
    return ROOMS.index(other) < ROOMS.index(room) and STRANGERS.get(room) != other


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert levels(graph())[1] == []


@pytest.mark.parametrize(("library", "room"), KNOWN_IN.items())
def test_a_library_is_known_in_one_room_alone(library: str, room: str) -> None:
    knowing = {room_of(module) for module, tree in modules() if library in imported_by(tree)}
    assert knowing == {f"labctl.{room}"}


def test_programs_that_measure_are_known_behind_their_door_alone() -> None:
    seen = {
        f"{module} imports {other}"
        for module, imported in graph().items()
        for other in imported
        if room_of(other) == "labctl.tools" != room_of(module) and other not in OPEN
    }
    assert seen == set()


def test_only_the_command_line_prints() -> None:
    printing = {room_of(module) for module, tree in modules() if prints(tree)}
    assert printing == {"labctl.cli"}


def test_an_import_against_the_order_is_seen(tmp_path: Path) -> None:
    for name, text in (
        ("core/low", "def f():\n    from labctl.cli.high import g\n"),
        ("cli/high", "import labctl.core.low"),
    ):
        path = tmp_path / "labctl" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = graph(tmp_path / "labctl")
    assert found == {"labctl.cli.high": {"labctl.core.low"}, "labctl.core.low": {"labctl.cli.high"}}
    assert rooms(found) == {"labctl.cli": {"labctl.core"}, "labctl.core": {"labctl.cli"}}
    assert levels(found)[1] == [{"labctl.cli.high", "labctl.core.low"}]


def test_the_tests_mirror_the_package_file_by_file() -> None:
    """A module with logic has a test module of its name; the modules of a package within a room may share one."""
    package = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if "_content" not in path.parts}
    tests = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    untested = [
        module
        for module in sorted(package)
        if has_logic(ast.parse((PACKAGE / module).read_text())) and not mirrors(module) & tests
    ]
    assert untested == []
    known = set().union(*(mirrors(module) for module in package))
    assert [test for test in sorted(tests - known) if test.parts[0] in ROOMS] == []


def mirrors(module: Path) -> set[Path]:
    """Where tests of a module may be, relative to the unit tests, as the module is to the package."""
    name = module.parent.name if module.name == "__init__.py" else module.stem
    within = [parent for parent in module.parents if len(parent.parts) > 1]  # packages within a room
    return {module.with_name(f"test_{name}.py"), *(parent.with_name(f"test_{parent.name}.py") for parent in within)}


def has_logic(tree: ast.Module) -> bool:
    """Whether a function does more than say what it is, as those of a Protocol do."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return any(not is_docstring(statement) for function in functions for statement in function.body)


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if "_content" not in path.parts:
            yield ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts), ast.parse(path.read_text())


def imported_by(tree: ast.Module) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names}


def prints(tree: ast.Module) -> bool:
    """Whether a module writes where a person reads: print(), or the standard streams."""
    return any(
        (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print")
        or (isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr") and is_sys(node.value))
        for node in ast.walk(tree)
    )


def is_sys(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "sys"
