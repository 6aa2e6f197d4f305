"""Samples derived from raw folders: real ones as they are, and real ones with one thing broken."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from labctl import catalog
from labctl.core.errors import LabctlError
from labctl.core.files import read_record, write_json
from labctl.core.records import decode, encode
from labctl.samples import sample
from labctl.samples.quantities import Cpu, Range
from labctl.samples.sample import Flag, Sample, Status
from tests.unit.samples.captures import CRR, FIXTURES, RR2, STREAM, Copy, editing


def replace_text(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def grow(folder: Path, end: str, counter: str, by: int | None) -> None:
    """Let a counter grow by `by` over the sample, or be unreadable after it."""
    with editing(folder, f"{end}.json") as data:
        counters = data["counters"]
        counters["after"][counter] = None if by is None else counters["before"][counter] + by


def verdict(folder: Path) -> tuple[Status, tuple[str, ...]]:
    derived = sample.derive(folder)
    return derived.status, derived.reasons


# Samples as they were measured


@pytest.mark.parametrize("name", [CRR, RR2, STREAM])
def test_a_real_sample_is_valid_and_its_bytes_agree(name: str) -> None:
    derived = sample.derive(FIXTURES / name)
    assert (derived.status, derived.reasons) == (Status.VALID, ())
    assert derived.id == name
    assert derived.wire is not None
    assert derived.wire.ratio == pytest.approx(1, abs=0.001)
    assert derived.mss == 1448
    assert derived.shared_kernel is True


def test_rates_are_cut_to_the_window_and_summed() -> None:
    """The window is the last 2 of 3 s: the interim results 5 to 14 of either process, give or take an edge."""
    derived = sample.derive(FIXTURES / RR2)
    assert derived.rate is not None
    assert derived.window is not None
    by_hand = []
    for index in range(2):
        lines = (FIXTURES / RR2 / f"netperf-{index:02d}.txt").read_text().splitlines()
        interim = [float(line.partition("=")[2]) for line in lines if line.startswith("NETPERF_INTERIM_RESULT")]
        by_hand.append(sum(interim[5:15]) / 10)
    assert derived.per_process == pytest.approx(by_hand, rel=0.01)
    assert derived.rate.value == sum(derived.per_process)
    assert derived.rate.unit == "requests/s"
    assert derived.window.seconds == pytest.approx(2.0, abs=0.01)


def test_a_stream_is_in_gigabits_and_has_no_latency() -> None:
    derived = sample.derive(FIXTURES / STREAM)
    assert derived.rate is not None
    assert (derived.rate.unit, derived.latency_us) == ("Gbit/s", None)
    assert derived.rate.value == pytest.approx(6.29, abs=0.01)
    assert (derived.send_size, derived.recv_size, derived.congestion_control) == (16384, 131072, "cubic")


def test_one_process_has_latencies_and_several_have_ranges() -> None:
    one, several = sample.derive(FIXTURES / CRR).latency_us, sample.derive(FIXTURES / RR2).latency_us
    assert one is not None
    assert (one.p50, one.p99) == (79, 541)
    assert several is not None
    assert several.p99 == Range(64, 94)


def test_a_latency_that_one_process_lacks_has_no_range(copy: Copy) -> None:
    folder = copy(RR2)
    replace_text(folder, "netperf-01.txt", "P99_LATENCY=64", "P99_LATENCY=-1")
    latency = sample.derive(folder).latency_us
    assert latency is not None
    assert latency.p99 is None
    assert latency.p50 is not None


def test_tcp_crr_cannot_say_its_congestion_control() -> None:
    derived = sample.derive(FIXTURES / CRR)
    assert derived.congestion_control is None
    assert (derived.send_size, derived.recv_size) == (1, 1)


def test_counters_are_what_they_grew_by() -> None:
    counters = sample.derive(FIXTURES / CRR).counters
    assert counters.client is not None
    assert counters.client["tcp.RetransSegs"] is not None
    assert counters.client["tcp.ActiveOpens"] == 29597 + 1, "the data connections and the one that controls"


@pytest.mark.parametrize("name", [CRR, RR2, STREAM])
def test_a_sample_survives_its_file(name: str, tmp_path: Path) -> None:
    derived = sample.derive(FIXTURES / name)
    write_json(tmp_path / "sample.json", derived)
    assert read_record(Sample, tmp_path / "sample.json") == derived


def test_the_file_names_everything_of_the_schema() -> None:
    data = encode(sample.derive(FIXTURES / CRR))
    assert list(data) == [field.name for field in dataclasses.fields(Sample)]
    assert data["schema"] == "labctl.sample/1"
    assert data["flags"] == ["indicative", "load_unknown"], "it was measured before others were looked for"
    assert (data["cpu"]["client"], data["cpu"]["server"]) == (None, None)


def test_a_file_of_another_schema_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "sample.json", encode(sample.derive(FIXTURES / CRR)) | {"schema": "labctl.sample/2"})
    with pytest.raises(LabctlError, match=r'sample\.json:schema\n  seen:  "labctl\.sample/2"'):
        read_record(Sample, tmp_path / "sample.json")


# CPU


def apart(folder: Path, offset_s: float) -> Sample:
    """The sample as if its nodes had kernels of their own and clocks `offset_s` apart."""
    with editing(folder, "measurement.json") as data:
        data["shared_kernel"], data["clock_offset_s"] = False, offset_s
    with editing(folder, "server.json") as data:
        for tick in data["ticks"]:
            tick["t"] += offset_s
    return sample.derive(folder)


def test_nodes_that_share_a_kernel_have_no_cpu_of_their_own() -> None:
    derived = sample.derive(FIXTURES / CRR)
    assert derived.cpu.machine is not None
    assert derived.cpu == Cpu(machine=derived.cpu.machine)
    assert derived.cpu.machine.threads == 2
    assert derived.cpu.machine.busy_pct == pytest.approx(99.5, abs=0.1)


def test_nodes_with_kernels_of_their_own_have_cpu_per_end(copy: Copy) -> None:
    derived = apart(copy(CRR), 0.0)
    assert derived.cpu.machine is None
    assert derived.cpu.client is not None
    assert derived.cpu.server is not None
    assert derived.cpu_cost is not None
    assert derived.rate is not None
    assert derived.window is not None
    both = derived.cpu.client.busy_core_s + derived.cpu.server.busy_core_s
    assert derived.cpu_cost.value == pytest.approx(1000 * both / (derived.rate.value * derived.window.seconds))


def test_the_servers_readings_are_cut_by_its_own_clock(copy: Copy) -> None:
    alike, shifted = apart(copy(CRR), 0.0), apart(copy(CRR), 0.09)
    assert alike.cpu.server is not None
    assert shifted.cpu.server is not None
    assert shifted.cpu.server.busy_core_s == pytest.approx(alike.cpu.server.busy_core_s)


@pytest.mark.parametrize(("name", "unit", "per"), [(STREAM, "core-s/GB", 1 / 8), (CRR, "core-s/1k", 1 / 1000)])
def test_cpu_cost_is_core_seconds_per_work(name: str, unit: str, per: float) -> None:
    derived = sample.derive(FIXTURES / name)
    assert derived.cpu_cost is not None
    assert derived.cpu.machine is not None
    assert derived.rate is not None
    assert derived.window is not None
    work = derived.rate.value * per * derived.window.seconds
    assert derived.cpu_cost.unit == unit
    assert derived.cpu_cost.value == pytest.approx(derived.cpu.machine.busy_core_s / work)


def test_readings_that_end_too_early_leave_the_cpu_unknown_and_the_rate_valid(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        del data["ticks"][8:]
    derived = sample.derive(folder)
    assert derived.status is Status.VALID
    assert derived.flags == (Flag.INDICATIVE, Flag.CPU_UNKNOWN, Flag.LOAD_UNKNOWN)
    assert (derived.cpu, derived.cpu_cost) == (Cpu(), None)


def test_stolen_time_is_flagged(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        for number, tick in enumerate(data["ticks"]):
            tick["stat"]["cpu"][7] += 2 * number
    assert Flag.STEAL in sample.derive(folder).flags


def test_cpu_time_that_does_not_match_the_clock_is_flagged(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "client.json") as data:
        data["hz"] = 250
    assert Flag.CPU_ACCOUNTING in sample.derive(folder).flags


def test_a_short_window_is_indicative_and_a_long_one_is_not(copy: Copy) -> None:
    """Thirty seconds less the start skew still are thirty seconds."""
    folder = copy(RR2)
    for index, seconds in ((0, 31), (1, 32)):
        interim = "".join(
            f"NETPERF_INTERIM_RESULT[{i}]=100.00\nNETPERF_UNITS[{i}]=Trans/s\n"
            f"NETPERF_INTERVAL[{i}]=1.000\nNETPERF_ENDING[{i}]={1795363260.2 + index * 0.3 + i:.3f}\n"
            for i in range(seconds)
        )
        text = (folder / f"netperf-{index:02d}.txt").read_text()
        fields = text[text.index("THROUGHPUT=") :].replace("ELAPSED_TIME=3.00", f"ELAPSED_TIME={seconds}.00")
        (folder / f"netperf-{index:02d}.txt").write_text(interim + fields)
    with editing(folder, "measurement.json") as data:
        data["sample"]["duration_s"] = 30.0
    derived = sample.derive(folder)
    assert derived.window is not None
    assert derived.window.seconds == pytest.approx(29.7)
    assert Flag.INDICATIVE not in derived.flags
    assert derived.rate is not None
    assert derived.rate.value == pytest.approx(200)


# Failed


def test_a_measurement_that_failed_early_is_a_failed_sample(copy: Copy) -> None:
    folder = copy(CRR)
    for path in folder.iterdir():
        if path.name != "measurement.json":
            path.unlink()
    with editing(folder, "measurement.json") as data:
        whole = dict(data)
        data.clear()
        data.update({key: whole[key] for key in ("schema", "sample", "started_at")})
        data.update(status="failed", reason="node2: the connection was closed")
    derived = sample.derive(folder)
    assert (derived.status, derived.reasons) == (Status.FAILED, ("node2: the connection was closed",))
    assert (derived.rate, derived.window, derived.counters.client, derived.shared_kernel) == (None, None, None, None)
    assert (derived.cell, derived.round, derived.n) == ("baseline.tcp_crr.1", 1, 1)
    assert decode(Sample, encode(derived), "sample.json") == derived


def test_a_time_limit_names_the_processes_it_killed(copy: Copy) -> None:
    folder = copy(RR2)
    with editing(folder, "measurement.json") as data:
        data.update(status="failed", reason="the time limit of 33 s was reached")
    with editing(folder, "client.json") as data:
        data["processes"][1].update(exit=None, signal=9)
    derived = sample.derive(folder)
    assert derived.status is Status.FAILED
    assert derived.reasons == (
        "the time limit of 33 s was reached",
        "netperf process 1 was killed by signal 9: it said nothing",
    )
    assert derived.counters.client is not None, "what is known is kept"


def test_a_process_that_failed_is_named_with_its_last_words(copy: Copy) -> None:
    folder = copy(RR2)
    with editing(folder, "client.json") as data:
        data["processes"][0].update(exit=1, stderr="recv_response: partial response received: 0 bytes\n")
        data["processes"][1].update(exit=255)
    captured = FIXTURES.parent / "netperf" / "2.7.0_no_netserver.txt"
    shutil.copy(captured, folder / "netperf-01.txt")
    status, reasons = verdict(folder)
    assert status is Status.FAILED
    assert reasons[0] == "netperf process 0 exited 1: recv_response: partial response received: 0 bytes"
    assert reasons[1].startswith("netperf process 1 exited 255: establish_control could not establish the control")


def test_a_process_that_is_missing_fails_the_sample(copy: Copy) -> None:
    folder = copy(RR2)
    with editing(folder, "client.json") as data:
        data["processes"].pop()
    assert verdict(folder) == (Status.FAILED, ("1 processes ran instead of 2",))


def test_output_that_lacks_a_field_fails_the_sample_naming_the_file(copy: Copy) -> None:
    folder = copy(RR2)
    replace_text(folder, "netperf-01.txt", "P99_LATENCY=64\n", "")
    assert verdict(folder)[0] is Status.VALID, "its rate needs no latency"
    replace_text(folder, "netperf-01.txt", "ELAPSED_TIME=", "ELAPSED=")
    assert verdict(folder) == (
        Status.FAILED,
        ("netperf did not return ELAPSED_TIME (netperf-01.txt:ELAPSED_TIME)",),
    )


def test_output_cut_short_does_not_fill_the_screen(copy: Copy) -> None:
    folder = copy(RR2)
    text = (folder / "netperf-00.txt").read_text()
    (folder / "netperf-00.txt").write_text(text[: text.index("THROUGHPUT=")])
    status, reasons = verdict(folder)
    assert status is Status.FAILED
    assert len(reasons) == 3, "one for each field that the rate is made of"
    assert reasons[0] == "netperf did not return THROUGHPUT (netperf-00.txt:THROUGHPUT)"


# Invalid: the way the traffic took


def scaled(folder: Path, share: float) -> None:
    """As if only `share` of the traffic had crossed the cable."""
    with editing(folder, "client.json") as data:
        before, after = data["counters"]["before"], data["counters"]["after"]
        for name in ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets"):
            grown = after[f"cable.{name}"] - before[f"cable.{name}"]
            after[f"cable.{name}"] = before[f"cable.{name}"] + round(share * grown)


@pytest.mark.parametrize("name", [CRR, RR2, STREAM])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.94, 1.07, 2.0])
def test_traffic_that_took_another_way_or_was_not_alone_is_invalid(copy: Copy, name: str, share: float) -> None:
    folder = copy(name)
    scaled(folder, share)
    status, reasons = verdict(folder)
    # bulk data and connections tolerate a few packets more or less, never missing payload
    tolerated = name == CRR and share in (0.94, 1.07)
    assert (status is Status.VALID) == tolerated
    why = "traffic took another way" if share < 1 else "others' traffic crossed it too, or a tunnel added to it"
    assert tolerated or reasons[0].endswith(why)


def test_the_reason_has_the_figures(copy: Copy) -> None:
    folder = copy(RR2)
    scaled(folder, 0.5)
    derived = sample.derive(folder)
    assert derived.reasons == (
        "the cable of node1 carried 19292888 bytes, 1.00 packets per unit; netperf's totals make 38585736 with headers "
        "of 66 bytes: ratio 0.500, allowed 1 +- 0.05: traffic took another way",
    )
    assert derived.rate is not None, "kept for a person to look at"
    assert derived.wire is not None
    assert derived.wire.ratio == pytest.approx(0.5, abs=0.001)


def test_bulk_data_in_larger_packets_agrees_as_well(copy: Copy) -> None:
    """Bytes less headers are compared: the MTU does not matter."""
    folder = copy(STREAM)
    with editing(folder, "client.json") as data:
        before, after = data["counters"]["before"], data["counters"]["after"]
        gone = (after["cable.tx_packets"] - before["cable.tx_packets"]) // 2
        after["cable.tx_packets"] -= gone
        after["cable.tx_bytes"] -= 66 * gone
    assert verdict(folder) == (Status.VALID, ())


def test_a_cable_that_cannot_be_read_is_not_taken_for_an_idle_one(copy: Copy) -> None:
    folder = copy(CRR)
    grow(folder, "client", "cable.tx_bytes", None)
    derived = sample.derive(folder)
    assert derived.status is Status.INVALID
    assert derived.reasons == (
        "whether the traffic took the cable is unknown: cable.tx_bytes of node1 could not be read",
    )
    assert derived.wire is None
    assert derived.counters.client is not None
    assert derived.counters.client["cable.tx_bytes"] is None
    assert Flag.COUNTERS_UNREAD in derived.flags


@pytest.mark.parametrize("end", ["client.json", "server.json"])
def test_what_a_cluster_put_into_the_pod_of_an_end_is_flagged(copy: Copy, end: str) -> None:
    folder = copy(STREAM)
    before = sample.derive(folder).flags
    for pod, flags in (
        ({"beside": [], "cpu_limit": None}, set()),
        ({"beside": ["istio-proxy (proxyv2:1)"], "cpu_limit": None}, {Flag.SIDECAR}),
        ({"beside": [], "cpu_limit": "500m"}, {Flag.CPU_LIMITED}),
    ):
        with editing(folder, end) as data:
            data["pod"] = pod
        derived = sample.derive(folder)
        assert (derived.status, set(derived.flags) - set(before)) == (Status.VALID, flags)


def test_a_cable_made_anew_during_the_sample_is_invalid(copy: Copy) -> None:
    folder = copy(CRR)
    grow(folder, "client", "cable.rx_bytes", -1)
    assert verdict(folder) == (
        Status.INVALID,
        ("the cable's counters of node1 went backwards: the interface was made anew",),
    )


def test_totals_that_netperf_did_not_return_leave_the_way_unknown(copy: Copy) -> None:
    folder = copy(STREAM)
    with editing(folder, "measurement.json") as data:
        data["sample"]["selectors"].remove("REMOTE_BYTES_RECVD")
    text = (folder / "netperf-00.txt").read_text().splitlines(keepends=True)
    (folder / "netperf-00.txt").write_text("".join(line for line in text if "REMOTE_BYTES_RECVD" not in line))
    assert verdict(folder) == (
        Status.INVALID,
        ("whether the traffic took the cable is unknown: netperf did not return its totals",),
    )


# Invalid: settings, clocks, connection tracking, the window


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        (
            STREAM,
            "LOCAL_CONG_CONTROL=cubic",
            "LOCAL_CONG_CONTROL=bbr",
            "-K cubic was asked for, netperf returned LOCAL_CONG_CONTROL=bbr",
        ),
        (
            STREAM,
            "REMOTE_CONG_CONTROL=cubic",
            "REMOTE_CONG_CONTROL=",
            "-K cubic was asked for, netperf returned REMOTE_CONG_CONTROL=nothing",
        ),
        (
            STREAM,
            "LOCAL_SEND_SIZE=16384",
            "LOCAL_SEND_SIZE=4096",
            "-m 16384 was asked for, netperf returned LOCAL_SEND_SIZE=4096",
        ),
        (
            STREAM,
            "REMOTE_RECV_SIZE=131072",
            "REMOTE_RECV_SIZE=87380",
            "-M 131072 was asked for, netperf returned REMOTE_RECV_SIZE=87380",
        ),
        (CRR, "REQUEST_SIZE=1\n", "REQUEST_SIZE=2\n", "-r 1,1 was asked for, netperf returned REQUEST_SIZE=2"),
    ],
)
def test_a_setting_that_did_not_come_back_is_invalid(copy: Copy, name: str, old: str, new: str, reason: str) -> None:
    folder = copy(name)
    replace_text(folder, "netperf-00.txt", old, new)
    assert verdict(folder) == (Status.INVALID, (reason,))


def test_processes_with_different_mss_are_invalid(copy: Copy) -> None:
    folder = copy(RR2)
    replace_text(folder, "netperf-01.txt", "TRANSPORT_MSS=1448", "TRANSPORT_MSS=1368")
    derived = sample.derive(folder)
    assert derived.reasons == ("the processes had different MSS: 1368, 1448",)
    assert derived.mss is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"clock_offset_s": 0.101}, "the nodes' clocks are 101 ms apart, more than 100"),
        ({"clock_offset_s": -0.25}, "the nodes' clocks are 250 ms apart, more than 100"),
        ({"clock_uncertainty_s": 0.2}, "the clock offset between the nodes is known to 200 ms only"),
        ({"clock_offset_s": None}, "the clock offset between the nodes was not measured"),
    ],
)
def test_clocks_too_far_apart_void_the_sample(copy: Copy, facts: dict[str, float | None], reason: str) -> None:
    folder = copy(CRR)
    with editing(folder, "measurement.json") as data:
        data.update(facts)
    assert verdict(folder) == (Status.INVALID, (reason,))


@pytest.mark.parametrize("counter", ["conntrack.insert_failed", "conntrack.drop"])
@pytest.mark.parametrize(("end", "node"), [("client", "node1"), ("server", "node2")])
def test_connections_that_tracking_refused_void_tcp_crr(copy: Copy, counter: str, end: str, node: str) -> None:
    folder = copy(CRR)
    grow(folder, end, counter, 3)
    assert verdict(folder) == (
        Status.INVALID,
        (f"{counter} of {node} grew by 3 while connections were opened",),
    )


def test_they_do_not_concern_a_test_of_one_connection(copy: Copy) -> None:
    folder = copy(RR2)
    grow(folder, "client", "conntrack.drop", 3)
    assert verdict(folder) == (Status.VALID, ())


def test_tracking_that_cannot_be_read_is_flagged_where_it_matters(copy: Copy) -> None:
    crr, rr = copy(CRR), copy(RR2)
    for folder in (crr, rr):
        grow(folder, "server", "conntrack.drop", None)
    assert sample.derive(crr).flags == (Flag.INDICATIVE, Flag.COUNTERS_UNREAD, Flag.LOAD_UNKNOWN)
    assert sample.derive(rr).flags == (Flag.INDICATIVE, Flag.LOAD_UNKNOWN)
    assert sample.derive(crr).status is Status.VALID


def test_processes_that_hardly_ran_together_are_invalid(copy: Copy) -> None:
    folder = copy(RR2)
    text = (folder / "netperf-01.txt").read_text()
    lines = [
        f"{key}={float(value) + 1.5:.3f}" if key.startswith("NETPERF_ENDING") else f"{key}={value}"
        for key, _, value in (line.partition("=") for line in text.splitlines())
    ]
    (folder / "netperf-01.txt").write_text("\n".join(lines) + "\n")
    derived = sample.derive(folder)
    assert derived.status is Status.INVALID
    assert derived.reasons[0].startswith(
        "all processes ran together for 0.5",
    )
    assert "(seen: start skew 1.50" in derived.reasons[0]
    assert (derived.rate, derived.window) == (None, None)


def test_output_without_interim_results_is_invalid_and_not_averaged(copy: Copy) -> None:
    folder = copy(CRR)
    text = (folder / "netperf-00.txt").read_text()
    (folder / "netperf-00.txt").write_text(text[text.index("THROUGHPUT=") :])
    derived = sample.derive(folder)
    assert derived.status is Status.INVALID
    assert derived.reasons == ("there are no interim results (netperf-00.txt)",)
    assert derived.rate is None


def test_all_reasons_are_given_at_once(copy: Copy) -> None:
    folder = copy(CRR)
    grow(folder, "client", "conntrack.drop", 1)
    with editing(folder, "measurement.json") as data:
        data["clock_offset_s"] = 0.5
    assert len(verdict(folder)[1]) == 2


# Raw folders that no sample can be derived from (those that cannot be read: test_raw.py)


def error_of(folder: Path) -> str:
    with pytest.raises(LabctlError) as caught:
        sample.derive(folder)
    return str(caught.value).replace(str(folder), "FOLDER")


def test_a_raw_output_that_is_gone_is_an_error(copy: Copy) -> None:
    folder = copy(CRR)
    (folder / "netperf-00.txt").unlink()
    assert error_of(folder).startswith("a file cannot be read\n  where: FOLDER/netperf-00.txt")


def test_an_unknown_workload_is_an_error(copy: Copy) -> None:
    folder = copy(CRR)
    with editing(folder, "measurement.json") as data:
        data["sample"]["workload"] = "tcp_cr"
    assert error_of(folder) == (
        "unknown workload\n  where: FOLDER/measurement.json\n  seen:  'tcp_cr'\n"
        "  next:  did you mean tcp_crr? known: tcp_stream, tcp_rr, tcp_crr"
    )


def test_the_workload_of_the_plan_has_to_be_the_samples() -> None:
    workloads = catalog.load().workloads
    folder = FIXTURES / CRR
    assert sample.derive(folder, workloads["tcp_crr"]) == sample.derive(folder)
    with pytest.raises(
        match=r"the sample is not of workload tcp_rr \(TCP_RR\)\n.*\n  seen:  tcp_crr \(TCP_CRR\)\n  next:  restore"
    ):
        sample.derive(folder, workloads["tcp_rr"])
