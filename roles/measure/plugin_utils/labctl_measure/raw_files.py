"""The raw files of a sample (docs/run-folder.md), written together or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl import tools


def texts(sample: Mapping[str, Any], started: str, status: str, ends: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """Return name and text of each raw file of one sample; what processes printed moves into files of its own."""
    files = {}
    for process in ends.get("client", {}).get("processes", ()):
        process["stdout_file"] = tools.of(sample).stdout_file(process["index"])
        files[process["stdout_file"]] = process.pop("stdout")
    for end in ("client", "server"):
        if end in ends:
            files[f"{end}.json"] = json.dumps({"schema": "labctl.end/1", **ends[end]}) + "\n"
    head = {"schema": "labctl.measurement/1", "sample": sample, "status": status, "started_at": started}
    files["measurement.json"] = json.dumps(head | ends["measurement"], indent=1) + "\n"
    return files


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a folder of text files so that it is there whole or not at all, also after a power cut."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for name, text in files.items():
            with (partial / name).open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        _sync(partial)
        partial.rename(folder)
        _sync(folder.parent)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)  # on a full disk its room is needed to say so
        raise


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
