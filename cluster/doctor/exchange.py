"""One of two processes that add up a tensor over the network.

Prints GB/s and milliseconds as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from statistics import median

import torch
from torch import distributed

# About what ResNet10 has; larger ones tell the same.
_BYTES = 32_000_000
_REPEATS = 5


def main(rank: int, address: str, port: int, backend: str, timeout_s: float) -> None:
    """Measure and print; the process of rank 0 is the one at the address."""
    distributed.init_process_group(
        backend,
        init_method=f"tcp://{address}:{port}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=timeout_s),
    )
    device = torch.device("cuda" if backend == "nccl" else "cpu")
    measured = _BYTES / 1e9 / _seconds(_BYTES // 4, device), 1000 * _seconds(1, device)
    distributed.destroy_process_group()
    print(json.dumps(measured))


def _seconds(size: int, device: torch.device) -> float:
    tensor = torch.ones(size, device=device)
    times = []
    for _ in range(_REPEATS + 1):
        begin = time.perf_counter()
        distributed.all_reduce(tensor)
        # Waits for a GPU, too.
        tensor[0].item()
        times.append(time.perf_counter() - begin)
    return median(times[1:])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
