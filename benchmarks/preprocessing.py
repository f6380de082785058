"""Time preprocessing against its floor and against what one would use instead.

    python -m benchmarks.preprocessing [--matrix 512 --slices 160 --patients 12]

One phantom patient, written as DICOM, is read and processed in this process, then in a worker of
its own (memory). Then workers begin, and one and two of them process it many times over. Ratios of
one run are what counts; seconds are this machine's. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import psutil
import pydicom
import SimpleITK as sitk
from distributed import Client, LocalCluster

from preprocessing.cohort.cohort import Cohort, Patient
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.images import n4, n4_simpleitk
from preprocessing.images.bias import choose_shrink, read_shrunk, tissue_mask
from preprocessing.images.load_patient import OpenedPatient, open_patient
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.pipeline.run import preprocess
from preprocessing.processes.dask_client import ClientFactory, local_client
from preprocessing.processes.worker_process import prepare_worker_process
from preprocessing.storage.file_cache import FileCache
from preprocessing.store import PatientRecord, PatientTensor, StoreSpec, StoreWriter

CONFIG = PreprocessConfig()


def cpu_seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Return the least CPU time of some runs, after one that warms the caches."""
    action()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrix", type=int, default=512)
    parser.add_argument("--slices", type=int, default=160)
    parser.add_argument("--patients", type=int, default=24, help="for the comparison of workers")
    parser.add_argument("--pairs", type=int, default=5, help="how often one and two take turns")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = PhantomSettings(patients=1, matrix=arguments.matrix, slices=arguments.slices)
        write_phantom(folder / "cohort", settings)
        patient = read_cohort(folder / "cohort").patients[0]
        print(
            f"phantom patient: 4 phases of {arguments.matrix}×{arguments.matrix}×{arguments.slices}\n"
        )
        print_costs(patient, folder)
        print_memory(patient)
        print_start()
        print_workers(folder, arguments.patients, arguments.pairs)


def print_costs(patient: Patient, folder: Path) -> None:
    """Print the CPU time of each step, of the floors, and of what one would use instead."""
    opened = open_patient(patient, CONFIG, FileCache())
    assert isinstance(opened, OpenedPatient)
    pre = opened.volumes[0]
    files = [h.path for v in opened.volumes for h in v.headers]  # type: ignore[attr-defined]
    small, _ = read_shrunk(pre, choose_shrink(pre.grid.shape, CONFIG.shrink))
    mask = tissue_mask(small)
    _, tensor = process_patient(patient, 0, CONFIG)
    assert tensor is not None
    # SimpleITK alone spends a minute on it: once is enough.
    theirs = cpu_seconds(lambda: n4_simpleitk.fit_log_field(small, mask, CONFIG.n4), 1)
    rows = {
        "bytes": ("read all bytes of the four series (floor)", lambda: [p.read_bytes() for p in files]),
        "sitk": ("read the four series with SimpleITK", lambda: read_with_simpleitk(opened)),
        "pydicom": ("read the four series with pydicom", lambda: [pydicom.dcmread(p).pixel_array for p in files]),
        "headers": ("headers and order of all phases", lambda: open_patient(patient, CONFIG, FileCache())),
        "shrunk": ("read and shrink the pre-contrast", lambda: read_shrunk(pre, (4, 4, 4))),
        "n4": ("N4, separable fit", lambda: n4.fit_lattice(small, mask, CONFIG.n4)),
        "whole": ("whole patient, DICOM to tensor", lambda: process_patient(patient, 0, CONFIG)),
        "write": ("write one patient to the store", lambda: write(folder / "store", tensor)),
    }  # fmt: skip
    cost = {key: cpu_seconds(action) for key, (_, action) in rows.items()}
    print(f"{len(files)} files; N4 at shrink 4 on {small.shape}, 50×4 iterations; CPU seconds")
    for key, (label, _) in rows.items():
        print(f"  {label:44s} {cost[key]:8.3f}")
    print(f"  {'N4, SimpleITK, same volume and mask':44s} {theirs:8.3f}\n")
    whole = cost["whole"] + cost["write"]
    ratios = {
        "whole patient and writing / bytes": whole / cost["bytes"],
        "whole patient and writing / SimpleITK reading": whole / cost["sitk"],
        "whole patient and writing / pydicom reading": whole / cost["pydicom"],
        "SimpleITK N4 / separable N4": theirs / cost["n4"],
        "SimpleITK N4 on each phase / whole patient": 4 * theirs / whole,
    }
    for label, ratio in ratios.items():
        print(f"  {label:48s} {ratio:8.2f}")


def read_with_simpleitk(opened: OpenedPatient) -> None:
    """Read every phase as a volume, files already in order."""
    for volume in opened.volumes:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames([str(h.path) for h in volume.headers])  # type: ignore[attr-defined]
        sitk.GetArrayFromImage(reader.Execute())


