"""What values of an inventory may be: each form with its test, and the same in words."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from labctl.core import names

# What Ansible takes for a truth value (ansible.module_utils.parsing.convert_bool).
TRUTHS = frozenset({"yes", "no", "on", "off", "true", "false", "y", "n", "t", "f", "1", "0"})
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
LAST_PORT = 65535


@dataclass(frozen=True)
class Form:
    """`why_not` says what is wrong with a value, None where nothing is; `allowed` what to write."""

    allowed: str
    why_not: Callable[[Any], str | None]


def matching(pattern: str, allowed: str, what: str = "this is not what it can be") -> Form:
    """A text of a pattern."""
    known = re.compile(pattern)
    return Form(allowed, lambda value: None if isinstance(value, str) and known.fullmatch(value) else what)


def whole(low: int, high: int) -> Form:
    """A whole number, or one that is written as a text, as Ansible takes it too."""

    def why_not(value: Any) -> str | None:
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return "this is no whole number"
        return None if low <= value <= high else "the number is out of range"

    return Form(f"a whole number from {low} to {high}", why_not)


def choice(words: Iterable[str]) -> Form:
    """One of some words."""
    known = list(words)
    return Form(
        f"one of: {', '.join(word or '(empty)' for word in known)}",
        lambda value: None if value in known else "this is none of the values that it can have",
    )


def named(kind: names.Kind) -> Form:
    """A name of a kind."""

    def why_not(value: Any) -> str | None:
        problem = kind.problem(value, "")
        return None if problem is None else problem.what

    return Form(kind.allowed, why_not)


def each(form: Form) -> Form:
    """A list of what has a form."""

    def why_not(value: Any) -> str | None:
        if not isinstance(value, list):
            return "this is no list"
        return next((why for one in value if (why := form.why_not(one))), None)

    return Form(f"a list; of each entry: {form.allowed}", why_not)


def or_empty(form: Form) -> Form:
    """The same, or the empty text."""
    return Form(f"{form.allowed}; or empty", lambda value: None if value == "" else form.why_not(value))


def control_characters(value: object) -> bool:
    """Whether a text, or one anywhere inside, holds a line break or another character that is not to be seen."""
    if isinstance(value, dict):
        return any(control_characters(one) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return any(map(control_characters, value))
    return isinstance(value, str) and CONTROL.search(value) is not None


def _of_family(value: Any, read: Callable[[str], Any]) -> tuple[Any, str | None]:
    """An address or a network as `read` reads it, or why it is none that labctl measures over."""
    try:
        found = read(value if isinstance(value, str) else "")
    except ValueError:
        return None, "this is no IPv4 address or network"
    if found.version != 4:
        return None, "IPv6 is not measured yet: datapaths, proofs and counters of labctl are those of IPv4"
    return found, None


def _address(value: Any) -> str | None:
    found, why = _of_family(value, ipaddress.ip_address)
    if why is not None:
        return why
    if (
        found.is_loopback
        or found.is_multicast
        or found.is_unspecified
        or int(found) >> 28 == 15
        or int(found) >> 24 == 0
    ):
        return "no interface towards another node can have this address"
    return None


def _network(value: Any) -> str | None:
    found, why = _of_family(value, ipaddress.ip_interface)
    if why is not None:
        return why
    if "/" not in value or found.ip != found.network.network_address or "." in value.partition("/")[2]:
        return "this is no network: its first address and a prefix length"
    if not 8 <= found.network.prefixlen <= 29:
        return "the network is too small for a gateway, a pod and the node, or larger than any"
    return None if _address(str(found.ip)) is None else "no node can have addresses of this network"


def _reached(value: Any) -> str | None:
    """How SSH reaches a node: by any address or name."""
    try:
        ipaddress.ip_address(str(value).partition("%")[0])
    except ValueError:
        known = names.NODE.problem(value, "") is None
        return None if known else "this is neither an address nor the name of a machine"
    return None


def _truth(value: Any) -> str | None:
    known = isinstance(value, bool) or str(value).lower() in TRUTHS
    return None if known else "this is neither true nor false"


def _number(value: Any) -> str | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= SECONDS_AT_MOST
    return None if known or re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", str(value)) else "this is no number"


SECONDS_AT_MOST = 86_400
PLAIN = r"[\w.+=@~-]"  # of a path that stands in options of mount, ssh and QEMU, where other characters mean something
ADDRESS = Form("an IPv4 address such as 192.0.2.1", _address)
NETWORK = Form("an IPv4 network such as 198.19.0.0/25, from /8 to /29", _network)
REACHED = Form("an address, or the name of a machine", _reached)
TRUTH = Form("true or false", _truth)
NUMBER = Form("a number of seconds", _number)
TEXT = Form("a text", lambda value: None if isinstance(value, (str, int, float)) else "this is no text")
MAPPING = Form("a mapping", lambda value: None if isinstance(value, dict) else "this is no mapping")
ANY = Form("anything", lambda _: None)
WHOLE = whole(0, 2**31 - 1)
PORT = whole(1, LAST_PORT)
MTU = whole(576, 65_535)
SECONDS = whole(1, SECONDS_AT_MOST)
INTERFACE = matching(
    r"(?!\.{1,2}$)[A-Za-z0-9_.@][A-Za-z0-9_.@-]{0,14}",
    "the name of an interface: up to 15 of a-z, A-Z, 0-9, '.', '_', '@' and '-'",
    "no interface can have this name",
)
PATH = matching(r"[/~][^\x00]*", "an absolute path", "this is no absolute path")
DIRECTORY = matching(
    f"(/{PLAIN}+)+/?",
    "an absolute path of letters, digits and . _ + = @ ~ -",
    "options of mount and ssh cannot name this directory",
)
WORD = matching(
    r"[!#-&(-\[\]-~]+",
    "one word of ASCII characters without blanks, quotes and backslashes",
    "this is not one word that GRUB can hand to a kernel",
)
PACKAGE = matching(
    r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?",
    "the name of a Debian package",
    "no package can have this name",
)
SUITE = matching(r"[a-z0-9][a-z0-9./_-]*", "the code name of a release", "no release of Debian has such a name")
ARCHIVE = matching(r"[a-z][a-z0-9+.-]*:[!-Z\\^-~]+", "a URI without blanks and brackets", "this is no URI")
COMPONENT = matching(r"[a-z0-9][A-Za-z0-9./_-]*", "the name of a component", "no component has such a name")
IMAGE = matching(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", "a reference of an image, without blanks", "this names no image")
LABEL = matching(
    r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
    "up to 63 letters, digits, '.', '_' and '-'",
    "this cannot be a label in a cluster",
)
