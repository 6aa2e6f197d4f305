"""Whether the CPUs of a lab can be kept awake while it is measured, by the fingerprints of its nodes. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labctl.catalog import CLUSTER, LOCAL
from labctl.nodes.fingerprint import Fingerprint
from labctl.samples.conditions import POLLING


def polls(seen: Fingerprint) -> bool:
    """Whether the kernel was started so that its CPUs never sleep."""
    return "idle=poll" in (seen.text("kernel", "cmdline") or "").split()


def sleeps(seen: Fingerprint) -> tuple[Mapping[str, Any], ...]:
    """The idle states in which CPUs sleep, as far as they are not switched off, the shallowest first."""
    states = seen.items("cpu", "idle", "states") or ()
    return tuple(state for state in states if state["name"] != POLLING and not state["disabled"])


def no_driver(seen: Fingerprint) -> str | None:
    """What is said of a kernel whose CPUs sleep as they please: nothing heeds a request there."""
    if polls(seen) or seen.items("cpu", "idle", "states"):
        return None
    return f"the kernel has no cpuidle driver (current_driver: {seen.text('cpu', 'idle', 'driver') or 'not there'})"


def no_device(seen: Fingerprint) -> str | None:
    """Why a node lets nobody request a wake-up latency; None where it does, or was not asked (older fingerprints)."""
    found = (seen.mapping("state") or {}).get("wake_latency") or {}
    return f"/dev/cpu_dma_latency: {found['refused']}" if found.get("refused") else None


def awake_refused(kind: str, fingerprints: Mapping[str, Fingerprint], no_root: str | None) -> str | None:
    """Why the CPUs cannot be kept awake; None where nothing is known to be in the way of it.

    Nodes of a local lab have this machine's kernel, which is asked on this machine, by root. A cluster that one has
    says nothing of it beforehand: whether a request was held, each of its samples tells.
    """
    if kind == CLUSTER:
        return None
    if kind == LOCAL:
        return next(filter(None, map(no_driver, fingerprints.values())), no_root)
    reasons = {
        node: no_driver(seen) or (None if polls(seen) else no_device(seen)) for node, seen in fingerprints.items()
    }
    return "; ".join(f"{node}: {words}" for node, words in reasons.items() if words) or None
