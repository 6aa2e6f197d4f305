"""Is there an input that labctl answers with a traceback? Random damage to all that others may give it.

    python benchmarks/fuzz.py [--cases N] [--seed N] [--target NAME ...]

Tries N cases (10,000) of every kind of input in tests/fuzzing.py: plans, run folders, samples, what netperf prints,
kubeconfigs, inventories, bundles, fingerprints, and what kernel and tools say on a node. Wanted: every one ends as
data, or as a refusal whose problems each say what to do next; none hangs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "roles" / "measure" / "files"), str(ROOT / "roles" / "measure" / "plugin_utils")]

from tests import conftest  # noqa: E402, F401  (what roles import of each other is found)
from tests.fuzzing import TARGETS, fuzz  # noqa: E402


def main() -> None:
    """Try, print, and end with 1 where a case is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", nargs="*", choices=[one.name for one in TARGETS])
    wanted = parser.parse_args()
    bad = 0
    for target in TARGETS:
        if wanted.target and target.name not in wanted.target:
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="labctl-fuzz-") as directory:
            try:
                fuzz(target, wanted.cases, Path(directory), wanted.seed)
                verdict = "held"
            except Exception:  # noqa: BLE001  (whatever it is, it is what was looked for)
                verdict = "BROKEN"
                bad += 1
                traceback.print_exc()
        sys.stdout.write(f"{target.name:<12} {wanted.cases} cases, {time.monotonic() - started:.0f} s: {verdict}\n")
        sys.stdout.flush()
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
