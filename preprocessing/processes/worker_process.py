"""How processes that are one of many begin, and what they should not do.

They should not start threads, nor return memory too soon, nor hear Ctrl-C or notices to stop.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import BaseContext

from preprocessing.common.errors import InputError
from preprocessing.processes.stop_notice import NOTICES
from preprocessing.storage.files import socket_folder

# How such a process begins. A copy of this one may hang, in Zarr on S3 or as this one has threads. On
# Linux it is a copy of one that was begun anew, without threads, and has loaded what all of them need.
START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
# Not SIGTERM: by that their own run ends them.
_NOT_FOR_WORKERS = (signal.SIGINT, *(number for number in NOTICES if number != signal.SIGTERM))
# Linear algebra decides about its threads when it is loaded.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# Parameters of mallopt(3), and the largest value that it takes for the first.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_REUSED_BYTES = 32 * 1024**2
_KEPT_BYTES = 256 * 1024**2


def worker_context(*modules: str) -> BaseContext:
    """Return how to begin processes that need these modules.

    Where copies can be made, the modules are loaded once for all of them, and the process that does so begins now. There is
    one of it: where it is there already, what else is needed is loaded by each that needs it.

    Raises
    ------
    InputError
        If processes cannot share locks here.
    """
    context = multiprocessing.get_context(START_METHOD)
    if START_METHOD == "forkserver":
        context.set_forkserver_preload(list(modules))
        with interrupts_held_back(), _variables(_ONE_THREAD), _short_socket_names():
            _check_locks(context)
            forkserver.ensure_running()
    return context


def _check_locks(context: BaseContext) -> None:
    """Refuse a machine without a place for locks that processes share, before any of them dies of it."""
    try:
        context.Lock()
    except OSError as error:
        raise InputError(
            f"processes cannot share locks: /dev/shm cannot be written ({error.strerror}): mount a"
            " tmpfs there, as with docker run --shm-size=1g"
        ) from error


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Make threads and processes begun in the block deaf to Ctrl-C and notices; ours hears them afterwards.

    A terminal tells every process of a run, also when it is closed. Ours ends the workers; each of
    them would print a traceback too.
    """
    _begin_tracker()
    with ExitStack() as stack:
        for number in (signal.SIGTERM, *_NOT_FOR_WORKERS):
            stack.enter_context(_handled_at_its_end(number))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _handled_at_its_end(number: int) -> Iterator[None]:
    """Put a signal off that comes in the block: threads that were there before may hear it for this one."""
    # Python handles signals in the main thread alone, and could not put another program's handler back.
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(number) is None
    ):
        yield
        return
    came: list[int] = []
    before = signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(number, before)
        if came:
            signal.raise_signal(number)


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


def _begin_tracker() -> None:
    """Begin the process that looks after what processes share.

    Otherwise it begins with the first of them, and unblocks the signal. It would also warn the
    user of what a worker leaves behind when it is ended at its work. It ignores SIGTERM and Ctrl-C, but
    a closed terminal would end it, and this process would begin it anew and say so.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)
    sys.warnoptions.append("ignore:resource_tracker")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _short_socket_names() -> Iterator[None]:
    """Keep the sockets of processes' copies where their names are not too long, from this block on."""
    before = tempfile.tempdir
    tempfile.tempdir = socket_folder(len("/pymp-12345678/listener-12345678"))
    try:
        # It is made once, for this process's whole life.
        util.get_temp_dir()
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables that nobody has set, for the block."""
    added = values.keys() - os.environ.keys()
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
