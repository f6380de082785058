"""A small MAMA-MIA tree, laid out and named as the data set is."""

import json

import nibabel
import numpy as np
import openpyxl
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

WORKBOOK = "clinical_and_imaging_info.xlsx"
# Voxel size along (x, y, z): all different, so that swapped axes show.
SPACING_MM = (0.7, 0.8, 1.1)
# What the real workbook has in columns of these names.
ROW = {
    "dataset": "DUKE",
    "pcr": 0.0,
    "days_to_death": None,
    "hr": 1.0,
    "er": 1.0,
    "pr": 0.0,
    "her2": 0.0,
    "tumor_subtype": "luminal",
    "age": 51.0,
    "menopause": "post",
    "view": "axial",
    "num_phases": 3,
    "field_strength": 1.5,
    "pixel_spacing": "[0.7, 0.8]",
    "slice_thickness": 1.1,
    "manufacturer": "SIEMENS",
    "scanner_model": "Skyra ",
    "acquisition_times": "[0, 165, 288]",
    "acquisition_date": "1984/10/13",
    "tcia_series_uid": "1.3.6.1.4.1.14519.5.2.1",
}


def anatomy(phase=0):
    """Return a volume that is nowhere symmetric, and its tumour, (x to the left, y back, z up)."""
    x, y, z = np.indices((14, 12, 10))
    volume = (100 + 7 * x + 3 * y * y + 11 * z + 50 * phase * (x > 7)).astype(np.int16)
    tumour = np.zeros(volume.shape, dtype=np.uint8)
    tumour[8:11, 3:7, 4:6] = 1
    tumour[8, 3, 4] = 0
    return volume, tumour


def save(path, array, axes):
    """Write an array of the anatomy's axes with its voxel axes turned to `axes`, e.g. "LPS"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    image = nibabel.Nifti1Image(array, affine)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axes)))
    nibabel.save(image.as_reoriented(turn), path)


def write_case(root, case, *, folder=None, axes="LPS", phases=(0, 1, 2), segmented="expert"):
    """Write a case's phases, its segmentation and its JSON file."""
    for phase in phases:
        name = f"{case}_{phase:04d}.nii.gz"
        save(root / "images" / (folder or case.upper()) / name, anatomy(phase)[0], axes)
    if segmented:
        save(root / "segmentations" / segmented / f"{case}.nii.gz", anatomy()[1], axes)
    info = root / "patient_info_files" / f"{case}.json"
    info.parent.mkdir(exist_ok=True)
    info.write_text(json.dumps({"patient_id": case.upper(), "primary_lesion": {}}))


def write_rows(root, rows, sheet="dataset_info"):
    """Write the workbook; a row lacks the columns that it does not name."""
    root.mkdir(exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    book = openpyxl.Workbook()
    book.active.title = "legend"
    table = book.create_sheet(sheet)
    table.append(columns)
    for row in rows:
        table.append([row.get(c) for c in columns])
    book.save(root / WORKBOOK)


def row(patient_id, **values):
    return {"patient_id": patient_id, **ROW, **values}
