from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from preprocessing.check import check_cohort, common_num_phases
from preprocessing.cohort import Box, VolumeFile
from preprocessing.config import PreprocessConfig
from preprocessing.errors import InputError, MissingPathError
from preprocessing.patient import process_patient
from preprocessing.readers import read_cohort
from preprocessing.staging import Stage
from preprocessing.volume_files import open_file

BOX = "box_row_start,box_row_stop,box_col_start,box_col_stop,box_slice_start,box_slice_stop"
CONFIG = PreprocessConfig(crop_shape=(8, 8, 4), num_phases=2, n4_iterations=(2, 2))


@pytest.fixture
def images(tmp_path):
    """Two phases of 20 columns, 18 rows, 9 slices; the tumour at row 4-7, column 10-15, slice 2-4."""
    rng = np.random.default_rng(0)
    pre = rng.uniform(90, 110, (20, 18, 9)).astype(np.float32)
    post = pre.copy()
    post[10:15, 4:7, 2:4] += 500
    affine = np.diag([0.7, 0.8, 2.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(pre, affine), tmp_path / "pre.nii.gz")
    nibabel.save(nibabel.Nifti1Image(post, affine), tmp_path / "post.nii.gz")
    return tmp_path


def manifest(folder, *rows, header=f"patient_id,phase_0,phase_1,{BOX},ER,target_grade,age"):
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


ROW = "pre.nii.gz,post.nii.gz,4,7,10,15,2,4,1,,51.5"


def test_rows_become_patients(images):
    cohort = read_cohort(manifest(images, f"p2,{ROW}", f"007,{ROW}"))
    assert [p.patient_id for p in cohort.patients] == ["007", "p2"]
    patient = cohort.patients[0]
    assert cohort.targets == ("ER", "grade")
    assert patient.labels == {"ER": 1, "grade": -1}
    assert patient.box == Box((4, 10, 2), (7, 15, 4))
    assert patient.covariates == {"age": 51.5}
    assert common_num_phases(cohort) == 2


def test_the_tumour_lies_inside_the_box_of_the_crop(images):
    patient = read_cohort(manifest(images, f"p,{ROW}")).patients[0]
    record, tensor = process_patient(patient, 0, CONFIG)
    assert record.status == "stored"
    start, stop = record.box_in_crop
    gain = tensor.images[1] - tensor.images[0]
    inside = np.zeros(gain.shape, bool)
    inside[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    np.testing.assert_array_equal(tensor.region & 1 > 0, inside)
    assert gain[inside].min() > 100
    assert np.abs(gain[~inside]).max() < 1


def test_mask_instead_of_box(images):
    mask = np.zeros((20, 18, 9), np.uint8)
    mask[10:15, 4:7, 2:4] = 1
    mask[10, 4, 2] = 0
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([0.7, 0.8, 2.0, 1.0])), images / "m.nii.gz")
    header = "patient_id,phase_0,phase_1,mask,ER"
    path = manifest(images, "p,pre.nii.gz,post.nii.gz,m.nii.gz,1", header=header)
    record, tensor = process_patient(read_cohort(path).patients[0], 0, CONFIG)
    assert record.status == "stored"
    assert (tensor.region & 1).sum() == 5 * 3 * 2 - 1


def test_nrrd_and_nifti_of_one_image_are_the_same_volume(images):
    sitk.WriteImage(sitk.ReadImage(str(images / "post.nii.gz")), str(images / "post.nrrd"))
    nifti = open_file(VolumeFile(images / "post.nii.gz"), Stage())
    nrrd = open_file(VolumeFile(images / "post.nrrd"), Stage())
    assert nifti.grid.shape == nrrd.grid.shape == (18, 20, 9)
    np.testing.assert_allclose(nifti.grid.matrix, nrrd.grid.matrix, atol=1e-5)
    whole = Box((0, 0, 0), nifti.grid.shape)
    np.testing.assert_array_equal(nifti.read(whole), nrrd.read(whole))


