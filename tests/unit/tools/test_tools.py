"""The door: tools by their name, how they stand in files, and what a program that is none of labctl's would need."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from labctl import catalog, tools
from labctl.catalog import Catalog, Workload
from labctl.catalog.lab import LabFacts
from labctl.core.errors import LabctlError, Problem
from labctl.core.records import encode
from labctl.plan import plan as planning
from labctl.plan import stored
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.plan import Plan
from labctl.plan.visit import PlannedSample, all_samples, setup_inventory
from labctl.samples import raw, sample
from labctl.samples.quantities import Latency
from labctl.samples.sample import Sample, Status
from labctl.tools.reading import Interim, RateUnit, Reading, Setting
from labctl.tools.reading import Latency as SeenLatency
from labctl.tools.tool import Server, ToolError

NETPERF = {"name": "w", "test": "TCP_RR", "options": ["-r", "1,1"], "selectors": ["THROUGHPUT"]}
CAPTURE = "baseline.tcp_crr.1/1-1"


def test_files_that_name_no_tool_mean_netperf() -> None:
    nested = tools.nested(NETPERF, "plan.json")
    settings = {"test": "TCP_RR", "options": ["-r", "1,1"], "selectors": ["THROUGHPUT"]}
    assert nested == {"name": "w", "tool": "netperf", "settings": settings}
    assert tools.flat(nested) == NETPERF


def test_an_unknown_tool_is_named_with_its_place() -> None:
    with pytest.raises(LabctlError) as caught:
        tools.nested({**NETPERF, "tool": "netprf"}, "plan.json")
    assert str(caught.value) == (
        "unknown tool\n  where: plan.json:tool\n  seen:  'netprf'\n  next:  did you mean netperf? known: netperf"
    )


@pytest.mark.parametrize("name", tools.TOOLS)
def test_a_tool_fits_in(name: str, repository: Path) -> None:
    """It goes by its name, its server's role can serve, and its settings can stand among the keys of others."""
    kind = tools.TOOLS[name]
    assert kind.name == name
    assert (repository / "roles" / kind.server.role / "tasks" / "serve.yml").is_file()
    own = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for record in (Workload, PlannedSample):
        assert own.isdisjoint(field.name for field in dataclasses.fields(record))


# A load generator for HTTP: open loop, histograms, errors that are counted


@dataclass(frozen=True)
class Http:
    """Requests at a given rate, whether answers come or not; prints JSON."""

    name: ClassVar[str] = "http"
    server: ClassVar[Server] = Server("http", "httpd", "labctl-httpd.service", 8080)

    path: str
    offered: int
    percentiles: tuple[float, ...]

    test = "GET"
    unit = RateUnit.UNIT
    tail_s = 0.5

    def length_s(self, duration_s: float, warmup_s: float) -> float:
        return duration_s + warmup_s

    def argv(
        self, sample: Mapping[str, object], client_address: str, server_address: str, process: int = 0
    ) -> tuple[str, ...]:
        del client_address, process
        return ("load", "-r", str(self.offered), "-i", str(sample["interval_s"]), f"http://{server_address}{self.path}")

    def stdout_file(self, process: int) -> str:
        return f"http-{process:02d}.json"

    def complaint(self, stdout: str) -> str:
        return str(json.loads(stdout).get("error", ""))

    def parse(self, text: str, source: str) -> Reading:
        said = json.loads(text)
        if "done" not in said:
            raise ToolError(Problem("no request was done", source))
        return Reading(
            tool=self.name,
            unit=self.unit,
            rate=said["done"] / said["seconds"],
            elapsed_s=said["seconds"],
            interim=tuple(Interim(*one) for one in said["interim"]),
            latency=SeenLatency(
                mean=said["mean"],
                percentiles={one: said["percentiles"][str(one)] for one in self.percentiles},
                histogram={float(bound): count for bound, count in said["histogram"].items()},
            ),
            sent_bytes=said["sent"],
            received_bytes=said["received"],
            units=said["done"],
            connections=said["connections"],
            errors=said["errors"],
            settings=(Setting(f"-r {self.offered}", "offered", str(self.offered), str(said["offered"])),),
        )


WORKLOADS = """\
http_get:
  title: pages
  tool: http
  metric: request rate
  unit: requests/s
  latency: true
  packets_per_unit: null
  settings: {path: /1k, offered: 9000, percentiles: [50.0, 99.0, 99.9]}
"""


@pytest.fixture
def with_http(monkeypatch: pytest.MonkeyPatch, repository: Path, tmp_path: Path) -> Catalog:
    """The catalog with a workload of a program that is one class and one line in the registry."""
    monkeypatch.setattr(tools, "TOOLS", {**tools.TOOLS, "http": Http})
    shipped = repository / "labctl" / "catalog"
    shutil.copytree(shipped, tmp_path / "catalog")
    (tmp_path / "catalog" / "workloads" / "http.yml").write_text(WORKLOADS)
    return catalog.load(tmp_path / "catalog")


