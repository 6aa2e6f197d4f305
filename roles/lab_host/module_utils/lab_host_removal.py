"""The directory of a lab is removed here and nowhere else: what proves to be one, renamed first, so that a removal that
is cut short is finished by the next. The counterpart of labctl.core.removal, for what root removes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence

from ansible.module_utils.labctl_node.files import read_json, read_text
from ansible.module_utils.labctl_node.refused import Problem, Refused, refuse

ASIDE = ".removing-"
SCHEMAS = "labctl.lab/"  # of whatever version
# What is in the directory of a lab, also of one that a crash left before there was a record.
PARTS = re.compile(
    r"lab\.json(\.tmp)?|host_state\.json(\.tmp)?|id_ed25519(\.pub)?|known_hosts|seeds|guests|"
    r"[a-z][a-z0-9-]*\.(pid|log|start)(\.tmp)?"
)


def remove_lab(directory: str) -> bool:
    """Remove the directory of a lab, or what an earlier removal of it left. Returns whether there was any.

    Raises Refused for one that does not prove to be a lab's, and where something of it cannot be removed.
    """
    parent, name = os.path.split(directory)
    aside = os.path.join(parent, ASIDE + name)
    there, left = os.path.lexists(directory), os.path.lexists(aside)
    try:
        if there:
            refuse(_strange(directory, name))
            if left:
                shutil.rmtree(aside)
            os.rename(directory, aside)
        if there or left:
            shutil.rmtree(aside)
    except OSError as error:
        raise Refused(
            "The files of a lab cannot be removed.",
            where=aside,
            seen=f"{error.filename}: {error.strerror}",
            hint="Correct that, then destroy the lab again.",
        ) from error
    return there or left


def _strange(directory: str, name: str) -> Iterator[Problem]:
    """Why a directory is not the lab's: it is a link, has another lab's record, or something that is no part of one."""
    hint = "See what it is, and move it away if it is none; no lab is made or removed over it."
    seen = None
    if os.path.islink(directory) or not os.path.isdir(directory):
        seen = "a symbolic link" if os.path.islink(directory) else "no directory"
    elif mounted_in(directory):
        seen, hint = f"mounted in it: {', '.join(mounted_in(directory))}", f"umount {mounted_in(directory)[-1]}"
    elif read_text(os.path.join(directory, "lab.json")) is not None:
        seen = _wrong_record(os.path.join(directory, "lab.json"), name)
    else:
        strange = sorted(entry for entry in os.listdir(directory) if not PARTS.fullmatch(entry))
        seen = f"no record, and in it {', '.join(strange[:5])}" if strange else None
    if seen is not None:
        yield {"what": f"This is not the directory of the lab {name}.", "where": directory, "seen": seen, "hint": hint}


def _wrong_record(path: str, name: str) -> str | None:
    """What a record says of another lab; None for this one's."""
    try:
        data = read_json(path)
    except (ValueError, RecursionError) as error:
        return f"its record cannot be read: {error}"
    said = {key: data.get(key) for key in ("schema", "name")} if isinstance(data, dict) else {}
    ours = str(said.get("schema")).startswith(SCHEMAS) and said.get("name") == name
    return None if ours else f"its record says {json.dumps(said)}"


def mounted_in(directory: str) -> list[str]:
    """Where something is mounted on a directory or below it."""
    real = os.path.realpath(directory)
    fields = (line.split(" ")[4] for line in str(read_text("/proc/self/mountinfo")).splitlines())
    points = (re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field) for field in fields)
    return sorted(point for point in points if point == real or point.startswith(f"{real}/"))


def remains(lab: str, record: str, where: str, seen: Sequence[str], by_hand: Sequence[str]) -> Problem:
    """What is still there of a lab that no record names, or that its removal did not end."""
    return {
        "what": f"The lab {lab} is not gone: this runs under its name, and no record says what belongs to it.",
        "where": where,
        "seen": ", ".join(seen),
        "hint": f"If its record was moved away, put it back ({record}) and destroy the lab again. "
        f"Else end it by hand: `{'; '.join(by_hand)}`.",
    }
