"""Whether each patient of a cohort can be used, found out before a store is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from preprocessing.cohort.cohort import Box, Cohort, Finding, Patient
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.geometry import Shape
from preprocessing.images.load_patient import (
    OpenedPatient,
    find_patient_phases,
    num_phases_of_one,
    open_patient,
)
from preprocessing.images.phases.examination import ListedSeries
from preprocessing.images.phases.table import list_files
from preprocessing.images.volumes import is_of_one_patient
from preprocessing.storage.file_cache import FileCache, file_cache

_PAPERS_PHASES = {"duke": 4}
# Of tumours, along each axis by itself: a few very large ones are cut in every cohort.
_NEARLY_ALL = 0.95
_NUM_THREADS = 4  # headers are waited for, not computed


@dataclass(frozen=True)
class CheckedPatient:
    """A patient and all that was found about it.

    Parameters
    ----------
    image_shape, tumour_shape
        Rows, columns, slices in the common orientation; None where the images cannot be used.
    series
        All series, where they were asked for: which phase each was taken for, and why.
    """

    patient: Patient
    findings: tuple[Finding, ...]
    image_shape: Shape | None = None
    tumour_shape: Shape | None = None
    series: tuple[ListedSeries, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether no finding excludes the patient."""
        return not any(f.excludes for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the patient's entry of ``cohort check --json``."""
        return {
            "patient_id": self.patient.patient_id,
            "usable": self.usable,
            "labels": dict(self.patient.labels),
            "box": _box_json(self.patient.box),
            "image_shape": _shape_json(self.image_shape),
            "tumour_shape": _shape_json(self.tumour_shape),
            "findings": [
                {"code": f.code, "message": f.message, "excludes": f.excludes}
                for f in self.findings
            ],
        }


def check_cohort(
    cohort: Cohort, config: PreprocessConfig, *, list_series: bool = False
) -> Iterator[CheckedPatient]:
    """Open every patient's images and yield what was found, in order.

    Parameters
    ----------
    list_series
        Whether all series are listed, for a table of phases.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        yield from pool.map(lambda p: _check(p, config, list_series), cohort.patients)


def common_num_phases(cohort: Cohort) -> int:
    """Return how many phases a patient of this cohort should have.

    Duke-Breast-Cancer-MRI: the paper's one pre- and three post-contrast series. Elsewhere: the
    number most patients have, the larger one where two are equally common.
    """
    if cohort.layout in _PAPERS_PHASES:
        return _PAPERS_PHASES[cohort.layout]
    found = (_num_phases(p) for p in cohort.patients if p.phases)
    counts: Mapping[int, int] = _count(n for n in found if n is not None)
    return max(counts, key=lambda n: (counts[n], n)) if counts else 1


def _num_phases(patient: Patient) -> int | None:
    """Return how many phases a patient's files hold; headers of what is alone are read.

    None where they cannot be read: the patient has no say in how many phases the others should have.
    """
    return num_phases_of_one(patient.phases[0]) if len(patient.phases) == 1 else len(patient.phases)


def sizes_in_words(checked: Sequence[CheckedPatient], crop_shape: Shape) -> str | None:
    """Say how large images and tumours are beside the crop; None where no patient can be used.

    Parameters
    ----------
    crop_shape
        That `preprocess` keeps, unless it is told otherwise.
    """
    images = [p.image_shape for p in checked if p.image_shape is not None]
    tumours = [p.tumour_shape for p in checked if p.tumour_shape is not None]
    if not images or not tumours:
        return None
    most, nearly_all = (
        np.max(tumours, axis=0),
        np.quantile(tumours, _NEARLY_ALL, axis=0, method="higher"),
    )
    low, high = np.min(images, axis=0), np.max(images, axis=0)
    sizes = _times(low) if (low == high).all() else f"{_times(low)} to {_times(high)}"
    sentence = (
        f"rows × columns × slices: images {sizes}; tumours at most {_times(most)},"
        f" {100 * _NEARLY_ALL:.0f} % of them within {_times(nearly_all)}; crops {_times(crop_shape)}"
    )
    if (np.median(images, axis=0) < crop_shape).any():
        sentence += ", larger than most images: choose 'radiotrain preprocess --crop-shape'"
    return sentence


def _times(shape: ArrayLike) -> str:
    return "×".join(str(int(n)) for n in np.asarray(shape))


def _check(patient: Patient, config: PreprocessConfig, list_series: bool) -> CheckedPatient:
    with file_cache() as cache:
        opened = open_patient(patient, config, cache)
        series = _series(patient, config, cache) if list_series else ()
    if not isinstance(opened, OpenedPatient):
        return CheckedPatient(patient, opened, series=series)
    return CheckedPatient(patient, opened.findings, opened.image_shape, opened.tumour_shape, series)


def _series(
    patient: Patient, config: PreprocessConfig, cache: FileCache
) -> tuple[ListedSeries, ...]:
    try:
        found = find_patient_phases(patient, config, cache, list_all=True)
    except Exception as error:
        # Said by `open_patient`; the others' lines are written all the same.
        if not is_of_one_patient(error):
            raise
        return ()
    return list_files(patient) if found is None else found.series


def _count(numbers: Iterator[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for n in numbers:
        counts[n] = counts.get(n, 0) + 1
    return counts


def _shape_json(shape: Shape | None) -> list[int] | None:
    return None if shape is None else list(shape)


def _box_json(box: Box | None) -> list[int] | None:
    """Return [row_start, row_stop, col_start, col_stop, slice_start, slice_stop]."""
    if box is None:
        return None
    return [v for pair in zip(box.start, box.stop, strict=True) for v in pair]
