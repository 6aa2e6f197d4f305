"""Whether every sample of a run comes out exactly once though it is killed a hundred times and more.

    .venv/bin/python benchmarks/kills.py [--kills 100] [--seed N] [--index 250]

Makes a lab of its own (`kills-INDEX`), draws what dies in which stage and when (tests/integration/kills.py), kills
it, and resumes. Ends with a table of the kills that hit, or with what went wrong. Takes about ten seconds a kill.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for tests/, which no package holds

from tabulate import tabulate

from labctl.engine.inventory import open_lab
from labctl.engine.session import AnsibleOptions, Session
from labctl.labs import embedded as labs
from labctl.labs.provision import provision
from tests.integration.conftest import ProvisionedLab, copy_inventory, give_up_soon
from tests.integration.kills import Ordeal, Stage, Victim, draw


def main() -> None:
    """Make the lab, let everything happen, print what did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--index", type=int, default=250, help="local_lab_index of the lab")
    arguments = parser.parse_args()
    lab = f"kills-{arguments.index}"
    with tempfile.TemporaryDirectory(prefix="labctl-kills-") as name, Session() as session:
        inventory = give_up_soon(copy_inventory(Path(name) / lab, lab, arguments.index))
        record = labs.create(session, str(inventory))
        try:
            loaded = open_lab(session, str(inventory))
            provision(session, loaded, AnsibleOptions()).require()
            ordeal = Ordeal(ProvisionedLab(loaded, record, session), inventory, Path(name), say=say)
            started = time.monotonic()
            ordeal.suffer(draw(arguments.seed), arguments.kills)
            seconds = time.monotonic() - started
        finally:
            labs.destroy(session, str(inventory))
    rows = [[stage, *(ordeal.hits[stage, victim] or None for victim in Victim)] for stage in Stage]
    say(tabulate(rows, headers=["stage", *Victim]))
    say(
        f"{ordeal.hits.total()} kills hit, seed {arguments.seed}: {ordeal.finished} runs, every "
        f"sample exactly once and valid, {len(ordeal.kept)} kept unchanged; {seconds:.0f} s"
    )


def say(line: str) -> None:
    """Print at once: this takes a while."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