def write(path: Path, tensor: PatientTensor) -> None:
    """Write one patient to a store of its own."""
    _, rows, columns, slices = tensor.images.shape
    spec = StoreSpec(("p",), ("ER",), ((1,),), len(tensor.images), (rows, columns, slices))
    writer = StoreWriter.create_or_resume(str(path), spec, {})
    writer.write(PatientRecord(0, "p", "stored"), tensor)


def print_memory(patient: Patient) -> None:
    """Print the largest memory of a fresh process that does one patient, as a worker does."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        before, after = pool.apply(peak_megabytes, (patient,))
    print(f"\npeak memory of a worker: {after:.0f} MB, of which {before:.0f} MB are libraries")


def peak_megabytes(patient: Patient) -> tuple[float, float]:
    """Return the peak resident memory before and after three patients."""
    import distributed  # noqa: F401 - part of what a worker has loaded

    def peak() -> float:
        # Not getrusage, whose figure begins with what the parent had.
        status = Path("/proc/self/status").read_text()
        return int(next(li for li in status.splitlines() if "VmHWM" in li).split()[1]) / 1024

    prepare_worker_process()
    before = peak()
    for _ in range(3):
        process_patient(patient, 0, CONFIG)
    return before, peak()


def print_start() -> None:
    """Print how long workers take to begin, and the memory that they hold: ours, and Dask's own."""
    for count in (1, 2, 4, 8):
        figures = []
        for factory in (local_client, dasks_client):
            # Each in a process of its own, as what is loaded for workers stays for the next ones.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                seconds, megabytes = pool.submit(begin, factory, count).result()
            figures.append(f"{seconds:.1f} s, {megabytes:.0f} MB")
        print(f"{count} workers begin: {figures[0]}; as Dask begins them {figures[1]}")


def begin(factory: Callable[[int], ClientFactory], count: int) -> tuple[float, float]:
    """Return the time until workers have loaded what a patient needs, and their proportional memory."""
    start = time.monotonic()
    with factory(count)(count) as client:
        client.run(importlib.import_module, "preprocessing.pipeline.run")
        seconds = time.monotonic() - start
        workers = psutil.Process().children(recursive=True)
        return seconds, sum(worker.memory_full_info().pss for worker in workers) / 1e6


def dasks_client(num_workers: int) -> ClientFactory:
    """Return what one would use instead: processes of this machine, by Dask's own settings."""

    @contextmanager
    def connect(num_tasks: int) -> Iterator[Client]:
        with (
            LocalCluster(
                n_workers=num_workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client

    return connect


def print_workers(folder: Path, num_patients: int, num_pairs: int) -> None:
    """Print how long one and two workers take for the same patients, once they are up.

    They take turns: a machine's speed goes up and down by a third within minutes. Beside them two
    processes without Dask and without a store: what this machine can give.
    """
    cohort = read_cohort(folder / "cohort")
    many = replace(
        cohort,
        patients=tuple(
            replace(cohort.patients[0], patient_id=f"copy {i:03d}") for i in range(num_patients)
        ),
    )
    dask: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    for _ in range(num_pairs):
        dask.append((dask_seconds(many, 1), dask_seconds(many, 2)))
        bare.append(
            (
                bare_seconds(cohort.patients[0], num_patients, 1),
                bare_seconds(cohort.patients[0], num_patients, 2),
            )
        )
    for what, pairs in (("Dask workers", dask), ("bare processes", bare)):
        one, two = (median(pair[i] for pair in pairs) for i in (0, 1))
        ratios = sorted(pair[0] / pair[1] for pair in pairs)
        print(
            f"{num_patients} patients, {what}: one {one:.1f} s, two {two:.1f} s:"
            f" {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f} in {num_pairs} pairs)"
        )


def dask_seconds(cohort: Cohort, count: int) -> float:
    """Return the time that `count` Dask workers take to fill a store."""
    with tempfile.TemporaryDirectory() as store:
        clock = _Clock()
        preprocess(cohort, f"{store}/s", CONFIG, local_client(count), clock.progress)
    return clock.seconds


def bare_seconds(patient: Patient, num_patients: int, count: int) -> float:
    """Return the time that `count` processes take for some patients."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, prepare_worker_process) as pool:
        work = [(patient, i, CONFIG) for i in range(num_patients)]
        pool.starmap(_process, work[:count], chunksize=1)
        start = time.monotonic()
        pool.starmap(_process, work, chunksize=1)
        return time.monotonic() - start


def _process(patient: Patient, index: int, config: PreprocessConfig) -> None:
    process_patient(patient, index, config)


class _Clock:
    """Times what happens between the first patient and the last, workers being up."""

    seconds = 0.0

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Callable[[], None]]:
        """Stand in for `preprocessing.common.progress.progress`."""
        start = time.monotonic()
        yield lambda: None
        self.seconds = time.monotonic() - start


if __name__ == "__main__":
    main()
