"""How long a sample's numbers take to be derived from its raw files, beside no more than reading these.

    python benchmarks/derive.py [--times N]

Both are done N times (20) over a captured sample; the least is printed. Wanted: at most 20 ms, since the matrix derives
every sample before it measures the next.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tabulate import tabulate

from labctl import catalog
from labctl.samples import sample

LIMIT_MS = 20.0
FOLDER = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "samples" / "baseline.tcp_crr.1" / "1-1"


def milliseconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    workload = catalog.load().workloads["tcp_crr"]
    works: dict[str, Callable[[], object]] = {
        "read its files": lambda: [path.read_bytes() for path in FOLDER.iterdir()],
        "derive it": lambda: sample.derive(FOLDER, workload),
    }
    least = {name: min(milliseconds(work) for _ in range(times)) for name, work in works.items()}
    sys.stdout.write(tabulate(list(least.items()), ["", "least ms"], floatfmt=".2f") + "\n")
    read, derived = least.values()
    verdict = "held" if derived <= LIMIT_MS else "MISSED"
    sys.stdout.write(f"\nderive / read: {derived / read:.0f}; limit {LIMIT_MS:g} ms {verdict}\n")


if __name__ == "__main__":
    main()
