"""Batches, the next ones prepared while the network works."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from radiotrain.data.patients import Batch, Patients

# A batch, and the event of its copy to a GPU.
_Ready = tuple[Batch, torch.cuda.Event | None]


def batches(
    patients: Patients,
    groups: Sequence[NDArray[np.int64]],
    device: torch.device,
    num_ahead: int = 2,
) -> Iterator[Batch]:
    """Return one batch for each group of rows, in their order.

    Parameters
    ----------
    groups
        int64 (B,) each: rows of the patients.
    num_ahead
        Batches that are taken from where they are kept before they are asked for. That is done
        by threads, never by forked processes; a GPU's copies go beside its computing.
    """
    if patients.source.is_on_device or len(groups) < 2:
        for rows in groups:
            yield patients.batch(rows, device)
        return
    stream = None
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: deque[Future[_Ready]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        try:
            for rows in groups[:num_ahead]:
                waiting.append(pool.submit(_prepare, patients, rows, device, stream))
            for n in range(len(groups)):
                batch, copied = waiting.popleft().result()
                if n + num_ahead < len(groups):
                    rows = groups[n + num_ahead]
                    waiting.append(pool.submit(_prepare, patients, rows, device, stream))
                if copied is not None:
                    _hand_over(batch, copied, device)
                yield batch
        finally:
            for future in waiting:
                future.cancel()


def _prepare(
    patients: Patients,
    rows: NDArray[np.int64],
    device: torch.device,
    stream: torch.cuda.Stream | None,
) -> _Ready:
    taken = patients.source.take(rows)
    if stream is None:
        return patients.to_batch(rows, taken, device), None
    # Only pinned memory crosses the bus while the network computes; the rest is pinned together.
    voxels, gain, offset = taken
    voxels = voxels.pin_memory()
    with torch.cuda.stream(stream):
        batch = patients.to_batch(rows, (voxels, gain, offset), device)
        return batch, stream.record_event()


def _hand_over(batch: Batch, copied: torch.cuda.Event, device: torch.device) -> None:
    """Let the computing stream wait for a batch, and keep its memory until that is done with it."""
    computing = torch.cuda.current_stream(device)
    computing.wait_event(copied)
    for value in (batch.images, batch.labels, batch.covariates):
        value.record_stream(computing)
