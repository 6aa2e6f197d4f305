"""The host's own way to a Debian archive, asked of its apt: no file of apt is parsed here."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.labctl_node.files import close_directory, read_json, read_text, write_json
from ansible.module_utils.labctl_node.run import run

# netperf left non-free with Debian 13 (its licence was changed); up to 12 the component is needed for it.
NON_FREE_NETPERF = frozenset({"buster", "bullseye", "bookworm"})
# Describe how indices are read or where changelogs lie, not how the archive is reached; or run programs of the host.
_NOT_PASSED_ON = ("cdrom", "changelogs", "compressiontypes", "gzipindexes", "indextargets", "languages")
LOCAL = ("cdrom:", "file:", "copy:")  # nothing that a node could fetch from
_APT_FILES = ("/etc/apt", "/var/lib/apt/lists")


@dataclass(frozen=True)
class Source:
    """One suite of an archive that the host's apt uses."""

    site: str
    suite: str
    component: str
    label: str
    codename: str


def _signature() -> str:
    """A hash that changes whenever apt's configuration or its indices do."""
    seen = hashlib.sha256()
    for top in _APT_FILES:
        for directory, _, names in os.walk(top):
            for path in (directory, *(os.path.join(directory, name) for name in sorted(names))):
                seen.update(f"{path} {os.lstat(path).st_mtime_ns}\n".encode())
    return seen.hexdigest()


def _ask_apt() -> list[list[str]]:
    fields = "$(ORIGIN)|$(SITE)|$(RELEASE)|$(COMPONENT)|$(LABEL)|$(CODENAME)"
    question = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    rows = run(question)
    if not rows:  # a bare image: no index was ever fetched
        run(["apt-get", "update"])
        rows = run(question)
    return [line.split("|") for line in dict.fromkeys(rows.splitlines())]


def known_sources(cache_dir: str) -> list[Source]:
    """The Debian suites that the host's apt has indices of, in its order; empty on a host that uses none.

    apt takes half a second for the answer, so it is kept in the cache for as long as apt's files stay as they are.
    """
    path = os.path.join(cache_dir, "apt-sources.json")
    try:
        kept = read_json(path) or {}
    except ValueError:
        kept = {}
    if kept.get("signature") != _signature():
        rows = _ask_apt()
        kept = {"signature": _signature(), "rows": rows}
        close_directory(cache_dir)
        write_json(path, kept)
    return [Source(*rest) for origin, *rest in kept["rows"] if origin == "Debian" and not rest[0].startswith(LOCAL)]


def sources(release: str, mirror: str, components: list[str], cache_dir: str) -> dict[str, Any]:
    """Where a release comes from: `lines` for mmdebstrap (empty: its own defaults for Debian) and `components`."""
    components = components or ["main", *(["non-free"] if release in NON_FREE_NETPERF else [])]
    suites = [(mirror, release)] if mirror else suites_of(release, known_sources(cache_dir))
    lines = [f"deb {site} {suite} {' '.join(components)}" for site, suite in suites]
    return {"lines": lines, "components": components}


def suites_of(release: str, known: list[Source]) -> list[tuple[str, str]]:
    """Site and suite of everything a release is made of, given what a host uses.

    A host of that release lends all of its suites. Of another release only the main suite is taken, from the
    archive the host uses: whether that archive still carries its updates is not known.
    """
    same = [source for source in known if source.codename.split("-")[0] == release]
    if any(source.codename == release for source in same):
        return list(dict.fromkeys((plain(source.site), _lasting(source, release)) for source in same))
    site = next((plain(source.site) for source in known if source.label == "Debian"), None)
    return [(site, release)] if site else []


def _lasting(source: Source, release: str) -> str:
    """The name of a suite that means the same release tomorrow: `stable` is another one some day."""
    return source.suite if source.suite.startswith(release) else source.codename


def plain(site: str) -> str:
    """An address that a node can use, too: a list of mirrors lies on the host, as in Debian's images for clouds."""
    if not site.startswith("mirror+file:"):
        return site
    path = "/" + site.partition(":")[2].lstrip("/")
    words = [line.split()[0] for line in (read_text(path) or "").splitlines() if line.strip() and line[0] != "#"]
    return words[0] if words else site


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
