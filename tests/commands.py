"""labctl's command lines for the tests on real labs."""

from __future__ import annotations

import sys

# What a hypervisor takes says nothing of labctl: the machines of a CI lose a tenth of their CPUs to others at times.
ANY_STEAL = ("--steal-limit", "100")


def matrix_command(*arguments: str) -> list[str]:
    """`labctl matrix`, for a run whose samples count whatever the hypervisor takes; a resumed one has its plan."""
    steal = () if "--resume" in arguments else ANY_STEAL
    return [sys.executable, "-m", "labctl", "matrix", *arguments, *steal]
