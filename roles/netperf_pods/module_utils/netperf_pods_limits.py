"""What pods have to ask for where a namespace has a LimitRange or a quota, to be admitted and to run unhindered.

A LimitRange gives a container that names no limit one of its own, by which its CPU is throttled: so it names one that
is as large as the node. A quota on limits or requests refuses a container that names none.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Dict, Iterable, List, Mapping, Optional

Object = Mapping[str, Any]

SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(10**3),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    **{f"{letter}i": Decimal(1024 ** (power + 1)) for power, letter in enumerate("KMGTPE")},
}  # fmt: skip
# What a pod is content with, and what is as good as no limit, where one has to be named.
LEAST = {"cpu": Decimal("0.01"), "memory": Decimal(32 * 1024**2)}
AMPLE_MEMORY = Decimal(1024**3)


def quantity(text: object) -> Decimal:
    """A quantity of Kubernetes as a number: 500m, 2, 1Gi, 1e3."""
    match = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]?i?)", str(text).strip())
    if match is None or match[2] not in SUFFIXES:
        raise ValueError(f"{text!r} is no quantity")
    return Decimal(match[1]) * SUFFIXES[match[2]]


def written(name: str, value: Decimal) -> str:
    """A number as a quantity: thousandths of a CPU, bytes."""
    return f"{int(value * 1000)}m" if name == "cpu" else str(int(value))


def resources(
    ranges: Iterable[Object], quotas: Iterable[Object], cpus: Optional[int], cpu: str, pods: int
) -> Dict[str, Dict[str, str]]:
    """The resources that a container asks for: the CPU that was wished, and what ranges and quotas demand beside it.

    `cpus` are those of the node, `pods` how many are to share what a quota leaves.
    """
    limited = [
        one for each in ranges for one in each["spec"].get("limits") or [] if one.get("type") in ("Container", "Pod")
    ]
    left = _left(quotas, pods)
    found: Dict[str, Dict[str, str]] = {"requests": {"cpu": cpu} if cpu else {}, "limits": {}}
    for name, ample in (("cpu", Decimal(cpus or 1)), ("memory", AMPLE_MEMORY)):
        if not (_concerns(limited, name) or left.keys() & {name, f"requests.{name}", f"limits.{name}"}):
            continue
        most = [ample, *_bounds(limited, "max", name), *(left[key] for key in (f"limits.{name}",) if key in left)]
        limit = max(min(most), LEAST[name])
        ratios = _bounds(limited, "maxLimitRequestRatio", name)
        wished = quantity(cpu) if name == "cpu" and cpu else LEAST[name]
        request = max([wished, *_bounds(limited, "min", name), *(limit / ratio for ratio in ratios if ratio)])
        found["limits"][name] = written(name, limit)
        shares = [left[key] for key in (name, f"requests.{name}") if key in left]
        found["requests"][name] = written(name, max(min([request, limit, *shares]), Decimal(0)))
    return {kind: values for kind, values in found.items() if values}


def _concerns(limited: List[Object], name: str) -> bool:
    return any(name in (values or {}) for one in limited for key, values in one.items() if key != "type")


def _bounds(limited: List[Object], key: str, name: str) -> List[Decimal]:
    return [quantity(one[key][name]) for one in limited if name in (one.get(key) or {})]


def _left(quotas: Iterable[Object], pods: int) -> Dict[str, Decimal]:
    """What each of so many pods may have of what quotas leave, by the quotas' words."""
    left: Dict[str, Decimal] = {}
    for one in quotas:
        used = one.get("status", {}).get("used") or {}
        for name, hard in (one["spec"].get("hard") or {}).items():
            share = (quantity(hard) - quantity(used.get(name, "0"))) / pods
            left[name] = min(share, left.get(name, share))
    return left
