"""Names of baselines in a predictions table."""

BASELINE_PREFIX = "baseline "
"""What the name of a baseline's run begins with."""


def is_baseline(run: str) -> bool:
    """Tell whether a run is a baseline model."""
    return run.startswith(BASELINE_PREFIX)
