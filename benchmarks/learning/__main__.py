"""Run one of the simulations by its name."""

from __future__ import annotations

import importlib
import sys

NAMES = ("epochs", "ensembles", "covariates")


def main(argv: list[str]) -> None:
    """Run the simulation that the first argument names with the others."""
    if not argv or argv[0] not in NAMES:
        sys.exit(f"usage: python -m benchmarks.learning {'|'.join(NAMES)} [options]")
    # Each is loaded alone: one of them may need what another does not.
    importlib.import_module(f"benchmarks.learning.{argv[0]}").main(argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