def plan_of(loaded: Catalog) -> Plan:
    given = RawOptions(variant="baseline", workload="http_get", processes="1", duration="2", warmup="1", rounds="1")
    lab = LabFacts("local", "local", "node1", "node2", 2)
    return planning.build(parse_options(given, loaded), loaded, lab, datetime(2026, 11, 22, tzinfo=UTC))


def measured(plan: Plan, folder: Path, capture: Path, **said: object) -> Sample:
    """The first sample of a plan as it would be measured: the capture's nodes, and what the program said."""
    workload, (planned, *_) = plan.workloads[0], all_samples(plan)
    item = tools.flat(encode(planned))
    shutil.copytree(capture, folder)
    seen = raw.read(folder)
    assert seen.client is not None
    grown = {name: seen.client.delta(f"cable.{name}") or 0 for name in ("rx_bytes", "tx_bytes")}
    packets = sum(seen.client.delta(f"cable.{name}") or 0 for name in ("rx_packets", "tx_packets"))
    start = seen.client.ticks[1].t
    output = {
        "done": 27000,
        "seconds": 3.0,
        "interim": [[start + i, start + i + 1, 9000.0] for i in range(3)],
        "mean": 80.0,
        "percentiles": {"50.0": 70.0, "99.0": 400.0, "99.9": 900.0},
        "histogram": {"100": 26000, "1000": 1000},
        "sent": 1000,
        "received": sum(grown.values()) - 66 * packets - 1000,
        "connections": 8,
        "errors": 0,
        "offered": 9000,
        **said,
    }
    (folder / workload.program.stdout_file(0)).write_text(json.dumps(output))
    edit(folder / "measurement.json", sample=item)
    edit(folder / "client.json", processes=[process_of(folder, workload)])
    return sample.derive(folder, workload)


def process_of(folder: Path, workload: Workload) -> dict[str, Any]:
    (process,) = json.loads((folder / "client.json").read_text())["processes"]
    return {**process, "stdout_file": workload.program.stdout_file(0)}


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_workload_of_another_program_is_planned_and_survives_its_file(with_http: Catalog) -> None:
    plan = plan_of(with_http)
    data = json.loads(json.dumps(planning.to_json(plan)))
    assert stored.from_json(data, "plan.json") == plan
    assert {"tool": "http", "path": "/1k", "offered": 9000}.items() <= data["workloads"][0].items()
    (item, *_) = setup_inventory(plan, plan.visits[0], ["n"], Path("/x"))["all"]["hosts"]["n"]["measure_samples"]
    assert tools.of(item).argv(item, "a", "b") == ("load", "-r", "9000", "-i", "0.2", "http://b/1k")


def test_its_samples_have_rate_latency_and_cpu(with_http: Catalog, repository: Path, tmp_path: Path) -> None:
    derived = measured(plan_of(with_http), tmp_path / "1", repository / "tests" / "fixtures" / "samples" / CAPTURE)
    assert (derived.status, derived.reasons) == (Status.VALID, ())
    assert derived.rate is not None
    assert derived.rate.unit == "requests/s"
    assert derived.rate.value == pytest.approx(9000)
    assert derived.latency_us == Latency(min=None, mean=80, p50=70, p90=None, p99=400, max=None, stddev=None)
    assert derived.cpu.machine is not None
    assert derived.wire is not None
    assert derived.wire.ratio == pytest.approx(1, abs=0.001)


def test_its_errors_and_a_rate_that_it_did_not_offer_void_them(
    with_http: Catalog, repository: Path, tmp_path: Path
) -> None:
    capture = repository / "tests" / "fixtures" / "samples" / CAPTURE
    derived = measured(plan_of(with_http), tmp_path / "1", capture, errors=3, offered=8000)
    assert derived.status is Status.INVALID
    assert derived.reasons == ("-r 9000 was asked for, http returned offered=8000", "http counted 3 errors")


def test_the_reading_keeps_what_no_table_shows_yet(with_http: Catalog, repository: Path, tmp_path: Path) -> None:
    plan = plan_of(with_http)
    measured(plan, tmp_path / "1", repository / "tests" / "fixtures" / "samples" / CAPTURE)
    reading = plan.workloads[0].program.parse((tmp_path / "1" / "http-00.json").read_text(), "http-00.json")
    assert reading.latency.percentiles[99.9] == 900
    assert reading.latency.histogram == {100: 26000, 1000: 1000}


@pytest.mark.parametrize(
    ("code", "reason"), [(2, "http process 0 exited 2: refused"), (0, "no request was done (http-00.json)")]
)
def test_without_a_result_they_have_failed(
    code: int, reason: str, with_http: Catalog, repository: Path, tmp_path: Path
) -> None:
    folder, plan = tmp_path / "1", plan_of(with_http)
    measured(plan, folder, repository / "tests" / "fixtures" / "samples" / CAPTURE)
    (folder / "http-00.json").write_text('{"error": "refused"}')
    edit(folder / "client.json", processes=[{**process_of(folder, plan.workloads[0]), "exit": code}])
    derived = sample.derive(folder, plan.workloads[0])
    assert (derived.status, derived.reasons) == (Status.FAILED, (reason,))