def test_dicom_folder_as_a_phase(tmp_path, make_series):
    voxels = np.random.default_rng(0).integers(50, 100, (18, 20, 9))
    make_series(tmp_path / "a", voxels)
    make_series(tmp_path / "b", voxels + 30)
    path = manifest(tmp_path, "p,a,b,4,7,10,15,2,4,1,0,")
    record, _ = process_patient(read_cohort(path).patients[0], 0, CONFIG)
    assert record.status == "stored"
    assert record.covariates == {"manufacturer": "SIEMENS", "field_strength_t": 1.5}
    assert "Secret" not in str(record.to_json())


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("pre.nii.gz,gone.nii.gz,4,7,10,15,2,4,1,,", "image-missing"),
        ("pre.nii.gz,manifest.csv,4,7,10,15,2,4,1,,", "image-unreadable"),
        ("pre.nii.gz,../../etc/passwd,4,7,10,15,2,4,1,,", "path-outside"),
        ("pre.nii.gz,,4,7,10,15,2,4,1,,", "too-few-phases"),
        ("pre.nii.gz,post.nii.gz,,,,,,,1,,", "no-box"),
        ("pre.nii.gz,post.nii.gz,4,seven,10,15,2,4,1,,", "box-unreadable"),
        ("pre.nii.gz,post.nii.gz,40,70,10,15,2,4,1,,", "box-outside"),
        ("pre.nii.gz,small.nii.gz,4,7,10,15,2,4,1,,", "phases-differ"),
        ("zero.nii.gz,zero.nii.gz,4,7,10,15,2,4,1,,", "processing-failed"),
    ],
)
def test_a_bad_patient_is_a_finding(images, row, code):
    for name, shape in [("small", (20, 18, 8)), ("zero", (20, 18, 9))]:
        image = nibabel.Nifti1Image(np.zeros(shape, np.float32), np.eye(4))
        nibabel.save(image, images / f"{name}.nii.gz")
    patient = read_cohort(manifest(images, f"p,{row}")).patients[0]
    record, tensor = process_patient(patient, 0, CONFIG)
    assert tensor is None
    assert record.status == "excluded"
    assert code in [f.code for f in record.findings if f.excludes]
    checked = next(check_cohort(read_cohort(images / "manifest.csv"), CONFIG))
    if code != "processing-failed":  # found only by looking at voxels
        assert not checked.usable


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("../outside/secret.nii.gz", "path-outside"),
        ("../data-too/secret.nii.gz", "path-outside"),
        ("s3://bucket/secret.nii.gz", "image-missing"),
        ("link.nii.gz", "path-outside"),
        ("folder", None),
        ("a" * 300, "path-impossible"),
        ("a\0b", "path-impossible"),
        ("loop", "path-impossible"),
    ],
)
def test_paths_cannot_leave_the_manifests_folder(tmp_path, cell, code):
    """Neither by dots, nor by links, nor by what no file system can follow."""
    root = tmp_path / "data"
    for folder in (root / "folder", tmp_path / "outside", tmp_path / "data-too"):
        folder.mkdir(parents=True)
        (folder / "secret.nii.gz").write_bytes(b"not for us")
    (root / "folder" / "secret.nii.gz").unlink()
    (root / "link.nii.gz").symlink_to(tmp_path / "outside" / "secret.nii.gz")
    (root / "folder" / "1.dcm").symlink_to(tmp_path / "outside" / "secret.nii.gz")
    (root / "loop").symlink_to(root / "loop")
    row = f"p,{cell},{cell},4,7,10,15,2,4,1,,"
    patient = read_cohort(manifest(root, row)).patients[0]
    inside = [f for phase in patient.phases for f in getattr(phase, "files", ())]
    assert inside == []
    found = {f.code for f in patient.findings}
    assert found == ({code} if code and code.startswith("path") else set())
    record, tensor = process_patient(patient, 0, CONFIG)
    assert tensor is None
    if code == "image-missing":
        assert code in {f.code for f in record.findings}


