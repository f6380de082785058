"""The smallest real DICOM series."""

from dataclasses import dataclass

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage, generate_uid


@dataclass(frozen=True)
class SeriesMaker:
    """Writes voxels (row, column, slice) as one file a slice, first file at the lowest position."""

    def __call__(
        self,
        folder,
        voxels,
        *,
        orientation=(1, 0, 0, 0, 1, 0),
        origin=(0.0, 0.0, 0.0),
        spacing=(0.7, 0.8, 1.5),
        descending=False,
        description="ax dyn pre",
        number=1,
        time="101500",
        explicit=False,
        slope=None,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        normal = np.cross(orientation[:3], orientation[3:])
        count = voxels.shape[2]
        paths = []
        for k in range(count):
            data = pydicom.Dataset()
            data.file_meta = pydicom.dataset.FileMetaDataset()
            syntax = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
            data.file_meta.TransferSyntaxUID = syntax
            data.file_meta.MediaStorageSOPClassUID = MRImageStorage
            data.SOPClassUID = MRImageStorage
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            data.PatientName = "Secret^Name"
            data.PatientBirthDate = "19610203"
            data.Modality = "MR"
            data.Manufacturer = "SIEMENS"
            data.MagneticFieldStrength = "1.5"
            data.SeriesDescription = description
            data.SeriesNumber = number
            data.AcquisitionTime = time
            data.InstanceNumber = count - k if descending else k + 1
            data.ImageOrientationPatient = list(orientation)
            position = np.array(origin) + normal * spacing[2] * k
            data.ImagePositionPatient = [f"{v:.6g}" for v in position]
            data.PixelSpacing = [spacing[0], spacing[1]]
            data.SliceThickness = 2 * spacing[2]  # not the distance between slices
            data.Rows, data.Columns = voxels.shape[:2]
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated = data.BitsStored = 16
            data.HighBit, data.PixelRepresentation = 15, 0
            if slope is not None:
                data.RescaleSlope, data.RescaleIntercept = slope, 5
            data.PixelData = voxels[:, :, k].astype("<u2").tobytes()
            if explicit:
                data["PixelData"].VR = "OW"
            path = folder / f"1-{k + 1:02d}.dcm"
            data.save_as(path, enforce_file_format=True)
            paths.append(path)
        return tuple(paths)


@pytest.fixture
def make_series():
    return SeriesMaker()
