"""What labctl adds to netperf's own time, read from a finished run.

    python benchmarks/overhead.py runs/RUN

Per sample: from the start of one sample of a visit to the start of the next, minus the seconds in which netperf ran.
Per visit: the wall time of the measuring play minus all its netperf seconds, by sample; and deploying, proving and
undeploying together, with the start of Ansible. Wanted: at most 0.1 s per sample, and 4 s per visit of a veth setup.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

MEASURING = "Measure the samples of a deployed setup"
SAMPLE_LIMIT_S = 0.1
VISIT_LIMIT_S = 4.0


class Taken(NamedTuple):
    """One sample: when labctl began with it (epoch seconds), and the seconds in which netperf ran."""

    setup: str
    round: int
    began: float
    netperf_s: float


def samples(run: Path) -> Iterator[Taken]:
    """Every sample of a run that netperf finished."""
    for path in sorted((run / "samples").glob("*/*/measurement.json")):
        measurement = json.loads(path.read_text())
        processes = json.loads((path.parent / "client.json").read_text())["processes"]
        if measurement["status"] == "ok":
            ran = max(each["ended"] for each in processes) - min(each["started"] for each in processes)
            item = measurement["sample"]
            began = datetime.fromisoformat(measurement["started_at"]).timestamp()
            yield Taken(item["setup"], item["round"], began, ran)


def between(taken: Sequence[Taken]) -> list[float]:
    """Seconds from the start of a sample to the start of the next one of its visit, netperf's own left out."""
    ordered = sorted(taken, key=lambda each: each.began)
    pairs = ((one, other) for one, other in pairwise(ordered) if one[:2] == other[:2])
    return [other.began - one.began - one.netperf_s for one, other in pairs]


def visit_rows(status: Mapping[str, Any], taken: Sequence[Taken]) -> Iterator[tuple[str, int, float, float, float]]:
    """Setup, samples, measuring overhead by sample, deploy + prove + undeploy, all in seconds: medians over rounds."""
    by_visit: dict[tuple[str, int], list[Taken]] = defaultdict(list)
    for each in taken:
        by_visit[each.setup, each.round].append(each)
    measuring: dict[str, list[float]] = defaultdict(list)
    around: dict[str, list[float]] = defaultdict(list)
    for visit in status["visits"]:
        mine = by_visit[visit["setup"], visit["round"]]
        if visit["status"] == "ok" and mine:
            spent = visit["seconds"][MEASURING]
            measuring[visit["setup"]].append((spent - sum(each.netperf_s for each in mine)) / len(mine))
            around[visit["setup"]].append(visit["seconds"]["total"] - spent)
    for setup, overheads in measuring.items():
        count = len([each for each in taken if each.setup == setup])
        worst = max(around[setup])
        yield setup, count, statistics.median(overheads), statistics.median(around[setup]), worst


def main() -> None:
    """Read the run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    taken = list(samples(run))
    gaps = between(taken)
    status = json.loads((run / "status.json").read_text())
    headers = ["setup", "samples", "play s/sample", "deploy+prove+undeploy s", "worst s"]
    sys.stdout.write(tabulate(list(visit_rows(status, taken)), headers, floatfmt=".2f") + "\n\n")
    if gaps:
        middle = statistics.median(gaps)
        verdict = "held" if middle <= SAMPLE_LIMIT_S else "MISSED"
        sys.stdout.write(
            f"from sample to sample beyond netperf: median {middle:.3f} s, {min(gaps):.3f} to {max(gaps):.3f}"
            f" of {len(gaps)}; limit {SAMPLE_LIMIT_S} s {verdict}\n"
        )
    sys.stdout.write(f"limit of a visit beyond its measuring play: {VISIT_LIMIT_S:g} s\n")


if __name__ == "__main__":
    main()
