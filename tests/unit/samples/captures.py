"""Captured raw folders, as they are and to be broken (tests/fixtures/samples/ORIGIN.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[2] / "fixtures" / "samples"
CRR, RR2, STREAM = "baseline.tcp_crr.1/1-1", "baseline.tcp_rr.2/1-6", "baseline.tcp_stream.1/1-2"
BUSY = "baseline.tcp_rr.1/1-1"  # taken beside somebody's work
Copy = Callable[[str], Path]


@contextmanager
def editing(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """The content of a JSON file, written back afterwards."""
    path = folder / name
    data = json.loads(path.read_text())
    yield data
    path.write_text(json.dumps(data))
