"""Whether a stored plan is one that labctl made: its roles and their variables are what Ansible runs as root."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.catalog import Catalog
from labctl.core.errors import Problem, UsageError
from labctl.core.records import suggestion
from labctl.engine import schema
from labctl.engine.forms import control_characters
from labctl.plan.plan import Plan


def require(plan: Plan, catalog: Catalog, where: str) -> None:
    """Raise UsageError with every setup that the catalog's roles are not told in such a way; `where` the plan is."""
    problems = list(_problems(plan, catalog, where))
    if problems:
        raise UsageError(*problems)


def _problems(plan: Plan, catalog: Catalog, where: str) -> Iterator[Problem]:
    known: dict[str, set[str]] = {}
    for variant in catalog.variants.values():
        known.setdefault(variant.role, set()).update(variant.vars)
    declared = schema.known()
    for index, setup in enumerate(plan.setups):
        at = f"{where}:setups[{index}]"
        if setup.role not in known:
            what = "the setup is deployed by a role that deploys no variant of labctl"
            yield Problem(what, f"{at}.role", ascii(setup.role)[:100], suggestion(setup.role, known))
            continue
        for name, value in setup.vars.items():
            if name not in known[setup.role]:
                what = f"no variant of role {setup.role} sets this variable"
                hint = "measure again: this plan was not made by this labctl"
                yield Problem(what, f"{at}.vars", ascii(name)[:100], hint)
            elif control_characters(value) or (name in declared and declared[name].form.why_not(value)):
                allowed = declared[name].form.allowed if name in declared else "a text without line breaks"
                yield Problem(f"{name} cannot be this", f"{at}.vars", ascii(value)[:100], f"give {allowed}")
