"""Names that become paths: what is allowed is told, and everything else is refused where it is read."""

from __future__ import annotations

import pytest
from ansible.module_utils import lab_host_checks

from labctl.core import names
from labctl.core.errors import UsageError
from labctl.core.names import Kind

KINDS = (names.LAB, names.MADE_LAB, names.MADE_NODE, names.NODE, names.RUN)
NEVER = (
    "",
    " ",
    ".",
    "..",
    "../x",
    "a/b",
    "/",
    "-rf",
    ".hidden",
    "a\0",
    "a\n",
    "\n",
    "a b",
    "{{ 1/0 }}",
    "a" * 300,
    "~",
)
NO_TEXT = (None, 7, True, ["local"], {"a": 1}, "\udcff", "ü", "a\x1b[31m")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)
@pytest.mark.parametrize("name", [*NEVER, *NO_TEXT], ids=ascii)
def test_what_no_path_may_be_called_is_refused(kind: Kind, name: object) -> None:
    with pytest.raises(UsageError) as refused:
        kind.require(name, "somewhere")
    text = str(refused.value)
    assert text.startswith(f"this cannot be the name of {kind.what}\n  where: somewhere\n  seen:  ")
    assert text.endswith(f"  next:  use {kind.allowed}")
    assert text.replace("\n", "").isprintable()
    assert text.isascii()
    assert len(text) < 400


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (names.LAB, "local"),
        (names.LAB, "Lab_2.metal"),
        (names.MADE_LAB, "a-2"),
        (names.NODE, "192.0.2.1"),
        (names.NODE, "fd00::1"),
        (names.NODE, "ip-10-0-0-1.eu-central-1.compute.internal"),
        (names.RUN, "20261130-064054-local"),
    ],
)
def test_usual_names_stay(kind: Kind, name: str) -> None:
    assert kind.require(name, "somewhere") == name


def test_the_roles_have_the_same_rule() -> None:
    assert lab_host_checks.NAME.pattern == names.MADE_LAB.pattern.pattern == names.MADE_NODE.pattern.pattern
