"""Where a distribution keeps netperf, and how a node's own package sources reach it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible.module_utils.labctl_node.machine import release_fields

ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")
# What a node's own release may be called beside its name: by its age, as Debian does, or Ubuntu's next one.
AGES = {"stable", "oldstable", "oldoldstable", "testing", "unstable", "sid", "devel"}
NO = {"no", "false", "without", "off", "disable", "0"}  # apt's own list
OWN_FIELDS = {"types", "suites", "components", "enabled"}  # those that a source of ours has of its own


@dataclass(frozen=True)
class Release:
    """A node's distribution: `name` is the ID of /etc/os-release; `version` is None where there is none (sid)."""

    name: str
    version: str | None
    codename: str


@dataclass(frozen=True)
class SourceFile:
    """A file for /etc/apt/sources.list.d; `suffix` says which of apt's two formats `text` has."""

    suffix: str
    text: str


def release_of(os_release: str) -> Release:
    """Return the release described by the text of /etc/os-release."""
    values = release_fields(os_release)
    likes = values.get("ID_LIKE", "").split()
    name = next((base for base in ("ubuntu", "debian") if base in (values.get("ID"), *likes)), values.get("ID", ""))
    # A derivative's own version and name are not those of the archive that it is built on.
    base = values.get(f"{name.upper()}_CODENAME", values.get("VERSION_CODENAME", ""))
    return Release(name, values.get("VERSION_ID"), base)


def component_of(release: Release) -> str:
    """Return the archive component that holds netperf: it was relicensed in time for Debian 13."""
    if release.name == "ubuntu":
        return "multiverse"
    version = re.match(r"\d+", release.version or "")  # none, or a word, is what comes after all that have a number
    return "non-free" if version and int(version[0]) < 13 else "main"


def _is_own(suite: str, release: Release) -> bool:
    """Whether a suite is the release itself."""
    return suite == release.codename or suite in AGES


def lists_component(text: str, release: Release, component: str) -> bool:
    """Whether one of apt's source files gives this component of the release itself (not only of its updates)."""
    return any(component in components for components, _ in _entries(text, release))


def source_for(texts: list[str], release: Release, component: str) -> SourceFile | None:
    """Return a source file that adds the component on the mirror from which the node has `main`.

    None when the node's files name no such mirror. `texts` are the contents of apt's source files.
    """
    for text in texts:
        for components, rebuilt in _entries(text, release):
            if "main" in components:
                return SourceFile(rebuilt.suffix, rebuilt.text.replace("@COMPONENT@", component))
    return None


def _entries(text: str, release: Release) -> list[tuple[list[str], SourceFile]]:
    return _one_line_entries(text, release) + _stanzas(text, release)


def _one_line_entries(text: str, release: Release) -> list[tuple[list[str], SourceFile]]:
    found = []
    for line in text.splitlines():
        match = ONE_LINE.match(line.partition("#")[0].strip())
        if match and _is_own(match["suite"], release):
            options = f"[{match['options'].strip()}] " if match["options"] else ""
            rebuilt = f"deb {options}{match['uri']} {match['suite']} @COMPONENT@\n"
            found.append((match["components"].split(), SourceFile("list", rebuilt)))
    return found


def _stanzas(text: str, release: Release) -> list[tuple[list[str], SourceFile]]:
    found = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza)
        own = [suite for suite in fields.get("suites", "").split() if _is_own(suite, release)]
        enabled = fields.get("enabled", "yes").strip().lower() not in NO
        if not (own and enabled and "deb" in fields.get("types", "").split()):
            continue
        rebuilt = f"Types: deb\nSuites: {own[0]}\nComponents: @COMPONENT@\n"
        rebuilt += "".join(f"{name.title()}:{value}\n" for name, value in fields.items() if name not in OWN_FIELDS)
        found.append((fields.get("components", "").split(), SourceFile("sources", rebuilt)))
    return found


def _fields(stanza: str) -> dict[str, str]:
    """Return the fields of one stanza with their values as written: a key may stand there in many lines."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.lstrip().startswith("#"):
            continue
        if line[:1] in (" ", "\t") and name:
            fields[name] += f"\n{line}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value
    return fields
