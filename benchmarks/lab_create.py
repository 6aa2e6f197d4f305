"""How long `labctl lab create` takes with the node tree in the cache, and `lab destroy`.

    sudo python benchmarks/lab_create.py [--times N] [--index I]

A lab of its own (name `benchmark`) is created and destroyed N times (5), each by the command a user types; the first
creation is not counted, since it may build the tree. Wanted: at most 5 s for a creation with a cached tree.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

from labctl.core import paths

LIMIT_S = 5.0
NAME = "benchmark"


def inventory(directory: Path, index: int) -> Path:
    """A copy of the shipped local lab under another name and index, as its comments tell users to make one."""
    shutil.copytree(paths.content_root() / "inventories" / "local", directory)
    variables = directory / "group_vars" / "all.yml"
    text = re.sub(r"(?m)^lab_name: .*$", f"lab_name: {NAME}", variables.read_text())
    variables.write_text(re.sub(r"(?m)^local_lab_index: .*$", f"local_lab_index: {index}", text))
    return directory


def labctl(*words: str) -> float:
    """Wall time of one labctl command that must succeed."""
    command = [str(Path(sys.executable).with_name("labctl")), *words]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--index", type=int, default=230, help="local_lab_index of the lab; no other lab may have it")
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {"lab create": [], "lab create again": [], "lab destroy": []}
    with tempfile.TemporaryDirectory() as scratch:
        lab = str(inventory(Path(scratch) / "lab", arguments.index))
        first = labctl("lab", "create", "-i", lab)
        labctl("lab", "destroy", "-i", lab)
        for _ in range(arguments.times):
            found["lab create"].append(labctl("lab", "create", "-i", lab))
            found["lab create again"].append(labctl("lab", "create", "-i", lab))
            found["lab destroy"].append(labctl("lab", "destroy", "-i", lab))
    rows = [(f"labctl {name}", statistics.median(each), min(each), max(each)) for name, each in found.items()]
    sys.stdout.write(tabulate(rows, ["command", "median s", "min s", "max s"], floatfmt=".2f") + "\n")
    verdict = "held" if statistics.median(found["lab create"]) <= LIMIT_S else "MISSED"
    sys.stdout.write(f"\nfirst creation {first:.1f} s, not counted; limit {LIMIT_S:g} s for the median {verdict}\n")


if __name__ == "__main__":
    main()
