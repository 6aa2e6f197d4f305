"""What measures: each program is one module that makes its command line and turns its output into a neutral Reading.

A new program is a module, its line in TOOLS, and the role that runs its server.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from labctl.core.errors import LabctlError, Problem
from labctl.core.records import decode, suggestion
from labctl.tools.netperf import Netperf
from labctl.tools.tool import Tool

TOOLS: Mapping[str, type[Tool]] = {
    "netperf": Netperf,
}
# Files name a tool only where it is another: they are older than the choice.
_UNNAMED = "netperf"


def kind(tool: str, where: str) -> type[Tool]:
    """The class of a tool, which `where` names. Raises LabctlError where there is none."""
    if tool not in TOOLS:
        raise LabctlError(Problem("unknown tool", where, repr(tool), suggestion(tool, TOOLS)))
    return TOOLS[tool]


def set_up(tool: str, settings: object, where: str, key: str = "") -> Tool:
    """The tool of this name with a workload's settings, which stand at `where`:`key` in messages.

    Raises LabctlError with all that is wrong with them.
    """
    return decode(kind(tool, where), settings, where, key)


def of(item: Mapping[str, object]) -> Tool:
    """The tool of an item of `measure_samples`, set up for it. Raises LabctlError with all that is wrong."""
    whole = nested(item, "sample")
    return set_up(str(whole["tool"]), whole["settings"], "sample")


def nested(item: Mapping[str, object], where: str, key: str = "") -> dict[str, object]:
    """A workload or a sample with its `tool` and, in one piece, its `settings`, which files have among its own keys."""
    tool = str(item.get("tool", _UNNAMED))
    place = f"{where}:{key}.tool" if key else f"{where}:tool"
    own = {field.name for field in dataclasses.fields(kind(tool, place))}  # type: ignore[arg-type]
    rest = {key: value for key, value in item.items() if key not in own}
    return {**rest, "tool": tool, "settings": {key: value for key, value in item.items() if key in own}}


def flat(item: Mapping[str, Any]) -> dict[str, Any]:
    """A workload or a sample as it stands in files: what `nested` reads."""
    rest = {key: value for key, value in item.items() if key != "settings"}
    if rest["tool"] == _UNNAMED:
        del rest["tool"]
    return {**rest, **item["settings"]}
