"""What labctl adds to netperf's own time, read from a finished run.

    python benchmarks/overhead.py runs/RUN

Per sample: from the start of one sample of a visit to the start of the next, minus the seconds in which netperf ran.
Per visit: the wall time of the measuring play minus all its netperf seconds, by sample; and deploying, proving and
undeploying together, with the start of Ansible. Wanted: at most 0.05 s per sample, and 4 s per visit of a veth setup.
Where the time of a sample goes: cleaning up before it (with the first of a visit, opening its channels), starting
netperf, the last readings, and writing its files with Ansible's way to the next. Samples after tcp_crr are told
apart: they have its tracked connections to remove, tens of thousands.
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
SAMPLE_LIMIT_S = 0.05
VISIT_LIMIT_S = 4.0
MANY = 1000  # tracked connections: what tcp_crr leaves


class Taken(NamedTuple):
    """One sample, by times of the client's clock (epoch seconds): from labctl's first move to the last reading.

    `flushed` tracked connections were removed before it.
    """

    setup: str
    round: int
    began: float
    looked: float
    started: float
    ended: float
    read: float
    flushed: int

    @property
    def netperf_s(self) -> float:
        """Seconds in which netperf ran."""
        return self.ended - self.started


def samples(run: Path) -> Iterator[Taken]:
    """Every sample of a run that netperf finished."""
    for path in sorted((run / "samples").glob("*/*/measurement.json")):
        measurement = json.loads(path.read_text())
        client, server = (json.loads((path.parent / f"{end}.json").read_text()) for end in ("client", "server"))
        if measurement["status"] == "ok":
            item, processes = measurement["sample"], client["processes"]
            yield Taken(
                setup=item["setup"],
                round=item["round"],
                began=datetime.fromisoformat(measurement["started_at"]).timestamp(),
                looked=server["ticks"][0]["t"] - measurement["clock_offset_s"],
                started=min(each["started"] for each in processes),
                ended=max(each["ended"] for each in processes),
                read=server["ticks"][-1]["t"] - measurement["clock_offset_s"],
                flushed=max(end["hygiene"]["conntrack_flushed"] or 0 for end in (client, server)),
            )


def successive(taken: Sequence[Taken]) -> list[tuple[Taken, Taken]]:
    """Each sample with the next one of its visit."""
    ordered = sorted(taken, key=lambda each: each.began)
    return [(one, other) for one, other in pairwise(ordered) if one[:2] == other[:2]]


def parts(pairs: Sequence[tuple[Taken, Taken]]) -> Iterator[tuple[str, list[float]]]:
    """Where the seconds go between the end of netperf in one sample and its start in the next."""
    yield "last readings", [one.read - one.ended for one, _ in pairs]
    yield "files, Ansible's way to the next", [other.began - one.read for one, other in pairs]
    yield "clocks, clean-up, server", [other.looked - other.began for _, other in pairs]
    yield "kernel, start of netperf", [other.started - other.looked for _, other in pairs]
    yield "all", [other.started - one.ended for one, other in pairs]


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
    pairs = successive(taken)
    status = json.loads((run / "status.json").read_text())
    headers = ["setup", "samples", "play s/sample", "deploy+prove+undeploy s", "worst s"]
    sys.stdout.write(tabulate(list(visit_rows(status, taken)), headers, floatfmt=".2f") + "\n\n")
    few = [pair for pair in pairs if pair[1].flushed < MANY]
    for which, some in (("from sample to sample", few), ("after tcp_crr", [pair for pair in pairs if pair not in few])):
        if some:
            rows = [(name, statistics.median(s), min(s), max(s)) for name, s in parts(some)]
            sys.stdout.write(
                tabulate(rows, [f"{which} ({len(some)})", "median s", "min", "max"], floatfmt=".3f") + "\n\n"
            )
    if few:
        middle = statistics.median(other.started - one.ended for one, other in few)
        verdict = "held" if middle <= SAMPLE_LIMIT_S else "MISSED"
        sys.stdout.write(f"from sample to sample: median {middle:.3f} s; limit {SAMPLE_LIMIT_S} s {verdict}\n")
    sys.stdout.write(f"limit of a visit beyond its measuring play: {VISIT_LIMIT_S:g} s\n")


if __name__ == "__main__":
    main()
