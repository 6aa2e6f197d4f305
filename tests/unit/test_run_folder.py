"""docs/run-folder.md names exactly the keys that labctl writes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from labctl.catalog import Catalog
from labctl.matrix.visit_log import proof_of
from labctl.plan.plan import SCHEMA, Plan, Visit
from labctl.plan.visit import PlannedSample, setup_inventory
from labctl.results.summary import Summary
from labctl.runs.attempts import Attempt
from labctl.runs.conditions import Conditions
from labctl.runs.status import Status
from labctl.samples.sample import Sample
from labctl.tools.netperf import Netperf
from tests.unit.synthetic import plan_of


@pytest.fixture(scope="module")
def sections(repository: Path) -> dict[str, str]:
    """The parts of the document by the name of their file."""
    text = (repository / "docs" / "run-folder.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


def documented(section: str) -> set[str]:
    """The keys in the first column of a section's table."""
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {path for cell in cells for key in re.findall(r"`([^`]+)`", cell) for path in expand(key)}


def expand(key: str) -> list[str]:
    """`a.{b,c}` is `a.b` and `a.c`."""
    parts = [part[1:-1].split(",") if part.startswith("{") else [part] for part in re.split(r"(\{[^}]*\})", key)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def paths(kind: Any, prefix: str = "") -> set[str]:
    """Every key below a type, down to what is no dataclass."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return set().union(*(paths(one, prefix) for one in arguments if one is not type(None)))
    if origin is tuple and dataclasses.is_dataclass(arguments[0]):
        return paths(arguments[0], f"{prefix}[]")
    if not dataclasses.is_dataclass(kind):
        return {prefix}
    hints = typing.get_type_hints(kind)
    return set().union(*(paths(hints[field.name], below(prefix, field.name)) for field in dataclasses.fields(kind)))


def settings_in(found_paths: set[str]) -> set[str]:
    """Where a workload or a sample has its tool's settings in one piece, files have netperf's among its own keys."""
    own = [field.name for field in dataclasses.fields(Netperf)]
    return {
        path
        for one in found_paths
        for path in ([one.replace(".settings", f".{name}") for name in own] if one.endswith("].settings") else [one])
    }


def below(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else key


def found(data: object, opaque: Iterable[str], prefix: str = "") -> set[str]:
    """Every key in a document, down to what is `opaque`: free in its keys."""
    if prefix in opaque:
        return {prefix}
    if isinstance(data, Mapping):
        return set().union(*(found(value, opaque, below(prefix, key)) for key, value in data.items()))
    if isinstance(data, list) and data and isinstance(data[0], Mapping):
        return set().union(*(found(value, opaque, f"{prefix}[]") for value in data))
    return {prefix}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("plan.json", Plan),
        ("status.json", Status),
        ("attempts/1.json", Attempt),
        ("visit.json", Conditions),
        ("sample.json", Sample),
        ("summary.json", Summary),
    ],
)
def test_files_with_a_type_are_documented_key_by_key(name: str, kind: type, sections: dict[str, str]) -> None:
    assert documented(sections[name]) == settings_in(paths(kind))


def test_every_schema_is_named(sections: dict[str, str]) -> None:
    schemas = {
        typing.get_args(typing.get_type_hints(kind)["schema"])[0]
        for kind in (Plan, Status, Attempt, Conditions, Sample, Summary)
    }
    assert SCHEMA in schemas
    text = "".join(sections.values())
    for schema in (*schemas, "labctl.proof/1", "labctl.measurement/1", "labctl.end/1"):
        assert f"Schema `{schema}`" in text


def test_the_inventory_of_a_visit_is_documented(sections: dict[str, str], small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1")
    inventory = setup_inventory(plan, Visit(1, "base"), ["node1"], Path("/x"))
    variables = {key for key in inventory["all"]["hosts"]["node1"] if key not in plan.setup("base").vars}
    samples = settings_in(paths(PlannedSample, "measure_samples[]"))
    # The executor of the plan adds the stop file.
    assert documented(sections["setup.yml"]) == (variables - {"measure_samples"}) | samples | {"measure_stop_file"}


def test_a_proof_is_documented(sections: dict[str, str]) -> None:
    assertion = dict.fromkeys(("name", "node", "wanted", "seen", "holds"))
    proof = proof_of(
        Visit(1, "base"), {"holds": True, "assertions": [assertion], "evidence": {"node1": {}}, "failed": False}
    )
    assert documented(sections["proof.json"]) == found(proof, opaque=("evidence",))


def test_raw_files_are_documented(sections: dict[str, str], repository: Path) -> None:
    """Against captures: everything in them is documented, and everything documented occurs in them."""
    by_cpu = ("processes[].looks", "servers[].looks", "kernel.idle.before", "kernel.idle.after", "kernel.idle.khz")
    opaque = ("sample", "ticks[].stat", "counters.before", "counters.after", *by_cpu)
    seen: dict[str, set[str]] = {"measurement": set(), "client": set(), "server": set()}
    for name, keys in seen.items():
        for path in (repository / "tests" / "fixtures" / "samples").rglob(f"{name}.json"):
            keys |= found(json.loads(path.read_text()), opaque)
    assert documented(sections["measurement.json"]) == seen["measurement"]
    ends = (seen["client"] | seen["server"]) - {"servers"}  # null on the client
    assert documented(sections["client.json and server.json"]) == ends
