"""Time preprocessing against its floor and against what one would use instead.

    python -m benchmarks.preprocessing [--matrix 512 --slices 160]

One phantom patient, written as DICOM, is read and processed in this process. Ratios of one run
are what counts; seconds are this machine's. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from preprocessing import n4, n4_simpleitk
from preprocessing.bias import choose_shrink, read_shrunk, tissue_mask
from preprocessing.cohort import DicomSeries
from preprocessing.config import PreprocessConfig
from preprocessing.patient import process_patient
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from preprocessing.readers import read_cohort
from preprocessing.store import PatientRecord, PatientTensor, StoreSpec, StoreWriter
from preprocessing.volumes import open_volume


def cpu_seconds(action: Callable[[], object], repeats: int = 3) -> float:
    """Return the least CPU time of some runs, after one that warms the caches."""
    action()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrix", type=int, default=512)
    parser.add_argument("--slices", type=int, default=160)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = PhantomSettings(patients=1, matrix=arguments.matrix, slices=arguments.slices)
        write_phantom(folder / "cohort", settings)
        patient = read_cohort(folder / "cohort").patients[0]
        config = PreprocessConfig()
        files = [
            path
            for phase in patient.phases[:4]
            if isinstance(phase, DicomSeries)
            for path in phase.files
        ]
        reading = cpu_seconds(lambda: [path.read_bytes() for path in files])
        headers = cpu_seconds(lambda: [open_volume(phase) for phase in patient.phases[:4]])
        pre = open_volume(patient.phases[0])
        small, _ = read_shrunk(pre, choose_shrink(pre.grid.shape, config.shrink))
        mask = tissue_mask(small)
        ours = cpu_seconds(lambda: n4.fit_lattice(small, mask, config.n4))
        theirs = cpu_seconds(lambda: n4_simpleitk.fit_log_field(small, mask, config.n4), 1)
        _, tensor = process_patient(patient, 0, config)
        assert tensor is not None
        whole = cpu_seconds(lambda: process_patient(patient, 0, config))
        writing = cpu_seconds(lambda: _write(folder / "store", tensor))
    print(f"phantom patient: 4 phases of {arguments.matrix}×{arguments.matrix}×{arguments.slices},")
    print(f"{len(files)} files, N4 at shrink 4 on {small.shape}, 50×4 iterations; CPU seconds\n")
    rows = [
        ("read all bytes of four series (floor)", reading),
        ("headers of four series", headers),
        ("N4, separable fit", ours),
        ("N4, SimpleITK, same volume and mask", theirs),
        ("write one patient to the store", writing),
        ("whole patient, DICOM to tensor", whole),
    ]
    for label, seconds in rows:
        print(f"{label:42s} {seconds:8.3f}")
    print(f"\nwhole patient / reading the bytes: {(whole + writing) / reading:.1f}")
    print(f"SimpleITK N4 / separable N4: {theirs / ours:.0f}")
    print(f"SimpleITK N4 on each phase / whole patient: {4 * theirs / (whole + writing):.0f}")


def _write(path: Path, tensor: PatientTensor) -> None:
    _, *crop = tensor.images.shape
    rows, columns, slices = crop
    spec = StoreSpec(("p",), ("ER",), ((1,),), len(tensor.images), (rows, columns, slices))
    writer = StoreWriter.create_or_resume(str(path), spec, {})
    writer.write(PatientRecord(0, "p", "stored"), tensor)


if __name__ == "__main__":
    main()
