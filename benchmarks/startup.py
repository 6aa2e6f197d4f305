"""How long `labctl --help` takes, beside a Python that does nothing.

    python benchmarks/startup.py [--times N]

Both start N times (10) in turn; the median is printed. Wanted: at most 0.3 s for `labctl --help`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

LIMIT_S = 0.3


def seconds(command: Sequence[str]) -> float:
    """Wall time of one run of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    times = parser.parse_args().times
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "labctl --help": [str(Path(sys.executable).with_name("labctl")), "--help"],
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        seconds(command)  # byte code written, files read into memory
    for _ in range(times):
        for name, command in commands.items():
            found[name].append(seconds(command))
    rows = [(name, statistics.median(each), min(each), max(each)) for name, each in found.items()]
    sys.stdout.write(tabulate(rows, ["command", "median s", "min s", "max s"], floatfmt=".3f") + "\n")
    python, labctl = (statistics.median(each) for each in found.values())
    verdict = "held" if labctl <= LIMIT_S else "MISSED"
    sys.stdout.write(f"\nlabctl / python: {labctl / python:.1f}; limit {LIMIT_S} s {verdict}\n")


if __name__ == "__main__":
    main()
