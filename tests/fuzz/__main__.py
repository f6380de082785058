"""Read many changed files of every kind; say where the product did anything but read or refuse them.

``python -m tests.fuzz --inputs 100000 --seed 0``; exit status 1 if there is a finding.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.formats import make_formats
from tests.fuzz.run import fuzz


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="Changed files in all.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="Kinds of file whose names hold this.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        formats = [f for f in make_formats(Path(folder)) if given.only in f.name]
        counts = fuzz(formats, given.inputs, given.seed, print)
    width = max(len(name) for name in counts)
    for name, count in counts.items():
        print(f"{name:{width}}  {count.tried:7} read, {count.refused:7} refused, {len(count.findings)} findings")  # fmt: skip
    findings = sum(len(count.findings) for count in counts.values())
    tried = sum(count.tried for count in counts.values())
    print(f"{tried} inputs, seed {given.seed}: {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
