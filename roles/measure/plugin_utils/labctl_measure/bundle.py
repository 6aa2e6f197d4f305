"""The agent as it travels: a zip archive in memory, sent through standard input, that Python imports from there.

Nothing is left on the node: the archive lies in a file that has no name and ends with its process.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

_MARK = b"LABCTL-AGENT\n"
# Anything before the mark (a become password that was not asked for) is passed over.
_BOOTSTRAP = (
    "import os, sys; i=sys.stdin.buffer\n"
    'while i.readline() not in (b"LABCTL-AGENT\\n", b""): pass\n'
    'f=os.memfd_create("labctl_agent"); os.write(f, i.read(int(i.readline())))\n'
    'sys.path.insert(0, "/proc/self/fd/%d" % f)\n'
    "from labctl_agent.__main__ import main; main()"
)
ARGUMENTS = ("-IS", "-c", _BOOTSTRAP)  # of the node's Python


def pack(package: Path) -> bytes:
    """Return what ARGUMENTS waits for. The same files make the same bytes.

    Not compressed: that costs the node more time than the cable, and wants a zlib there.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in sorted(package.glob("*.py")):
            bundle.writestr(zipfile.ZipInfo(f"{package.name}/{path.name}"), path.read_bytes())
    content = archive.getvalue()
    return _MARK + f"{len(content)}\n".encode() + content
