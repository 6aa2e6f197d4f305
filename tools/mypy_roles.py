"""Plugin of mypy: the module_utils of all roles under the names by which they are imported.

Ansible ships `roles/ROLE/module_utils/X.py` to a node as `ansible.module_utils.X`; in a checkout it lies elsewhere,
where mypy would not look. So for each such file there is a stub, in a directory that `mypy_path` names, which exports
what the file has: the file itself is checked once, at its own path, and whoever imports it sees its types.

Stubs are made whenever mypy starts, so there is nothing to run before it.
"""

from __future__ import annotations

from pathlib import Path

from mypy.plugin import Plugin

REPOSITORY = Path(__file__).resolve().parent.parent
# As in mypy_path of pyproject.toml.
STUBS = REPOSITORY / ".mypy_cache" / "module_utils"
NOTE = "# Made by tools/mypy_roles.py.\n"


def stubs() -> dict[Path, str]:
    """Path below STUBS, and text, of the stub of every file."""
    found = {}
    for source in (REPOSITORY / "roles").glob("*/module_utils/**/*.py"):
        relative = source.relative_to(REPOSITORY)
        name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        stub = Path("ansible", "module_utils", *relative.with_suffix(".pyi").parts[3:])
        found[stub] = f"{NOTE}from {name} import *\n"
    return found


def write_stubs() -> None:
    """Bring STUBS up to date; a stub that is as it should be keeps its time, so that mypy need not look at it again."""
    wanted = stubs()
    for known in STUBS.rglob("*.pyi"):
        if known.relative_to(STUBS) not in wanted:
            known.unlink()
    for relative, text in wanted.items():
        path = STUBS / relative
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def plugin(_version: str) -> type[Plugin]:
    """What mypy calls before it looks for any module."""
    write_stubs()
    return Plugin
