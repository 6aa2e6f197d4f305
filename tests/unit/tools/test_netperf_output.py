"""netperf's output as captured from two versions of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl import catalog
from labctl.tools import netperf_output
from labctl.tools.netperf import Netperf
from labctl.tools.netperf_output import Output, Selector, Test
from labctl.tools.tool import ToolError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "netperf"
SMALL = (Selector.THROUGHPUT, Selector.THROUGHPUT_UNITS, Selector.ELAPSED_TIME)


def wanted(workload: str) -> tuple[Selector, ...]:
    return settings(workload).selectors


def settings(workload: str) -> Netperf:
    program = catalog.load().workloads[workload].program
    assert isinstance(program, Netperf)
    return program


def parse(name: str, test: Test, selectors: Sequence[Selector] = SMALL) -> Output:
    return netperf_output.parse((FIXTURES / f"{name}.txt").read_text(), selectors, test, f"{name}.txt")


def problems(name_or_text: str, test: Test = Test.TCP_RR, selectors: Sequence[Selector] = SMALL) -> list[str]:
    path = FIXTURES / f"{name_or_text}.txt" if "\n" not in name_or_text and name_or_text else None
    text = path.read_text() if path else name_or_text
    with pytest.raises(ToolError) as caught:
        netperf_output.parse(text, selectors, test, "netperf-00.txt")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("version", ["2.7.0", "2.7.1"])
@pytest.mark.parametrize("workload", ["tcp_stream", "tcp_rr", "tcp_crr"])
def test_the_catalogs_workloads_are_read_whole(version: str, workload: str) -> None:
    result = parse(f"{version}_{workload}", settings(workload).test, wanted(workload))
    assert set(result.fields) == set(wanted(workload))
    assert result.elapsed_s == pytest.approx(2.0, abs=0.02)
    assert result.value(Selector.TRANSPORT_MSS, int) == 1448
    assert None not in [value for name, value in result.fields.items() if "RETRANS" not in name]


@pytest.mark.parametrize(
    ("name", "test", "workload"),
    [
        ("2.7.0_tcp_stream", Test.TCP_STREAM, "tcp_stream"),
        ("2.7.0_tcp_rr", Test.TCP_RR, "tcp_rr"),
        ("2.7.0_tcp_crr", Test.TCP_CRR, "tcp_crr"),
        ("2.7.1_tcp_rr", Test.TCP_RR, "tcp_rr"),
        ("2.7.0_tcp_rr_x3-01", Test.TCP_RR, "tcp_rr"),
        ("2.7.0_tcp_stream_x3-02", Test.TCP_STREAM, "tcp_stream"),
    ],
)
def test_interim_results_are_the_test_in_pieces(name: str, test: Test, workload: str) -> None:
    result = parse(name, test, wanted(workload))
    assert all(abs(later.start - earlier.end) < 0.005 for earlier, later in pairwise(result.interim))
    assert result.interim[-1].end - result.interim[0].start == pytest.approx(result.elapsed_s, abs=0.03)
    assert 1.79e9 < result.interim[0].start < 1.80e9, "epoch seconds of November 2026"
    work = sum((i.end - i.start) * i.rate for i in result.interim)
    assert work == pytest.approx(result.throughput * result.elapsed_s, rel=0.02)


def test_the_values_of_one_capture() -> None:
    result = parse("2.7.0_tcp_maerts", Test.TCP_MAERTS, [*SMALL, *_MAERTS])
    assert result.throughput == 4153.94
    assert result.value(Selector.REMOTE_SEND_SIZE, int) == 16384
    assert result.value(Selector.LOCAL_RECV_SIZE, int) == 131072
    assert result.value(Selector.LOCAL_CONG_CONTROL, str) == "cubic"
    assert result.value(Selector.P50_LATENCY, float) is None, "not asked for"


_MAERTS = [
    name for name in wanted("tcp_stream") if name not in (*SMALL, Selector.LOCAL_SEND_SIZE, Selector.REMOTE_RECV_SIZE)
] + [Selector.LOCAL_RECV_SIZE, Selector.REMOTE_SEND_SIZE]


def test_what_netperf_has_no_value_for_is_none() -> None:
    """tcp_crr has no connection left to ask at its end, and no message sizes of its own."""
    result = parse("2.7.0_all_fields_of_crr", Test.TCP_CRR, tuple(Selector))
    absent = {name for name, value in result.fields.items() if value is None}
    assert {Selector.REMOTE_CONG_CONTROL, Selector.REMOTE_TRANSPORT_RETRANS} <= absent
    assert result.value(Selector.P99_LATENCY, float) is not None
    assert result.value(Selector.REQUEST_SIZE, int) == 1


@pytest.mark.parametrize("name", [s for s in Selector if s.endswith("_LATENCY")])
@pytest.mark.parametrize("value", ["-1", "-1.00"])
def test_an_absent_latency_is_none_and_not_minus_one(name: Selector, value: str) -> None:
    text = f"THROUGHPUT=1.0\nTHROUGHPUT_UNITS=Trans/s\nELAPSED_TIME=1.00\n{name}={value}\n"
    assert netperf_output.parse(text, (*SMALL, name), Test.TCP_RR).fields[name] is None


@pytest.mark.parametrize("value", ["", "UNKNOWN", "Unavailable", "Deprecated", "TCP Only", "92 errno"])
def test_an_absent_text_is_none(value: str) -> None:
    text = f"THROUGHPUT=1.0\nTHROUGHPUT_UNITS=Trans/s\nELAPSED_TIME=1.00\nLOCAL_CONG_CONTROL={value}\n"
    result = netperf_output.parse(text, (*SMALL, Selector.LOCAL_CONG_CONTROL), Test.TCP_RR)
    assert result.value(Selector.LOCAL_CONG_CONTROL, str) is None


def test_zero_is_a_value() -> None:
    text = "THROUGHPUT=0.00\nTHROUGHPUT_UNITS=Trans/s\nELAPSED_TIME=1.00\nLOCAL_TRANSPORT_RETRANS=0\n"
    result = netperf_output.parse(text, (*SMALL, Selector.LOCAL_TRANSPORT_RETRANS), Test.TCP_RR)
    assert (result.throughput, result.value(Selector.LOCAL_TRANSPORT_RETRANS, int)) == (0.0, 0)


def test_without_interim_results_there_are_none() -> None:
    assert parse("2.7.0_without_interim", Test.TCP_RR).interim == ()


def test_a_positive_interval_lets_the_intervals_drift() -> None:
    widths = [i.end - i.start for i in parse("2.7.0_positive_interval", Test.TCP_RR).interim]
    assert max(widths) > 0.201, "why the command has a negative one"


def test_the_rest_of_no_time_is_passed_over() -> None:
    assert [i.rate for i in parse("synthetic_empty_interval", Test.TCP_RR).interim] == [59256.00, 51529.90]


def test_a_congestion_control_that_the_kernel_refused_comes_back_as_what_was_used() -> None:
    both = (Selector.LOCAL_CONG_CONTROL, Selector.REMOTE_CONG_CONTROL)
    result = parse("2.7.0_refused_congestion_control", Test.TCP_RR, (*SMALL, *both))
    assert [result.value(name, str) for name in both] == ["bbr", "bbr"]


# What is refused


def test_a_field_that_the_rate_needs_and_netperf_dropped_is_an_error_naming_field_and_file() -> None:
    text = "THROUGHPUT=1.0\nTHROUGHPUT_UNITS=Trans/s\n"
    assert problems(text) == [
        "netperf did not return ELAPSED_TIME\n  where: netperf-00.txt:ELAPSED_TIME\n"
        "  next:  this netperf may not know the field, or it ended early: look at its raw output"
    ]


def test_any_other_field_that_netperf_dropped_is_not_known_and_named() -> None:
    result = parse("2.7.0_unknown_selector", Test.TCP_RR, (*SMALL, Selector.STDDEV_LATENCY))
    assert (result.fields[Selector.STDDEV_LATENCY], result.unread) == (None, ("STDDEV_LATENCY",))
    assert result.throughput > 0


@pytest.mark.parametrize(
    ("value", "named"),
    [
        *(
            (value, f"={value}")
            for value in ("-nan", "nan", "inf", "-5.30", "-0.5", "1e400", "soon", "1_0", "0x1f", "٣")
        ),
        ("", ""),
        ("9" * 5000, f"={'9' * 40}... (5000 characters)"),
    ],
)
@pytest.mark.parametrize("name", [Selector.STDDEV_LATENCY, Selector.MEAN_LATENCY, Selector.TRANSPORT_MSS])
def test_a_side_value_that_cannot_be_one_costs_itself_alone(name: Selector, value: str, named: str) -> None:
    result = netperf_output.parse(f"{GOOD}{name}={value}\n", (*SMALL, name), Test.TCP_RR)
    assert (result.throughput, result.fields[name]) == (1.0, None)
    assert result.unread == (f"{name}{named}",)


def test_what_nobody_asked_for_and_what_comes_twice_is_named() -> None:
    text = f"{GOOD}P50_LATENCY=7\nP99_LATENCY=1\nP99_LATENCY=2\n"
    result = netperf_output.parse(text, (*SMALL, Selector.P99_LATENCY), Test.TCP_RR)
    assert result.unread == ("P99_LATENCY=1 and 2", "P50_LATENCY=7")
    assert result.fields[Selector.P99_LATENCY] is None


def test_rates_in_another_unit_are_an_error() -> None:
    assert problems("2.7.0_unit_g", Test.TCP_STREAM)[-1] == (
        "the rate of TCP_STREAM is not in 10^6bits/s\n  where: netperf-00.txt:THROUGHPUT_UNITS\n  seen:  10^9bits/s"
    )
    assert problems("2.7.0_unit_m_rr")[0] == (
        "the interim rate of TCP_RR is not in Trans/s\n  where: netperf-00.txt:NETPERF_UNITS[0]\n  seen:  10^6bits/s"
    )


def test_the_output_of_another_test_is_an_error() -> None:
    assert "the rate of TCP_STREAM is not in 10^6bits/s" in problems("2.7.0_without_interim", Test.TCP_STREAM)[-1]


@pytest.mark.parametrize("name", ["2.7.0_netserver_killed", "2.7.0_netperf_killed"])
def test_a_test_cut_short_lacks_every_field(name: str) -> None:
    assert [text.splitlines()[0] for text in problems(name)] == [f"netperf did not return {field}" for field in SMALL]


def test_what_netperf_complains_about_is_shown() -> None:
    first = problems("2.7.0_no_netserver")[0]
    assert first.startswith(
        "netperf printed a line that is no field\n  where: netperf-00.txt:1\n  seen:  establish control"
    )
    assert "netserver listening on 198.18.253.140 at port 12999" in first


def test_no_output_is_an_error() -> None:
    assert problems("")[0] == "netperf printed nothing\n  where: netperf-00.txt"


GOOD = "THROUGHPUT=1.0\nTHROUGHPUT_UNITS=Trans/s\nELAPSED_TIME=1.00\n"
INTERIM = "NETPERF_INTERIM_RESULT[0]=%s\nNETPERF_UNITS[0]=%s\nNETPERF_INTERVAL[0]=%s\nNETPERF_ENDING[0]=%s\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GOOD + "THROUGHPUT=2.0\n",
            "netperf returned THROUGHPUT twice\n  where: netperf-00.txt:4\n  seen:  THROUGHPUT=2.0",
        ),
        (GOOD.replace("1.00", "-1.00"), "netperf reported no ELAPSED_TIME\n  where: netperf-00.txt:ELAPSED_TIME"),
        (GOOD.replace("Trans/s", ""), "netperf reported no THROUGHPUT_UNITS\n  where: netperf-00.txt:THROUGHPUT_UNITS"),
        *(
            (
                GOOD.replace("1.0\n", f"{value}\n", 1),
                "THROUGHPUT is not a number that netperf can mean\n"
                f"  where: netperf-00.txt:THROUGHPUT\n  seen:  {seen}",
            )
            for value, seen in [("fast", "fast"), ("nan", "nan"), ("inf", "inf"), ("-2.5", "-2.5"), ("", "nothing")]
        ),
        (
            INTERIM % ("1.0", "Trans/s", "0.2", "soon") + GOOD,
            "NETPERF_ENDING[0] is no rate or time\n  where: netperf-00.txt:NETPERF_ENDING[0]\n  seen:  soon",
        ),
        (
            INTERIM % ("inf", "Trans/s", "0.200", "9.0") + GOOD,
            "NETPERF_INTERIM_RESULT[0] is no rate or time\n"
            "  where: netperf-00.txt:NETPERF_INTERIM_RESULT[0]\n  seen:  inf",
        ),
        (
            "NETPERF_INTERIM_RESULT[0]=1.0\nNETPERF_UNITS[0]=Trans/s\nNETPERF_ENDING[0]=9.0\n" + GOOD,
            "NETPERF_INTERVAL[0] is no rate or time\n  where: netperf-00.txt:NETPERF_INTERVAL[0]\n  seen:  nothing",
        ),
    ],
)
def test_output_that_cannot_be_meant_is_refused(text: str, message: str) -> None:
    assert problems(text)[0] == message


def test_an_infinite_rate_over_no_time_is_passed_over() -> None:
    assert netperf_output.parse(INTERIM % ("inf", "Trans/s", "0.000", "9.0") + GOOD, SMALL, Test.TCP_RR).interim == ()


def test_the_rate_itself_has_to_be_asked_for() -> None:
    text = "THROUGHPUT_UNITS=Trans/s\nELAPSED_TIME=1.00\n"
    assert problems(text, selectors=SMALL[1:]) == [
        "THROUGHPUT has to be among the fields asked for\n  where: netperf-00.txt"
    ]


NUMBERS = st.floats(min_value=0, max_value=1e6).map(lambda value: round(value, 2))


@given(st.lists(st.tuples(NUMBERS, st.floats(0.001, 2).map(lambda value: round(value, 3))), max_size=20), NUMBERS)
def test_what_netperf_prints_is_what_is_read(pieces: list[tuple[float, float]], throughput: float) -> None:
    end, lines, expected = 1_795_362_145.0, "", []
    for index, (rate, width) in enumerate(pieces):
        end = round(end + width, 3)
        lines += (INTERIM % (f"{rate:.2f}", "Trans/s", f"{width:.3f}", f"{end:.3f}")).replace("[0]", f"[{index}]")
        expected.append((end, rate))
    result = netperf_output.parse(
        f"{lines}THROUGHPUT={throughput:.2f}\n{GOOD.split(chr(10), 1)[1]}", SMALL, Test.TCP_RR
    )
    assert [(i.end, i.rate) for i in result.interim] == expected
    assert result.throughput == throughput