def test_an_absolute_path_is_welcome_inside_and_refused_outside(images, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "pre.nii.gz"
    outside.write_bytes((images / "pre.nii.gz").read_bytes())
    rows = [f"{name},{pre},post.nii.gz,4,7,10,15,2,4,1,," for name, pre in
            [("in", images / "pre.nii.gz"), ("out", outside)]]  # fmt: skip
    found = {p.patient_id: p for p in read_cohort(manifest(images, *rows)).patients}
    assert process_patient(found["in"], 0, CONFIG)[0].status == "stored"
    assert [f.code for f in found["out"].findings] == ["path-outside"]


def test_columns_that_identify_people_are_left_out_and_named(images):
    header = f"patient_id,phase_0,phase_1,{BOX},ER,patient_name,date_of_birth,age,seen"
    row = "p,pre.nii.gz,post.nii.gz,4,7,10,15,2,4,1,Doe,1961-02-03,51,3/2/2001"
    with pytest.warns(UserWarning, match="patient_name, date_of_birth seem to identify people"):
        patient = read_cohort(manifest(images, row, header=header)).patients[0]
    assert patient.covariates == {"age": 51.0}


def test_repeated_patient_is_excluded_by_name(images):
    patients = read_cohort(manifest(images, f"p,{ROW}", f"p,{ROW}", f"q,{ROW}")).patients
    assert [(p.patient_id, p.usable) for p in patients] == [("p", False), ("q", True)]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("patient,phase_0,ER", r"no column 'patient_id' \(did you mean 'patient'\?\)"),
        (f"patient_id,phas_0,{BOX},ER", r"no column 'phase_0' \(did you mean 'phas_0'\?\)"),
        ("patient_id,phase_0,ER", "no column 'box_row_start'"),
        (f"patient_id,phase_0,phase_2,{BOX},ER", "number them 0, 1, 2 without gaps"),
        (f"patient_id,phase_0,{BOX},receptor", "no target column"),
    ],
)
def test_bad_header_is_refused_in_one_sentence(tmp_path, header, message):
    with pytest.raises(InputError, match=message):
        read_cohort(manifest(tmp_path, header=header))


def test_what_is_no_cohort_is_refused(tmp_path):
    with pytest.raises(MissingPathError, match="no cohort at"):
        read_cohort(tmp_path / "nothing")
    with pytest.raises(
        InputError, match=r"is no cohort that can be read: expected .* a folder with"
    ):
        read_cohort(tmp_path)


@pytest.mark.parametrize("how", ["turned", "elsewhere"])
def test_a_mask_of_other_axes_marks_the_same_tumour(images, how):
    """By its header; where that fits nowhere, voxel by voxel and said."""
    path = manifest(images, f"p,{ROW}")
    plain = read_cohort(path).patients[0]
    volume = nibabel.load(plain.phases[0].path)
    marked = np.zeros(volume.shape, dtype=np.uint8)
    marked[2:4, 3:5, 1:3] = 1
    mask = nibabel.Nifti1Image(marked, volume.affine)
    nibabel.save(mask, images / "mask.nii.gz")
    other = mask.as_reoriented([[2, -1], [0, 1], [1, -1]])
    if how == "elsewhere":
        other = nibabel.Nifti1Image(marked, np.diag([9.0, 9.0, 9.0, 1.0]))
    nibabel.save(other, images / "other.nii.gz")
    records = []
    for name in ("mask", "other"):
        patient = replace(plain, box=None, mask=VolumeFile(images / f"{name}.nii.gz"))
        record, tensor = process_patient(patient, 0, CONFIG)
        assert tensor is not None, record.findings
        records.append((record, tensor))
    np.testing.assert_array_equal(records[1][1].region, records[0][1].region)
    codes = [f.code for f in records[1][0].findings if f not in records[0][0].findings]
    assert codes == (["mask-apart"] if how == "elsewhere" else [])
