"""What running labctl in a test gives."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]  # arguments to exit code, output, errors
