"""Raw folders: what is read of captured ones, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from labctl.core.errors import LabctlError
from labctl.samples import raw, sample
from labctl.samples.sample import Flag
from tests.unit.samples.captures import CRR, FIXTURES, RR2, STREAM, Copy, editing


def error_of(folder: Path) -> str:
    with pytest.raises(LabctlError) as caught:
        raw.read(folder)
    assert all(problem.hint for problem in caught.value.problems)
    return str(caught.value).replace(str(folder), "FOLDER").replace(f"\n  next:  {raw.AGAIN}", "")


def test_what_was_to_be_measured() -> None:
    item = raw.read(FIXTURES / RR2).item
    assert (item.id, item.cell, item.round, item.n) == (RR2, "baseline.tcp_rr.2", 1, 6)
    assert (item.processes, item.duration_s, item.warmup_s) == (2, 2.0, 1.0)
    assert (item.tool, item.settings["test"], item.settings["options"]) == (
        "netperf",
        "TCP_RR",
        ["-r", "1,1", "-K", "cubic"],
    )
    assert (item.tunnel, item.mtu) == (None, 1500), "what a labctl wrote that knew no other"


def test_a_sample_of_another_tool_has_its_settings_beside_its_keys(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "measurement.json") as data:
        data["sample"]["tool"] = "netprf"
    assert error_of(folder).startswith("unknown tool\n  where: measurement.json:sample.tool\n  seen:  'netprf'")


def test_what_each_process_printed() -> None:
    found = raw.read(FIXTURES / RR2)
    assert [(one.index, one.exit, one.signal, one.stdout_file) for one in found.processes] == [
        (0, 0, None, "netperf-00.txt"),
        (1, 0, None, "netperf-01.txt"),
    ]
    for process in found.processes:
        assert found.text(process) == (FIXTURES / RR2 / process.stdout_file).read_text()


def test_what_both_ends_recorded() -> None:
    found = raw.read(FIXTURES / CRR)
    assert found.client is not None
    assert found.server is not None
    assert (found.client.source, found.client.node, found.server.node) == ("client.json", "node1", "node2")
    assert (found.client.threads, found.client.hz) == (2, 100)
    assert set(found.client.ticks[0].stat) == {"cpu", "cpu0", "cpu1"}
    assert all(later.t > earlier.t for earlier, later in pairwise(found.client.ticks))
    assert len(found.client.clock_offsets_s) == len(found.client.ticks)
    assert max(found.client.clock_offsets_s) - min(found.client.clock_offsets_s) < 0.001, "its clock was not set"


def test_counters_grow_and_what_was_not_read_is_not_known(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        counters = data["counters"]
        counters["before"] |= {"grown": 3, "lost": 3, "unread": None}
        counters["after"] |= {"grown": 5, "lost": None, "unread": 3, "new": 9}
    client = raw.read(folder).client
    assert client is not None
    names = ("grown", "lost", "unread", "new", "never")
    assert [client.delta(name) for name in names] == [2, None, None, None, None]
    deltas = client.deltas()
    assert [deltas.get(name, "no key") for name in names] == [2, None, None, None, "no key"]
    assert deltas["cable.tx_packets"] == client.after["cable.tx_packets"] - client.before["cable.tx_packets"]  # type: ignore[operator]


def test_a_cable_of_which_nothing_is_said_is_the_tests_own(copy: Copy) -> None:
    assert raw.read(FIXTURES / CRR).cable == "own", "what a labctl wrote that knew no other"
    folder = copy(STREAM)
    with editing(folder, "measurement.json") as data:
        data["cable"] = "shared"
    assert raw.read(folder).cable == "shared"


def test_keys_that_no_reader_uses_are_passed_over(copy: Copy) -> None:
    folder = copy(CRR)
    for name in ("measurement.json", "client.json", "server.json"):
        with editing(folder, name) as data:
            data["of_a_later_labctl"] = {"x": 1}
    assert raw.read(folder).item == raw.read(FIXTURES / CRR).item


def test_a_failed_measurement_may_lack_its_ends(copy: Copy) -> None:
    folder = copy(CRR)
    for name in ("client.json", "server.json"):
        (folder / name).unlink()
    with editing(folder, "measurement.json") as data:
        data.update(status="failed", reason="node2: the connection was closed")
    found = raw.read(folder)
    assert (found.failed, found.reason) == (True, "node2: the connection was closed")
    assert (found.client, found.server, found.processes) == (None, None, ())


# What is refused


def test_a_folder_without_a_measurement_is_an_error(tmp_path: Path) -> None:
    assert error_of(tmp_path).startswith("a file cannot be read\n  where: FOLDER/measurement.json\n  seen:  ")


@pytest.mark.parametrize("name", ["client.json", "server.json"])
def test_a_measured_sample_needs_both_ends(copy: Copy, name: str) -> None:
    folder = copy(CRR)
    (folder / name).unlink()
    assert error_of(folder) == f"a measured sample lacks a raw file\n  where: FOLDER/{name}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a file is not valid JSON\n  where: FOLDER/server.json\n  seen:  Expecting property name"),
        ("[]", "a raw file is not a JSON object\n  where: FOLDER/server.json"),
        ("{}", "missing key\n  where: server.json:schema\nmissing key\n  where: server.json:node\n"),
    ],
)
def test_a_broken_raw_file_is_an_error(copy: Copy, text: str, message: str) -> None:
    folder = copy(CRR)
    (folder / "server.json").write_text(text)
    assert error_of(folder).startswith(message)


def test_a_wrong_value_is_named_with_its_key(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        data["threads"], data["hz"] = "2", None
    assert error_of(folder) == (
        "the value is not a whole number\n  where: client.json:threads\n  seen:  '2'\n"
        "the value is not a whole number\n  where: client.json:hz\n  seen:  None"
    )


def test_counters_are_a_mapping(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        data["counters"]["before"] = [1]
    assert error_of(folder) == "the value is not a mapping\n  where: client.json:counters.before\n  seen:  [1]"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda data: data["counters"]["after"].update({"cable.rx_bytes": 1.5}), "counters.after.cable.rx_bytes"),
        (
            lambda data: data["counters"]["before"].update({"tcp.RetransSegs": "-nan"}),
            "counters.before.tcp.RetransSegs",
        ),
        (lambda data: data.pop("ticks"), "ticks"),
        (lambda data: data["ticks"][3].update(stat=[1]), "ticks"),
        (lambda data: data["ticks"][3].update(t="soon"), "ticks"),
        (lambda data: data["ticks"][0]["stat"].update(cpu0=[1.5]), "ticks"),
        (lambda data: data["ticks"][0]["stat"].update(cpux=[1]), "ticks"),
        (lambda data: data["processes"][0].update(looks={"first": 3}), "processes"),
        (lambda data: data["processes"][0].update(looks={"0": -3}), "processes"),
        (lambda data: data.update(switches={"voluntary": "many"}), "switches"),
        (lambda data: data.update(local_ports=[1]), "local_ports"),
        (lambda data: data.update(kernel={"load": {"seconds": None}}), "kernel"),
    ],
)
def test_what_no_rate_is_made_of_is_not_known_and_named(
    copy: Copy, change: Callable[[dict[str, Any]], object], names: str
) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        change(data)
    assert raw.read(folder).unread == (f"client.json:{names}",)
    derived = sample.derive(folder)
    assert Flag.UNREAD in derived.flags
    assert derived.unread == (f"client.json:{names}",)
    assert derived.rate == sample.derive(FIXTURES / CRR).rate


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x", "a/b", "..", "", ".", "netperf-00.txt/", "linked.txt"])
def test_only_a_file_of_its_own_folder_is_read_as_a_tools_output(copy: Copy, name: str) -> None:
    folder = copy(CRR)
    (folder / "linked.txt").symlink_to("/etc/passwd")
    with editing(folder, "client.json") as data:
        data["processes"][0]["stdout_file"] = name
    found = raw.read(folder)
    with pytest.raises(LabctlError) as refused:
        found.text(found.processes[0])
    assert "root:" not in str(refused.value)
    assert all(problem.hint for problem in refused.value.problems)


@pytest.mark.parametrize(
    ("key", "value"), [("duration_s", -2), ("duration_s", 0), ("processes", 0), ("mtu", 0), ("round", -1)]
)
def test_a_sample_that_nobody_could_take_is_refused(copy: Copy, key: str, value: int) -> None:
    folder = copy(CRR)
    with editing(folder, "measurement.json") as data:
        data["sample"][key] = value
    assert f"measurement.json:sample.{key}" in error_of(folder)


@pytest.mark.parametrize("key", ["hz", "threads"])
def test_a_machine_without_cpus_or_ticks_is_refused(copy: Copy, key: str) -> None:
    folder = copy(CRR)
    with editing(folder, "server.json") as data:
        data[key] = 0
    assert error_of(folder).startswith("a machine has at least one CPU")


def test_raw_files_of_another_schema_are_refused(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "measurement.json") as data:
        data["schema"] = "labctl.measurement/9"
    assert error_of(folder) == (
        "the value is not labctl.measurement/1\n  where: measurement.json:schema\n  seen:  'labctl.measurement/9'"
    )
