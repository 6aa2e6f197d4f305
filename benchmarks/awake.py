"""What idle CPUs do to a rate: the same matrix with CPUs kept awake, and with the machine's own sleep.

    python benchmarks/awake.py -i LAB [--rounds 10] [--pairs 0]

Prints, by cell and policy, rate, P50, the spread over the rounds and how often a CPU slept for each transaction. With
`--pairs N` also at least N pairs of a setup with itself, of six rounds each, and how many of them an uncorrected test
at 5 % calls different: 5 % are to be expected. Wanted with CPUs awake: a coefficient of variation of at most 8 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

POLICIES = ("awake", "system")
CV_LIMIT_PCT = 8.0
MATRIX = ("--variant", "baseline,veth-iptables,veth-ebpf", "--workload", "tcp_rr,tcp_crr", "--processes", "1")
TWICE = ("--variant", "baseline", "--noise-floor", "--processes", "1", "--rounds", "6", "--duration", "1")


def matrix(lab: str, folder: Path, *options: str) -> Any:
    """The summary of a run with these options; it may lack samples that something else spoilt."""
    folder.mkdir()
    command = [sys.executable, "-m", "labctl", "matrix", "-i", str(Path(lab).resolve()), "--warmup", "1", *options]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    found = list(folder.glob("runs/*/summary.json"))
    if not found:
        sys.exit(f"{' '.join(command)} left no summary:\n{done.stderr}")
    return json.loads(found[0].read_text())


def rows(policy: str, summary: Any) -> Iterator[tuple[Any, ...]]:
    """What of each cell's samples is printed; null where its samples were of several modes."""
    for row in summary["rows"]:
        rate, latency, conditions = row["rate"] or {}, row["latency_us"] or {}, row["conditions"]
        yield (
            *(row["setup"], row["workload"], policy, f"{row['valid']}/{row['planned']}"),
            *(rate.get("median"), latency.get("p50"), rate.get("cv_pct"), conditions["deep_entries_per_unit"]),
            ", ".join(f"{mode['n']} {mode['label']}" for mode in row["modes"]),
        )


def say(text: str) -> None:
    """Print at once: what follows takes minutes."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--lab", required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found: list[tuple[Any, ...]] = [
            row
            for policy in POLICIES
            for options in [(*MATRIX, "--rounds", str(asked.rounds), "--duration", "2", "--idle", policy)]
            for row in rows(policy, matrix(asked.lab, Path(directory, policy), *options))
        ]
        headers = ("setup", "workload", "idle", "n", "median", "p50 us", "CV %", "sleeps/unit", "modes")
        found.sort(key=lambda row: row[:3])
        say(tabulate(found, headers, floatfmt=".4g"))
        spreads = [row[6] for row in found if row[2] == "awake" and isinstance(row[6], float)]
        say(f"largest CV awake: {max(spreads, default=float('nan')):.1f} %, wanted at most {CV_LIMIT_PCT:g} %")
        pairs: list[tuple[str, float, float]] = []
        while len(pairs) < asked.pairs:
            summary = matrix(asked.lab, Path(directory, f"twice{len(pairs)}"), *TWICE)
            compared = [(row["workload"], row["comparison"]) for row in summary["rows"] if row["comparison"]]
            pairs += [
                (workload, one["ratio"], one["p_value"]) for workload, one in compared if one["p_value"] is not None
            ]
        if pairs:
            different = sum(p < 0.05 for _, _, p in pairs)
            say(tabulate(pairs, ("A/A", "ratio", "p"), floatfmt=".3f"))
            say(f"{different} of {len(pairs)} pairs of a setup with itself were called different")


if __name__ == "__main__":
    main()
