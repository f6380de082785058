"""Time `radiotrain evaluate --predictions` on a large table, and take its memory.

    python -m benchmarks.large_table [--patients 20000 --runs 10 --targets 1]

Runs the command itself in a folder that is removed afterwards. The aim for 20,000 patients and 10
runs is 60 s and 1 GB on one free core. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd


def main() -> None:
    """Print what the command took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--targets", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        make_table(arguments.patients, arguments.runs, arguments.targets).to_csv(path, index=False)
        command = [
            "radiotrain",
            "evaluate",
            "--predictions",
            str(path),
            "--out",
            f"{folder}/report",
        ]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", *command], check=True)
        seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{arguments.patients:,} patients, {arguments.runs} runs, {arguments.targets} targets:"
        f" {seconds:.0f} s by the clock, {used.ru_utime + used.ru_stime:.0f} CPU s,"
        f" {used.ru_maxrss / 1e6:.2f} GB"
    )


def make_table(num_patients: int, num_runs: int, num_targets: int) -> pd.DataFrame:
    """Return a predictions table of correlated runs; a quarter as many validation patients."""
    rng = np.random.default_rng(0)
    parts = []
    for target in range(num_targets):
        for split, num in (("test", num_patients), ("validation", num_patients // 4)):
            labels = (rng.random(num) < 0.35).astype(int)
            common = rng.normal(size=num) + 0.7 * labels
            ids = [f"{split}{i:06d}" for i in range(num)]
            for run in range(num_runs):
                probability = 1 / (1 + np.exp(-(common + rng.normal(size=num)) * 0.7))
                names = {"run": f"net{run:03d}", "target": f"T{target}", "split": split}
                values = {"fold": None, "label": labels, "probability": probability}
                parts.append(pd.DataFrame({"patient_id": ids} | names | values))
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    main()
