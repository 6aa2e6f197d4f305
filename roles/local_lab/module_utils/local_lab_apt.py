"""The host's own way to a Debian archive, asked of its apt: no file of apt is parsed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible.module_utils.local_lab_system import run

# netperf left non-free with Debian 13 (its licence was changed); up to 12 the component is needed for it.
NON_FREE_NETPERF = frozenset({"buster", "bullseye", "bookworm"})
# Describe how indices are read or where changelogs lie, not how the archive is reached; or run programs of the host.
_NOT_PASSED_ON = ("cdrom", "changelogs", "compressiontypes", "gzipindexes", "indextargets", "languages")


@dataclass(frozen=True)
class Source:
    """One suite of an archive that the host's apt uses."""

    site: str
    suite: str
    component: str
    label: str
    codename: str


def known_sources() -> list[Source]:
    """The Debian suites that the host's apt has indices of, in its order; empty on a host that uses none."""
    fields = "$(ORIGIN)|$(SITE)|$(RELEASE)|$(COMPONENT)|$(LABEL)|$(CODENAME)"
    question = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    rows = run(question)
    if not rows:  # a bare image: no index was ever fetched
        run(["apt-get", "update"])
        rows = run(question)
    values = [line.split("|") for line in dict.fromkeys(rows.splitlines())]
    return [Source(*rest) for origin, *rest in values if origin == "Debian"]


def sources(release: str, mirror: str, components: list[str]) -> dict[str, Any]:
    """Where a release comes from: `lines` for mmdebstrap (empty: its own defaults for Debian) and `components`.

    A host of that release lends all of its suites. Of another release only the main suite is taken, from the
    archive the host uses: whether that archive still carries its updates is not known.
    """
    components = components or ["main", *(["non-free"] if release in NON_FREE_NETPERF else [])]
    text = " ".join(components)
    if mirror:
        return {"lines": [f"deb {mirror} {release} {text}"], "components": components}
    known = known_sources()
    same = [source for source in known if source.codename.split("-")[0] == release]
    if any(source.suite == release or source.codename == release for source in same):
        suites = dict.fromkeys((source.site, source.suite) for source in same)
        return {"lines": [f"deb {site} {suite} {text}" for site, suite in suites], "components": components}
    site = next((source.site for source in known if source.label == "Debian"), None)
    return {"lines": [f"deb {site} {release} {text}"] if site else [], "components": components}


def acquire_options() -> list[tuple[str, str]]:
    """How the host's apt fetches (proxy, certificates, retries, validity): names and values of its Acquire settings."""
    options = []
    for line in run(["apt-config", "dump", "--no-empty", "--format", "%f %v%n", "Acquire"]).splitlines():
        name, _, value = line.partition(" ")
        group = name.lower().split("::")
        if len(group) > 1 and group[1] not in _NOT_PASSED_ON and "proxy-auto-detect" not in group[-1]:
            options.append((name, value))
    return options


def acquire_file() -> str:
    """The same settings as a file of apt.conf.d."""
    lines = [f'{name} "{value}";\n' for name, value in acquire_options()]
    return "// How the host of this lab fetches; written by labctl.\n" + "".join(lines)
