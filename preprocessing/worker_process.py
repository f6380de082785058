"""What a process that is one of many should not do: start threads, and return memory too soon."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Parameters of mallopt(3), and the largest value that it takes for the first.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_REUSED_BYTES = 32 * 1024**2
_KEPT_BYTES = 256 * 1024**2


def prepare_worker_process() -> None:
    """Make libraries work on one thread, and keep memory that was freed for what comes next."""
    import numcodecs.blosc
    import SimpleITK as sitk
    import zarr

    numcodecs.blosc.set_nthreads(1)
    zarr.config.set({"threading.max_workers": 1})
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let arrays reuse the memory of those before them, rather than ask the system for each anew.

    glibc learns that by itself, but not where MALLOC_TRIM_THRESHOLD_ is set, as Dask sets it for
    its workers: a patient then takes three times as long (docs/lab-log.md).
    """
    with suppress(OSError, AttributeError):  # another C library has its own ways
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_REUSED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
