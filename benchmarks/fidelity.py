"""Whether a rate measured through labctl is the rate that netperf gives by hand.

    sudo python benchmarks/fidelity.py [-i LAB] [--pairs N] [--duration S] [--workload NAMES]

The lab has to exist and be provisioned. `baseline` is deployed once; then, N times (10) for every workload, the same
netperf command runs three ways close together, in an order that rotates: through labctl (playbooks/measure.yml and all
that derives a rate), typed by hand over SSH, and by hand without the instrumentation -D and -j. All three start with
flushed connection tracking and a data port of their own. Printed are geometric means of the paired ratios with their
95 % t intervals, and the Hodges-Lehmann estimate, which single disturbed pairs do not move. Wanted: 0.97 to 1.03.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from labctl import catalog, tools
from labctl.core.errors import LabctlError, Problem
from labctl.core.files import write_yaml
from labctl.core.records import encode
from labctl.engine.inventory import Inventory, open_lab
from labctl.engine.session import AnsibleOptions, Session
from labctl.labs import embedded as lab
from labctl.labs.facts import of_look
from labctl.labs.look import look
from labctl.matrix import workflow
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.plan import Plan
from labctl.plan.visit import samples_for, setup_inventory
from labctl.results import stats
from labctl.runs.folder import RunFolder
from labctl.samples import quantities, raw, sample

Ways = dict[str, dict[int, list[float]]]

WANTED = (0.97, 1.03)
COMPARED = (
    ("labctl, window", "by hand", "the whole path"),
    ("labctl, netperf's own", "by hand", "what labctl's readings cost"),
    ("by hand", "plain", "what -D and -j cost"),
    ("labctl, window", "plain", "everything together"),
)


@dataclass(frozen=True)
class Bench:
    """The lab with its plan, and a folder for what is measured."""

    session: Session
    lab: Inventory
    plan: Plan
    folder: RunFolder
    addresses: tuple[str, str]  # client, server

    def play(self, name: str, samples: Sequence[dict[str, Any]] = ()) -> None:
        """Run a playbook with the planned setup and exactly these samples."""
        content = setup_inventory(self.plan, self.plan.visits[0], self.lab.hosts, self.folder.samples)
        for variables in content["all"]["hosts"].values():
            variables["measure_samples"] = [dict(each) for each in samples]
        setup = self.folder.path / "setup.yml"
        write_yaml(setup, content, "Written by benchmarks/fidelity.py")
        self.session.run_playbook(name, [self.lab.path, setup]).require()

    def on_node(self, node: str, command: Sequence[str]) -> str:
        """Standard output of a command typed over SSH; it must succeed."""
        words = [*lab.shell_command(self.lab.name, node), shlex.join(command)]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def flush(self) -> None:
        """Forget tracked connections on both nodes, as labctl does before each sample."""
        for node in (self.lab.client, self.lab.server):
            self.on_node(node, ["conntrack", "-F"])

    def through_labctl(self, item: dict[str, Any]) -> tuple[float, float]:
        """The rate that labctl reports, and netperf's own over the whole test."""
        self.play("measure.yml", [item])
        folder = self.folder.samples / item["id"]
        derived = sample.derive(folder)
        if derived.rate is None or derived.status is not sample.Status.VALID:
            raise LabctlError(Problem(f"{item['id']} is {derived.status.value}", seen=", ".join(derived.reasons)))
        recorded = raw.read(folder)
        return derived.rate.value, parsed(recorded.text(recorded.processes[0]), item)

    def by_hand(self, item: dict[str, Any], instrumented: bool) -> float:
        """The rate that netperf prints."""
        self.flush()
        command = list(tools.of(item).argv(item, *self.addresses))
        if not instrumented:
            position = command.index("-D")
            del command[position : position + 2]
            command = [word for word in command if word != "-j"]
        return parsed(self.on_node(self.lab.client, command), item)


def parsed(output: str, item: dict[str, Any]) -> float:
    """The rate of netperf as labctl reports rates: Gbit/s for bulk data, else per second."""
    reading = tools.of(item).parse(output, "netperf's output")
    return quantities.in_workloads_unit(reading.rate, reading.unit)


