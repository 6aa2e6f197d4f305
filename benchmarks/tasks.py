"""Where the seconds of a playbook go, task by task: a visit, a provision with nothing to do.

    python benchmarks/tasks.py visit.yml -i LAB -i runs/RUN/setups/SETUP/ROUND/setup.yml
    python benchmarks/tasks.py provision.yml -i LAB
    python benchmarks/tasks.py visit.yml -i LAB -i SETUP.YML --against OTHER/.venv/bin/python

Runs the playbook as labctl does, --repeats times, and prints medians. A visit takes the setup's first sample only, into
a directory that is removed; the seconds in which netperf ran are left out. With --against the playbooks of another
checkout, whose Python is given, take turns with this one's, and their ratio is printed. Lab and nodes have to be there;
nothing may run beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from tabulate import tabulate

from labctl.core.files import read_yaml, write_yaml
from labctl.engine.events import Event, TaskStart
from labctl.engine.session import Session

START, END, NETPERF = ("", "(start of Ansible)"), ("", "(end of Ansible)"), ("", "netperf")
Seconds = Mapping[tuple[str, str], float]  # by play and task, in the order in which they ran


def first_sample(setup: Path, folder: Path) -> Path:
    """The inventory of a visit that takes its first sample only, into `folder`."""
    inventory = read_yaml(setup)
    for variables in inventory["all"]["hosts"].values():
        if "measure_samples" in variables:
            variables["measure_samples"] = variables["measure_samples"][:1]
            variables["measure_output_dir"] = str(folder / "samples")
        variables["measure_stop_file"] = ""
    path = folder / "setup.yml"
    write_yaml(path, inventory, "Written by benchmarks/tasks.py")
    return path


def once(playbook: str, sources: Sequence[Path]) -> Seconds:
    """Run the playbook; the seconds of every task, summed where it ran more than once."""
    marks: list[tuple[tuple[str, str], float]] = []

    def listen(event: Event) -> None:
        if isinstance(event, TaskStart):
            marks.append(((event.play, event.task), time.monotonic()))

    with tempfile.TemporaryDirectory() as directory, Session() as session:
        folder = Path(directory)
        inventories = [first_sample(each, folder) if each.name == "setup.yml" else each for each in sources]
        marks.append((START, time.monotonic()))
        outcome = session.run_playbook(playbook, inventories, listener=listen)
        if not outcome.ok:
            sys.exit("\n".join(f"{each.node}: {each.task}: {each.message}" for each in outcome.failures))
        marks.append((END, marks[0][1] + outcome.seconds))
        netperf = netperf_seconds(folder)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for (task, began), (_, ended) in pairwise(marks):
        seconds[task] += ended - began
    return seconds | {NETPERF: netperf}


def netperf_seconds(folder: Path) -> float:
    """The seconds in which netperf ran for the samples below a folder."""
    ends = [json.loads(path.read_text())["processes"] for path in folder.glob("samples/**/client.json")]
    return float(sum(max(each["ended"] for each in one) - min(each["started"] for each in one) for one in ends))


def elsewhere(python: str, arguments: Sequence[str]) -> Seconds:
    """The same with the labctl of another checkout."""
    command = [python, __file__, *arguments, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {(play, task): seconds for play, task, seconds in json.loads(done.stdout)}


def beyond(seconds: Seconds) -> float:
    """All seconds but netperf's."""
    return sum(seconds.values()) - 2 * seconds[NETPERF]


def medians(runs: Sequence[Seconds]) -> Iterable[tuple[str, str, float]]:
    """Play, task and the median of its seconds; a task that did not run took none."""
    for play, task in dict.fromkeys(key for run in runs for key in run):
        if (play, task) != NETPERF:
            yield play, task, statistics.median(run.get((play, task), 0.0) for run in runs)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("playbook")
    parser.add_argument("-i", dest="sources", type=Path, action="append", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--against", metavar="PYTHON")
    parser.add_argument("--json", action="store_true", help="one run, as JSON")
    given = parser.parse_args()
    sources = [each.resolve() for each in given.sources]
    if given.json:
        json.dump([[*key, seconds] for key, seconds in once(given.playbook, sources).items()], sys.stdout)
        return
    arguments = [given.playbook, *(word for each in sources for word in ("-i", str(each)))]
    own: list[Seconds] = []
    other: list[Seconds] = []
    for _ in range(given.repeats):
        other += [elsewhere(given.against, arguments)] if given.against else []
        own.append(once(given.playbook, sources))
    rows = list(medians(own))
    plays: dict[str, float] = defaultdict(float)
    for play, _, seconds in rows:
        plays[play] += seconds
    sys.stdout.write(tabulate(rows, ["play", "task", "s"], floatfmt=".2f") + "\n\n")
    sys.stdout.write(tabulate(plays.items(), ["play", "s"], floatfmt=".2f") + "\n\n")
    sys.stdout.write(f"in all, without netperf: {words([beyond(each) for each in own])}\n")
    if other:
        ratios = [beyond(now) / beyond(then) for now, then in zip(own, other, strict=True)]
        sys.stdout.write(f"of the other checkout: {words([beyond(each) for each in other])}\n")
        sys.stdout.write(f"ratio, this one to the other: {words(ratios)}\n")


def words(values: Sequence[float]) -> str:
    """The median of values and their range."""
    return f"median {statistics.median(values):.2f}, {min(values):.2f} to {max(values):.2f} of {len(values)}"


if __name__ == "__main__":
    main()
