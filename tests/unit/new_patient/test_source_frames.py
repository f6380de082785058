"""References to images that are frames of one file, or files of their own."""

import numpy as np
import pytest
from highdicom.sr import SourceImageForMeasurementGroup

from preprocessing.cohort.cohort import Box, DicomExamination, Patient
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.load_patient import open_patient
from preprocessing.storage.file_cache import FileCache
from radiotrain.inference.prepare import read_source
from tests.unit.preprocessing.enhanced_files import write_enhanced


@pytest.mark.parametrize("together", [True, False])
def test_each_file_is_referred_to_once_and_the_tumour_by_its_frames(tmp_path, together):
    rng = np.random.default_rng(0)
    phases = [rng.integers(0, 4096, (20, 18, 8)) for _ in range(4)]
    if together:
        write_enhanced(tmp_path / "dyn" / "1.dcm", phases)
    else:
        for p, phase in enumerate(phases):
            write_enhanced(tmp_path / str(p) / "1.dcm", [phase], first_phase=p, number=p)
    patient = Patient("P1", examination=DicomExamination(tmp_path), box=Box((2, 2, 2), (6, 6, 5)))
    opened = open_patient(patient, PreprocessConfig(crop_shape=(8, 8, 4)), FileCache())
    source = read_source(opened)
    assert len(list(source.images)) == (1 if together else 4)
    ((image, frames),) = source.tumour
    assert frames == (3, 4, 5)
    item = SourceImageForMeasurementGroup.from_source_image(image, list(frames))
    (reference,) = item.ReferencedSOPSequence
    assert list(reference.ReferencedFrameNumber) == [3, 4, 5]
    assert reference.ReferencedSOPInstanceUID == source.head.SOPInstanceUID
