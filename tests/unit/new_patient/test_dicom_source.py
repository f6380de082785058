"""Slices are named as the images' files number them, also where phases were brought onto one grid."""

import numpy as np
import pydicom
import pytest

from preprocessing.cohort.cohort import Box, DicomSeries, Patient
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.load_patient import open_patient
from preprocessing.storage.file_cache import FileCache
from radiotrain.inference.prepare import instance_numbers, prepare, read_source
from tests.unit.preprocessing.lattice import SIZE, View, patient, write_dicom

CONFIG = PreprocessConfig(crop_shape=(8, 8, 6), num_phases=2, bias_engine="none")
# The pre-contrast lacks two slices at the feet, the first pass three at the head.
VIEWS = (View(low=(0, 0, 2)), View(high=(*SIZE[:2], 19), flips=(False, True, True)))
# Of the tumour's slices 9 to 12 of the lattice, by the pre-contrast's InstanceNumber less 1.
BOX = Box((8, 9, 7), (12, 13, 11))


@pytest.fixture
def written(tmp_path):
    phases = [
        write_dicom(tmp_path / str(n), patient(n), view, time=f"10{n:02d}00")
        for n, view in enumerate(VIEWS)
    ]
    sources = tuple(DicomSeries(files, f"phase {n}") for n, files in enumerate(phases))
    return phases, Patient("p", phases=sources, box=BOX)


def test_slices_of_the_common_part_keep_their_numbers(written):
    _, found = written
    opened = open_patient(found, CONFIG, FileCache())
    assert list(instance_numbers(opened)) == list(range(1, 18))
    source = read_source(opened)
    assert [int(d.InstanceNumber) for d, _ in source.tumour] == [8, 9, 10, 11]
    assert [len(phase) for phase in source.phases] == [17, 17]
    # Each phase's slices are those of one place: the first pass counts from the head.
    assert [int(d.InstanceNumber) for d in source.phases[1]] == list(range(17, 0, -1))


def test_each_slice_of_the_crop_is_named_by_the_file_that_shows_it(written):
    phases, found = written
    prepared = prepare(found, CONFIG)
    by_number = {int(d.InstanceNumber): d.pixel_array for d in map(pydicom.dcmread, phases[0])}
    scale = prepared.record.scale
    for index, name in enumerate(prepared.slice_names):
        stored = prepared.voxels[0, :, :, index] * scale
        shown = by_number[int(name.removeprefix("image "))]
        windows = np.lib.stride_tricks.sliding_window_view(shown, stored.shape)
        assert (np.abs(windows - stored).max(axis=(2, 3)) <= scale).any()
