"""`labctl.engine.listing` for every line that comes in, each in a fork of a Python that has loaded Ansible.

To start one takes ten times as long. A line is JSON: the arguments, and the files for what it prints and complains of.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

from ansible.plugins.loader import inventory_loader, vars_loader
from ansible.vars.clean import clean_facts

from labctl.engine import listing


def main() -> None:
    """Answer each line with an empty one."""
    for loader in (inventory_loader, vars_loader):
        list(loader.all())
    clean_facts({})  # finds all plugins of connections
    for line in sys.stdin:
        arguments, *files = json.loads(line)
        child = os.fork()
        if child == 0:
            _list(arguments, files)
        os.waitpid(child, 0)
        sys.stdout.write("\n")
        sys.stdout.flush()


def _list(arguments: list[str], files: list[str]) -> None:
    """What the program does, end included."""
    for number, path in enumerate((os.devnull, *files)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.argv[1:] = arguments
    try:
        listing.main()
    except BaseException:  # noqa: BLE001 - as Python does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
