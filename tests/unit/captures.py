"""A run folder around the samples in tests/fixtures."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from labctl import catalog
from labctl.catalog.lab import LabFacts
from labctl.core.files import write_json
from labctl.plan import plan as planning
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.plan import build

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
TAKEN = ["baseline.tcp_crr.1/1-1", "baseline.tcp_rr.2/1-6", "baseline.tcp_stream.1/1-2"]


def captured_run(directory: Path) -> Path:
    """A run in `directory` with a plan and the three captured samples, nothing derived."""
    raw = RawOptions(variant="baseline", processes="1,2", rounds="1", repeat="6", duration="2", warmup="1")
    loaded = catalog.load()
    lab = LabFacts("local", "local", "node1", "node2", 2)
    plan = build(parse_options(raw, loaded), loaded, lab, datetime(2026, 3, 4, tzinfo=UTC))
    folder = directory / plan.id
    write_json(folder / "plan.json", planning.to_json(plan))
    for name in TAKEN:
        shutil.copytree(FIXTURES / "samples" / name, folder / "samples" / name)
    return folder
