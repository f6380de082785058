"""Makes a Dask worker take its time over each patient, so that there is something to interrupt.

Dask's workers load it by themselves where `tests.commands.SLOWLY` is in their environment. They wait and do not
compute, so that what runs beside them does not wait, too.
"""

from __future__ import annotations

import time
from typing import Any

from preprocessing.pipeline import run

SECONDS = 0.4


def dask_setup(worker: Any) -> None:
    """Put a rest before the work on a patient."""
    process_patient = run.process_patient

    def after_a_rest(*arguments: Any) -> Any:
        time.sleep(SECONDS)
        return process_patient(*arguments)

    run.process_patient = after_a_rest  # type: ignore[assignment]
