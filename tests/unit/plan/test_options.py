"""Options: defaults, and every bad input with its message."""

from __future__ import annotations

import pytest

from labctl.catalog import Catalog, Encryption, Endpoint
from labctl.core.errors import Problem, UsageError
from labctl.plan.options import FULL, MatrixOptions, Pin, RawOptions, parse_options


def refused(raw: RawOptions, catalog: Catalog) -> tuple[Problem, ...]:
    with pytest.raises(UsageError) as raised:
        parse_options(raw, catalog)
    assert raised.value.exit_code == 2
    return raised.value.problems


def test_without_options_the_whole_matrix_is_meant(small_catalog: Catalog) -> None:
    assert parse_options(RawOptions.of(), small_catalog) == MatrixOptions(
        variants=("base", "base-clean", "pods"),
        dimensions={"encryption": (), "edition": (), "mtu": ()},
        workloads=("tcp_stream", "tcp_rr", "tcp_crr"),
        processes=("1", "max"),
        duration_s=10,
        warmup_s=2,
        repeat=1,
        rounds=6,
        noise_floor=False,
        idle="awake",
        steal_limit_pct=5,
        pin=None,
        endpoint=None,
        no_reference=False,
        seed=None,
        quick=False,
        all_variants=True,
    )


def test_every_option_is_read(small_catalog: Catalog) -> None:
    raw = RawOptions.of(
        variant="pods, base",
        encryption="wireguard,none",
        mtu="9000",
        workload="tcp_rr",
        processes="max,4",
        duration="2m",
        warmup="0",
        repeat="2",
        rounds="10",
        idle="awake:070",
        steal_limit="60",
        pin="cores",
        seed="7",
        noise_floor=True,
        no_reference=True,
    )
    assert parse_options(raw, small_catalog) == MatrixOptions(
        variants=("pods", "base"),
        dimensions={"encryption": (Encryption.WIREGUARD, Encryption.NONE), "edition": (), "mtu": (9000,)},
        workloads=("tcp_rr",),
        processes=("max", "4"),
        duration_s=120,
        warmup_s=0,
        repeat=2,
        rounds=10,
        noise_floor=True,
        idle="awake:70",
        steal_limit_pct=60,
        pin=Pin.CORES,
        endpoint=None,
        no_reference=True,
        seed=7,
        quick=False,
    )


def test_a_quick_look_is_short_and_what_is_named_wins(small_catalog: Catalog) -> None:
    quick = parse_options(RawOptions.of(quick=True, variant="pods"), small_catalog)
    assert (quick.workloads, quick.processes, quick.duration_s, quick.warmup_s, quick.rounds) == (
        ("tcp_rr", "tcp_crr"),
        ("1",),
        2,
        1,
        3,
    )
    assert parse_options(RawOptions.of(quick=True, variant="pods", rounds="9"), small_catalog).rounds == 9


def test_an_endpoint_alone_means_the_variants_that_have_it(small_catalog: Catalog) -> None:
    options = parse_options(RawOptions.of(endpoint="pod"), small_catalog)
    assert (options.variants, options.endpoint) == (("pods",), Endpoint.POD)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (
            RawOptions.of(variant="base,pod"),
            Problem(
                "unknown variant",
                "--variant",
                "'pod'",
                "did you mean pods? known: base, base-clean, pods, cluster",
            ),
        ),
        (
            RawOptions.of(workload="udp_rr"),
            Problem(
                "unknown workload",
                "--workload",
                "'udp_rr'",
                "did you mean tcp_rr? known: tcp_stream, tcp_rr, tcp_crr",
            ),
        ),
        (
            RawOptions.of(encryption="wiregard"),
            Problem(
                "unknown encryption",
                "--encryption",
                "'wiregard'",
                "did you mean wireguard? known: none, wireguard, ipsec",
            ),
        ),
        (RawOptions.of(pin="numa"), Problem("unknown pin", "--pin", "'numa'", "known: none, cores")),
        (
            RawOptions.of(idle="asleep"),
            Problem("unknown idle", "--idle", "'asleep'", "known: awake, system, awake:N"),
        ),
        (
            RawOptions.of(idle="awake:1.5"),
            Problem("not a latency in microseconds", "--idle", "'1.5'", "a whole number from 0 to 100000"),
        ),
        (
            RawOptions.of(idle="awake:"),
            Problem("not a latency in microseconds", "--idle", "''", "a whole number from 0 to 100000"),
        ),
        (
            RawOptions.of(idle="system:1"),
            Problem("unknown idle", "--idle", "'system:1'", "did you mean system? known: awake, system, awake:N"),
        ),
        (
            RawOptions.of(idle="awake:N"),
            Problem("not a latency in microseconds", "--idle", "'N'", "a whole number from 0 to 100000"),
        ),
        (RawOptions.of(endpoint="host"), Problem("unknown endpoint", "--endpoint", "'host'", "known: node, pod")),
        (
            RawOptions.of(endpoint="pod", variant="base"),
            Problem(
                "base is measured between nodes",
                "--endpoint",
                "pod",
                "leave --endpoint out, or name variants whose ends are pods",
            ),
        ),
        (
            RawOptions.of(variant="base,base"),
            Problem("an entry is written twice", "--variant", "'base'", "name it once"),
        ),
        (
            RawOptions.of(processes="1,01"),
            Problem("an entry is written twice", "--processes", "'01'", "name it once"),
        ),
        (
            RawOptions.of(variant="base,,pods"),
            Problem("an empty entry in a list", "--variant", "'base,,pods'", "separate entries by single commas"),
        ),
        (
            RawOptions.of(workload=""),
            Problem("an empty entry in a list", "--workload", "''", "separate entries by single commas"),
        ),
    ],
)
def test_a_wrong_word_is_refused(raw: RawOptions, problem: Problem, small_catalog: Catalog) -> None:
    assert refused(raw, small_catalog) == (problem,)


