"""Placement: which CPUs the ends of a pinned sample get, on machines of many shapes."""

from __future__ import annotations

from typing import Any

import pytest
from labctl_measure.placement import Placement, place


def cpus(*allowed: int, online: list[int] | None = None, cores: list[list[int]] | None = None) -> dict[str, Any]:
    """Return what an agent says of the CPUs of an end: each is a core of its own, unless said otherwise."""
    return {
        "online": list(allowed) if online is None else online,
        "allowed": list(allowed),
        "cores": cores or [[cpu] for cpu in allowed],
    }


SMT = [[0, 4], [1, 5], [2, 6], [3, 7]]  # four cores of two threads


def shared(end: dict[str, Any], processes: int, other: dict[str, Any] | None = None) -> tuple[Any, Any]:
    placed = place("cores", end, other or end, processes, shared_kernel=True)
    return placed.client, placed.server


def test_without_pinning_nobody_is_placed() -> None:
    assert place("none", cpus(0, 1), cpus(0, 1), 1, shared_kernel=True) == Placement(None, None)


def test_on_two_cpus_the_client_has_one_and_the_server_the_other() -> None:
    assert shared(cpus(0, 1), 1) == ([0], [1])
    assert shared(cpus(0, 1), 8) == ([0], [1])
    assert shared(cpus(0, 1, cores=[[0, 1]]), 1) == ([0], [1]), "two threads of one core are still two CPUs"


def test_on_one_cpu_both_ends_share_it() -> None:
    assert shared(cpus(3), 2) == ([3], [3])


def test_cpus_may_have_gaps() -> None:
    assert shared(cpus(0, 2, 4), 4) == ([0, 4], [2])
    assert place("cores", cpus(0, 2, 4), cpus(0, 2, 4), 2, shared_kernel=False) == Placement([0, 2], [0, 2])


def test_ends_on_one_kernel_share_no_core_and_take_first_threads_first() -> None:
    end = cpus(*range(8), cores=SMT)
    assert shared(end, 1) == ([0], [1])
    assert shared(end, 4) == ([0, 2, 4, 6], [1, 3, 5, 7])
    assert shared(end, 2) == ([0, 2], [1, 3])


def test_ends_with_kernels_of_their_own_have_all_their_cpus() -> None:
    client, server = cpus(*range(8), cores=SMT), cpus(0, 1)
    placed = place("cores", client, server, 6, shared_kernel=False)
    assert placed == Placement([0, 1, 2, 3, 4, 5], [0, 1])


def test_more_than_64_cpus_are_as_any_number() -> None:
    cores = [[cpu, cpu + 64] for cpu in range(64)]
    end = cpus(*range(128), cores=cores)
    client, server = shared(end, 64)
    assert client == [*range(0, 64, 2), *range(64, 128, 2)]
    assert server == [*range(1, 64, 2), *range(65, 128, 2)]
    assert place("cores", end, end, 128, shared_kernel=False).client == list(range(128))


def test_a_cpu_that_is_off_is_nobodys() -> None:
    assert shared(cpus(0, 1, 2, 3, online=[0, 2]), 2) == ([0], [2])


@pytest.mark.parametrize(
    ("client", "server", "placed"),
    [
        (cpus(0, 1), cpus(2, 3), ([0, 1], [2, 3])),
        (cpus(0, 1, 2, 3), cpus(0), ([1, 2, 3], [0])),
        (cpus(2), cpus(0, 1, 2, 3), ([2], [0, 1, 3])),
        (cpus(0), cpus(0, 1), ([0], [1])),
        (cpus(0, 1), cpus(0, 1, 2), ([0, 1], [2])),
        (cpus(0), cpus(0, 1, cores=[[0, 1]]), ([0], [1])),
        (cpus(0, 1, cores=[[0], [1]]), cpus(0, 2, cores=[[0, 2]]), ([1], [0, 2])),
    ],
)
def test_what_only_one_may_have_is_its_own(
    client: dict[str, Any], server: dict[str, Any], placed: tuple[list[int], list[int]]
) -> None:
    assert shared(client, 4, server) == placed