def one_pair(bench: Bench, item: dict[str, Any], number: int, ways: Ways) -> None:
    """Measure a workload each way, close together; a pair of which one way failed counts for none, and is told."""
    try:
        found = measured(bench, item, number)
    except (LabctlError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"pair {number + 1} of {item['workload']} does not count: {error}\n")
        return
    for way, rate in found.items():
        ways[way][number] = [rate]


def measured(bench: Bench, item: dict[str, Any], number: int) -> dict[str, float]:
    """The rates of one pair by way; the order rotates from pair to pair."""
    found: dict[str, float] = {}
    order = ["labctl", "by hand", "plain"]
    for offset in range(len(order)):
        way = order[(number + offset) % len(order)]
        mine = {**item, "id": f"{item['cell']}/{number}-1", "data_port": item["data_port"] + 9 * number + 3 * offset}
        if way == "labctl":
            found["labctl, window"], found["labctl, netperf's own"] = bench.through_labctl(mine)
        else:
            found[way] = bench.by_hand(mine, instrumented=way == "by hand")
    return found


def verdict(ratio: stats.PairedRatio) -> str:
    """Where a ratio stands to the wanted range; an interval that reaches over its edge leaves that open."""
    low, high = WANTED
    first, last = ratio.low or ratio.ratio, ratio.high or ratio.ratio
    if low <= first and last <= high:
        return "held"
    if last < low or high < first:
        return "MISSED"
    return "held, noisy" if low <= ratio.ratio <= high else "not decided"


def rows(workload: str, ways: Ways) -> list[tuple[object, ...]]:
    """A line per comparison: the ratio with its interval, and where it stands to the wanted range."""
    lines: list[tuple[object, ...]] = []
    for first, second, meaning in COMPARED:
        ratio = stats.paired_ratio(ways[first], ways[second])
        if ratio is not None:
            shown = (ratio.rounds, ratio.ratio, ratio.low, ratio.high, ratio.hodges_lehmann, verdict(ratio))
            lines.append((workload, f"{first} / {second}", *shown, meaning))
    return lines


def prepared(session: Session, name: str, arguments: argparse.Namespace, scratch: Path) -> Bench:
    """The lab looked at, and the plan whose samples are measured."""
    inventory = open_lab(session, name)
    seen = look(session, inventory, AnsibleOptions())
    facts = of_look(inventory, seen)
    asked = RawOptions(
        variant="baseline",
        processes="1",
        rounds="1",
        workload=arguments.workload,
        duration=str(arguments.duration),
        warmup="1",
    )
    plan = workflow.plan(parse_options(asked, catalog.load()), facts)
    ends = [seen.fingerprints[node].text("inventory", "address") or "" for node in (inventory.client, inventory.server)]
    return Bench(session, inventory, plan, RunFolder(scratch), (ends[0], ends[1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--inventory", default="local", metavar="LAB")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--duration", type=int, default=2, help="seconds beyond a warm-up of 1 s")
    parser.add_argument("--workload", default="tcp_stream,tcp_rr,tcp_crr")
    arguments = parser.parse_args()
    lines: list[tuple[object, ...]] = []
    with Session() as session, tempfile.TemporaryDirectory(prefix="labctl-fidelity-") as scratch:
        bench = prepared(session, arguments.inventory, arguments, Path(scratch))
        items: list[dict[str, Any]] = [tools.flat(encode(one)) for one in samples_for(bench.plan, bench.plan.visits[0])]
        bench.play("deploy.yml")
        try:
            found: dict[str, Ways] = {item["workload"]: defaultdict(dict) for item in items}
            for number in range(arguments.pairs):
                for item in items:
                    one_pair(bench, item, number, found[item["workload"]])
                sys.stderr.write(f"{number + 1} of {arguments.pairs}\n")
        finally:
            bench.play("undeploy.yml")
    for workload, ways in found.items():
        lines.extend(rows(workload, ways))
    headers = ["workload", "ratio of rates", "pairs", "estimate", "low", "high", "robust", "0.97-1.03", "what it tells"]
    sys.stdout.write(tabulate(lines, headers, floatfmt=".4f") + "\n")


if __name__ == "__main__":
    main()
