"""The report of a run, made from its folder. What is derived (sample.json, summary.json) is made again if missing."""

from __future__ import annotations

from pathlib import Path

from labctl.core.errors import LabctlError
from labctl.core.files import read_json
from labctl.core.records import encode
from labctl.core.tables import Document
from labctl.results import tables
from labctl.results.summary import Summary, summarise
from labctl.runs import history
from labctl.runs.find import find
from labctl.runs.folder import RunFolder
from labctl.runs.read import keep_derived, read


def document(run: str, reference: str | None = None, directory: Path | None = None) -> Document:
    """The report of a run; `run` is an id, the beginning of one, a path, or "latest".

    Raises LabctlError when there is no such run, or its plan cannot be read.
    """
    return tables.document(summary_of(find(run, directory), reference))


def summary_of(folder: Path, reference: str | None = None) -> Summary:
    """The summary of a run folder. Writes summary.json unless it stands there already, or `reference` differs."""
    results = read(folder)
    past = history.read(RunFolder(folder))
    summary = summarise(results.plan, results.samples, reference, results.damaged, past)
    content = encode(summary)
    path = folder / "summary.json"
    if reference is None and not (path.is_file() and _content(path) == content):
        keep_derived(path, content)
    return summary


def _content(path: Path) -> object:
    """What a derived file holds; None where it is damaged, since it is about to be written again."""
    try:
        return read_json(path)
    except LabctlError:
        return None
