"""One local Ray for all tests of a folder that ask for it: starting it takes longer than most of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package")
def ray_here(copied_workers: None) -> Iterator[str]:
    """The address of a local Ray, which lives until the last test of its folder here has ended.

    Others count only what they began themselves. It is not left for longer: with nothing to do, it keeps a tenth of a core busy.
    """
    import ray

    from cluster.session import start_local

    # What Ray does while it starts and ends is not this project's to mend.
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        # Metrics are there and gone within seconds, not half a minute.
        patch.setenv("RAY_metrics_report_interval_ms", "2000")
        # Of all the logs that it has by then, new ones are looked for twice a second, not ten times.
        patch.setenv("RAY_LOG_MONITOR_MANY_FILES_THRESHOLD", "0")
        # Not a session: it would join a cluster that somebody has begun on this machine.
        start_local(num_cpus=4)
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()
