"""Print how the package hangs together: its rooms with their arrows, and on how many levels its modules import.

    python tools/import_levels.py [--modules] [PACKAGE]

A module's level is 0 where it imports nothing of the package, else one more than the highest it imports; an arrow is an
import of one module by another, or between rooms any number of them. Imports within functions and for type checkers
count: they are dependencies all the same. Modules that import each other in a circle share a level, and are named.
"""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "labctl"
Graph = Mapping[str, set[str]]


def graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Every module of a package with the modules of the same package that it imports."""
    files = {_name(package, file): file for file in sorted(package.rglob("*.py")) if "_content" not in file.parts}
    found: dict[str, set[str]] = {}
    for name, file in files.items():
        here = {
            module
            for target in _targets(ast.parse(file.read_text()))
            for module in (target, target.rpartition(".")[0])[: 1 if target in files else 2]
            if module in files and module != package.name
        }
        found[name] = here - {name}
    return found


def rooms(modules: Graph) -> dict[str, set[str]]:
    """Every room (a package below the top, or a module that stands there alone) with the rooms it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, imported in modules.items():
        found[room_of(name)] |= {room_of(one) for one in imported} - {room_of(name)}
    return dict(found)


def room_of(module: str) -> str:
    """The room that a module is in: `labctl.core` of `labctl.core.errors`."""
    return ".".join(module.split(".")[:2])


def levels(nodes: Graph) -> tuple[dict[str, int], list[set[str]]]:
    """The level of every node, and the circles: sets of nodes that reach each other."""
    reach = {node: _reachable(node, nodes) for node in nodes}
    circle = {node: frozenset({node} | {one for one in reach[node] if node in reach[one]}) for node in nodes}
    found: dict[frozenset[str], int] = {}

    def level(members: frozenset[str]) -> int:
        if members not in found:
            below = {circle[one] for member in members for one in nodes[member]} - {members}
            found[members] = max((level(one) + 1 for one in below), default=0)
        return found[members]

    return {node: level(circle[node]) for node in nodes}, [set(one) for one in set(circle.values()) if len(one) > 1]


def _reachable(start: str, nodes: Graph) -> set[str]:
    seen: set[str] = set()
    left = list(nodes[start])
    while left:
        node = left.pop()
        if node not in seen:
            seen.add(node)
            left.extend(nodes[node])
    return seen


def _name(package: Path, file: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _print(what: str, nodes: Graph) -> None:
    level, circles = levels(nodes)
    arrows = sum(len(imported) for imported in nodes.values())
    print(f"{what}: {len(nodes)}, arrows: {arrows}, levels: {max(level.values()) + 1}, circles: {len(circles)}")
    for circle in circles:
        print(f"  circle: {', '.join(sorted(circle))}")


def main() -> None:
    """Print the figures, and the rooms one by one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("package", nargs="?", type=Path, default=PACKAGE)
    parser.add_argument("--modules", action="store_true", help="list modules rather than rooms")
    given = parser.parse_args()
    modules = graph(given.package.resolve())
    shown = modules if given.modules else rooms(modules)
    _print("modules", modules)
    _print("rooms", rooms(modules))
    level, _ = levels(shown)
    for node in sorted(shown, key=lambda node: (level[node], node)):
        print(f"  {level[node]:>2}  {node}: {', '.join(sorted(shown[node])) or '-'}")


if __name__ == "__main__":
    main()
