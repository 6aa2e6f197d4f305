"""Raw folders: what is read of captured ones, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from labctl.core.errors import LabctlError
from labctl.samples import raw
from tests.unit.samples.captures import CRR, FIXTURES, RR2, STREAM, Copy, editing


def error_of(folder: Path) -> str:
    with pytest.raises(LabctlError) as caught:
        raw.read(folder)
    return str(caught.value).replace(str(folder), "FOLDER")


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
    assert error_of(tmp_path).startswith("a raw file cannot be read\n  where: FOLDER/measurement.json\n  seen:  ")


@pytest.mark.parametrize("name", ["client.json", "server.json"])
def test_a_measured_sample_needs_both_ends(copy: Copy, name: str) -> None:
    folder = copy(CRR)
    (folder / name).unlink()
    assert error_of(folder) == f"a measured sample lacks a raw file\n  where: FOLDER/{name}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a raw file is not valid JSON\n  where: FOLDER/server.json\n  seen:  Expecting property name"),
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


def test_a_counter_is_a_whole_number_or_null(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        data["counters"]["after"]["cable.rx_bytes"] = 1.5
    assert error_of(folder) == (
        "a counter is neither a whole number nor null\n  where: client.json:counters.after.cable.rx_bytes\n  seen:  1.5"
    )


@pytest.mark.parametrize("key", ["counters", "ticks"])
def test_counters_and_readings_are_mappings(copy: Copy, key: str) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        if key == "ticks":
            data["ticks"][3]["stat"] = [1]
        else:
            data["counters"]["before"] = [1]
    where = "ticks" if key == "ticks" else "counters.before"
    assert error_of(folder) == f"the value is not a mapping\n  where: client.json:{where}\n  seen:  [1]"


def test_raw_files_of_another_schema_are_refused(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "measurement.json") as data:
        data["schema"] = "labctl.measurement/9"
    assert error_of(folder) == (
        "the value is not labctl.measurement/1\n  where: measurement.json:schema\n  seen:  'labctl.measurement/9'"
    )


def test_a_row_of_cpu_times_has_whole_numbers(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        data["ticks"][0]["stat"]["cpu0"] = [1.5]
    assert error_of(folder) == (
        "a row of CPU times is not a list of whole numbers\n  where: client.json:ticks.cpu0\n  seen:  [1.5]"
    )


def test_an_end_without_readings_is_an_error(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        del data["ticks"]
    assert error_of(folder) == "a list is missing\n  where: client.json:ticks\n  seen:  None"