@pytest.mark.parametrize("text", ["0", "-5", "2d", "1.5", "86401", "25h", "ten", "", "1m0s", "99999999999"])
def test_an_impossible_duration_is_refused(text: str, small_catalog: Catalog) -> None:
    hint = "whole seconds from 1 to 86400, written as 10, 10s, 2m or 1h"
    assert refused(RawOptions.of(duration=text), small_catalog) == (
        Problem("not a usable time for --duration", "--duration", repr(text), hint),
    )


@pytest.mark.parametrize(("text", "seconds"), [("1", 1), ("90s", 90), ("2m", 120), ("24h", 86400)])
def test_a_duration_may_have_a_unit(text: str, seconds: int, small_catalog: Catalog) -> None:
    assert parse_options(RawOptions.of(duration=text), small_catalog).duration_s == seconds


@pytest.mark.parametrize("text", ["-1", "1d"])
def test_an_impossible_warmup_is_refused(text: str, small_catalog: Catalog) -> None:
    hint = "whole seconds from 0 to 86400, written as 10, 10s, 2m or 1h"
    assert refused(RawOptions.of(warmup=text), small_catalog) == (
        Problem("not a usable time for --warmup", "--warmup", repr(text), hint),
    )


@pytest.mark.parametrize(
    ("option", "text", "high"),
    [
        ("rounds", "0", 1000),
        ("rounds", "-1", 1000),
        ("rounds", "1001", 1000),
        ("rounds", "2.5", 1000),
        ("repeat", "0", 100),
        ("repeat", "101", 100),
        ("repeat", "many", 100),
    ],
)
def test_an_impossible_count_is_refused(option: str, text: str, high: int, small_catalog: Catalog) -> None:
    problem = Problem(
        f"not a usable number for --{option}", f"--{option}", repr(text), f"a whole number from 1 to {high}"
    )
    raw = RawOptions.of(rounds=text) if option == "rounds" else RawOptions.of(repeat=text)
    assert refused(raw, small_catalog) == (problem,)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "all"])
def test_an_impossible_number_of_processes_is_refused(text: str, small_catalog: Catalog) -> None:
    assert refused(RawOptions.of(processes=text), small_catalog) == (
        Problem("not a number of processes", "--processes", repr(text), "a whole number from 1, or max"),
    )


@pytest.mark.parametrize("text", ["0", "575", "9703", "big"])
def test_an_impossible_mtu_is_refused(text: str, small_catalog: Catalog) -> None:
    assert refused(RawOptions.of(mtu=text), small_catalog) == (
        Problem("not an MTU", "--mtu", repr(text), "a whole number from 576 to 9702"),
    )


def test_everything_wrong_is_said_at_once(small_catalog: Catalog) -> None:
    raw = RawOptions.of(variant="x", workload="y", duration="0", rounds="0", seed="-1")
    assert [problem.where for problem in refused(raw, small_catalog)] == [
        "--variant",
        "--workload",
        "--duration",
        "--rounds",
        "--seed",
    ]


def test_the_message_reads_like_this(small_catalog: Catalog) -> None:
    with pytest.raises(UsageError) as raised:
        parse_options(RawOptions.of(variant="pod"), small_catalog)
    assert str(raised.value) == (
        "unknown variant\n  where: --variant\n  seen:  'pod'\n"
        "  next:  did you mean pods? known: base, base-clean, pods, cluster"
    )


def test_the_default_matrix_has_enough_rounds_for_an_interval() -> None:
    assert FULL.rounds >= 6


def test_what_needs_a_cluster_is_measured_when_it_is_asked_for(small_catalog: Catalog) -> None:
    assert "cluster" not in parse_options(RawOptions.of(), small_catalog).variants
    assert "cluster" in parse_options(RawOptions.of(edition="current"), small_catalog).variants
    named = parse_options(RawOptions.of(variant="cluster", edition="2021,current"), small_catalog)
    assert (named.variants, named.dimensions["edition"]) == (("cluster",), ("2021", "current"))


def test_the_edition_of_a_variant_may_be_the_labs(small_catalog: Catalog) -> None:
    named = parse_options(RawOptions.of(variant="cluster"), small_catalog)
    assert (named.variants, named.dimensions["edition"]) == (("cluster",), ())
    (unknown, *_) = refused(RawOptions.of(edition="2020"), small_catalog)
    assert unknown == Problem("unknown edition", "--edition", "'2020'", "did you mean 2021? known: 2021, current")
