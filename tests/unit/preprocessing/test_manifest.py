from dataclasses import replace

import nibabel
import numpy as np
import openpyxl
import pytest
import SimpleITK as sitk

from preprocessing.cohort.cohort import Box, VolumeFile
from preprocessing.cohort.manifest import read as read_manifest
from preprocessing.cohort.manifest import read_boxes
from preprocessing.cohort.options import TableOptions
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.images.volume_files import open_file
from preprocessing.pipeline.check_cohort import check_cohort, common_num_phases
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.storage.file_cache import FileCache

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
    nifti = open_file(VolumeFile(images / "post.nii.gz"), FileCache())
    nrrd = open_file(VolumeFile(images / "post.nrrd"), FileCache())
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
        ("pre.nii.gz,pre.nii.gz,4,7,10,15,2,4,1,,", "phases-same-file"),
        (",post.nii.gz,4,7,10,15,2,4,1,,", "phase-missing"),
        ("NA,post.nii.gz,4,7,10,15,2,4,1,,", "phase-missing"),
        ("zero.nii.gz,zero2.nii.gz,4,7,10,15,2,4,1,,", "bias-field-failed"),
    ],
)
def test_a_bad_patient_is_a_finding(images, row, code):
    shapes = {"small": (20, 18, 8), "zero": (20, 18, 9), "zero2": (20, 18, 9)}
    for name, shape in shapes.items():
        image = nibabel.Nifti1Image(np.zeros(shape, np.float32), np.eye(4))
        nibabel.save(image, images / f"{name}.nii.gz")
    patient = read_cohort(manifest(images, f"p,{row}")).patients[0]
    record, tensor = process_patient(patient, 0, CONFIG)
    assert tensor is None
    assert record.status == "excluded"
    assert code in [f.code for f in record.findings if f.excludes]
    checked = next(check_cohort(read_cohort(images / "manifest.csv"), CONFIG))
    if code != "bias-field-failed":  # found only by looking at voxels
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
    (patient,) = read_cohort(manifest(root, f"p,{cell},other.nii.gz,4,7,10,15,2,4,1,,")).patients
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
    with pytest.raises(InputError, match=r"is not a recognised cohort: expected .* a folder with"):
        read_cohort(tmp_path)


@pytest.mark.parametrize("how", ["turned", "without place"])
def test_a_mask_of_other_axes_marks_the_same_tumour(images, how):
    """By its header; where that says nothing, voxel by voxel and said."""
    path = manifest(images, f"p,{ROW}")
    plain = read_cohort(path).patients[0]
    volume = nibabel.load(plain.phases[0].path)
    marked = np.zeros(volume.shape, dtype=np.uint8)
    marked[2:4, 3:5, 1:3] = 1
    mask = nibabel.Nifti1Image(marked, volume.affine)
    nibabel.save(mask, images / "mask.nii.gz")
    other = mask.as_reoriented([[2, -1], [0, 1], [1, -1]])
    if how == "without place":
        other = nibabel.Nifti1Image(marked, np.eye(4))
    nibabel.save(other, images / "other.nii.gz")
    records = []
    for name in ("mask", "other"):
        patient = replace(plain, box=None, mask=VolumeFile(images / f"{name}.nii.gz"))
        record, tensor = process_patient(patient, 0, CONFIG)
        assert tensor is not None, record.findings
        records.append((record, tensor))
    np.testing.assert_array_equal(records[1][1].region, records[0][1].region)
    codes = [f.code for f in records[1][0].findings if f not in records[0][0].findings]
    assert codes == (["mask-without-place"] if how == "without place" else [])


def test_column_names_may_differ_in_case_blanks_and_underscores(images):
    header = f"Patient ID,PHASE 0,Phase_01,{BOX.upper()},er,Target_grade,Age"
    cohort = read_cohort(manifest(images, f"007,{ROW}", header=header))
    assert cohort.targets == ("ER", "grade")
    (patient,) = cohort.patients
    assert [p.name for p in patient.phases] == ["pre.nii.gz", "post.nii.gz"]
    assert patient.box == Box((4, 10, 2), (7, 15, 4))
    assert (patient.labels, patient.covariates) == ({"ER": 1, "grade": -1}, {"Age": 51.5})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (f"patient_id,phase_0,phase_1,{BOX},ER,target_grade,ER", r"one name \('ER', 'ER'\)"),
        (f"patient_id,phase_0,phase_1,{BOX},ER,target_grade,er", r"one name \('ER', 'er'\)"),
        (f"patient_id,phase_0,phase_1,{BOX},ER,target_ER,age", "several columns for one target"),
        (
            f"patient_id,phase_0,phase_1,{BOX},ER,Patient ID,age",
            r"one name \('patient_id', 'Patient",
        ),
        (
            f"patient_id,phase_0,phase_1,{BOX},ER,phase_01,age",
            r"for 'phase_1' \('phase_1', 'phase_01",
        ),
        (f"patient_id,phase_0,phase_1,{BOX},ER,age,Age", r"one name \('age', 'Age'\)"),
    ],
)
def test_columns_of_one_name_are_refused(images, header, message):
    with pytest.raises(InputError, match=message):
        read_cohort(manifest(images, f"p,{ROW}", header=header))


def test_a_comma_too_many_shifts_nothing(images):
    """pandas makes row labels of the first column and reads phase_0 as the patient."""
    (patient,) = read_cohort(manifest(images, f"p1,{ROW},")).patients
    assert (patient.patient_id, patient.phases[0].name) == ("p1", "pre.nii.gz")
    with pytest.raises(InputError, match="has 13 cells in line 3, its header 12"):
        read_cohort(manifest(images, f"p1,{ROW}", f"p2,{ROW},x"))


def test_a_short_line_is_said(images):
    (patient,) = read_cohort(manifest(images, "p1,pre.nii.gz,post.nii.gz,4,7,10,15,2,4,1")).patients
    assert patient.labels == {"ER": 1, "grade": -1}
    (finding,) = patient.findings
    assert (finding.code, finding.excludes) == ("row-short", False)
    assert "10 of 12 cells" in finding.message


def test_decimal_commas(images):
    path = manifest(images, "p;pre.nii.gz;post.nii.gz;4,0;7;10;15;2;4,0;1,0;;51,5",
                    "q;pre.nii.gz;post.nii.gz;4;7;10;15;2;4;0;;1,234",
                    header=f"patient_id,phase_0,phase_1,{BOX},ER,target_grade,age".replace(",", ";"))  # fmt: skip
    cohort = read_cohort(path)
    one, other = cohort.patients
    assert one.box == other.box == Box((4, 10, 2), (7, 15, 4))
    assert (one.labels["ER"], one.covariates) == (1, {"age": 51.5})
    assert other.covariates == {"age": 1.234}
    assert cohort.notes == ()


def test_what_may_be_thousands_is_said(images):
    row = ROW.replace("51.5", '"1,234"')
    cohort = read_cohort(manifest(images, f"p,{row}"))
    assert cohort.patients[0].covariates == {"age": "1,234"}
    assert "age that may have decimals or thousands" in cohort.notes[0]


def excel(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_a_workbook_is_a_manifest_too(images):
    header = f"patient_id,phase_0,phase_1,{BOX},ER,target_grade,age".split(",")
    rows = [
        [1.0, "pre.nii.gz", "post.nii.gz", 4, 7, 10.0, 15, 2, 4, True, None, 51.5],
        ["002", "pre.nii.gz", "post.nii.gz", 4, 7, 10, 15, 2, 4, "neg", 1, None],
    ]
    path = excel(images / "manifest.xlsx", [header, *rows])
    for place in (images, path):
        one, other = sorted(read_cohort(place).patients, key=lambda p: -len(p.patient_id))
        assert (one.patient_id, one.labels) == ("002", {"ER": 0, "grade": 1})
        assert (other.patient_id, other.labels) == ("1", {"ER": 1, "grade": -1})
        assert other.covariates == {"age": 51.5}
        assert other.box == Box((4, 10, 2), (7, 15, 4))
        assert process_patient(one, 0, CONFIG)[0].status == "stored"


def test_a_second_manifest_is_refused_by_name_and_never_preferred(images):
    path = manifest(images, f"p,{ROW}")
    excel(images / "manifest.xlsx", [["patient_id"]])
    with pytest.raises(InputError, match=r"'manifest\.csv' and 'manifest\.xlsx'"):
        read_cohort(images)
    assert len(read_cohort(path).patients) == 1
    (images / "manifest.xlsx").rename(images / "~$manifest.xlsx")
    assert len(read_cohort(images).patients) == 1
    (images / "manifest - Copy.csv").write_text("patient_id\n")
    with pytest.raises(InputError, match=r"'manifest - Copy\.csv' and 'manifest\.csv'"):
        read_cohort(images)


@pytest.mark.parametrize(("first", "message"), [
    ("2021-03-01 00:00:00", "a day for patient_id in line 2"),
    ("1.23457E+11", "a rounded number for patient_id in line 2"),
])  # fmt: skip
def test_ids_that_a_spreadsheet_has_changed_are_refused(images, first, message):
    with pytest.raises(InputError, match=message):
        read_cohort(manifest(images, f"{first},{ROW}"))


def test_ids_that_differ_in_case_or_blanks_are_said(images):
    patients = read_cohort(manifest(images, f"P 1,{ROW}", f"p1,{ROW}", f"p2,{ROW}")).patients
    codes = {p.patient_id: [f.code for f in p.findings] for p in patients}
    assert codes == {"P 1": ["patient-id-similar"], "p1": ["patient-id-similar"], "p2": []}
    assert all(p.usable for p in patients)


@pytest.mark.parametrize("cell", ["", "#N/A", "#REF!"])
def test_a_row_without_an_id_is_excluded(images, cell):
    (patient,) = read_cohort(manifest(images, f"{cell},{ROW}")).patients
    assert [f.code for f in patient.findings if f.excludes] == ["patient-unnamed"]


def told(*columns, labels=()):
    return TableOptions.parse(columns, labels)


def test_columns_by_other_names(images):
    header = f"ID,pre,phase_1,{BOX},Estrogen status,HR,age"
    path = manifest(images, f"007,{ROW}", header=header)
    options = told("patient_id=ID", "phase_0=pre", "ER=estrogen_status", "target_HR=HR")
    cohort = read_cohort(path, options)
    assert cohort.targets == ("ER", "HR")
    (patient,) = cohort.patients
    assert (patient.patient_id, patient.labels) == ("007", {"ER": 1, "HR": -1})
    assert patient.covariates == {"age": 51.5}
    assert cohort.tables == {"columns": {"ER": "estrogen_status", "patient_id": "ID", "phase_0": "pre",
                                         "target_HR": "HR"}}  # fmt: skip
    assert read_cohort(manifest(images, f"p,{ROW}")).tables == {}


def test_a_named_column_takes_the_place_of_the_one_of_that_name(images):
    header = f"patient_id,phase_0,phase_1,{BOX},ER_final,ER,age"
    cohort = read_cohort(manifest(images, f"p,{ROW}", header=header), told("ER=ER_final"))
    (patient,) = cohort.patients
    assert (patient.labels, patient.covariates) == ({"ER": 1}, {"age": 51.5})
    assert "column 'ER' is left out: 'ER_final' is read in its place" in cohort.notes[0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("patient_id=IDs",), r"no column 'IDs'"),
        (("ER=Estrogn",), r"--column ER=Estrogn: .* no column 'Estrogn'"),
        (("ER=target_grde",), r"did you mean 'target_grade'"),
        (("patient=ID",), r"no use for a column 'patient' \(did you mean 'patient_id'\?\)"),
        (("patient_id",), "expected OURS=THEIRS"),
        (("=ID",), "expected OURS=THEIRS"),
        (("ER=a", "ER=b"), "names two columns for 'ER'"),
    ],
)
def test_a_column_that_is_not_there_or_not_known_is_refused(images, columns, message):
    path = manifest(images, f"p,{ROW}")
    with pytest.raises(InputError, match=message):
        read_cohort(path, told(*columns))


def test_labels_as_the_user_says(images):
    rows = [
        f"p{i},{ROW.replace('2,4,1,', f'2,4,{word},')}" for i, word in enumerate(["weak", "pos"])
    ]
    cohort = read_cohort(manifest(images, *rows), told(labels=["ER:weak=0"]))
    assert [p.labels["ER"] for p in cohort.patients] == [0, 1]
    assert cohort.tables == {"labels": {"ER": [["'weak'", 0]]}}
    unsaid = read_cohort(images / "manifest.csv")
    assert [p.labels["ER"] for p in unsaid.patients] == [-1, 1]
    assert [f.code for f in unsaid.patients[0].findings] == ["label-unknown"]
    assert len(unsaid.notes) == 1
    with pytest.raises(InputError, match=r"no target 'EE' \(did you mean 'ER'\?\)"):
        read_cohort(images / "manifest.csv", told(labels=["EE:weak=0"]))


def test_labels_are_not_asked_about_where_none_are_needed(images):
    rows = [f"p{i},{ROW.replace('2,4,1,', f'2,4,{word},')}" for i, word in enumerate("123")]
    path = manifest(images, *rows)
    with pytest.raises(InputError, match="may be positive or a score"):
        read_cohort(path)
    assert len(read_manifest(path, needs_targets=False).patients) == 3


def test_the_note_for_people_is_no_covariate(images):
    header = f"patient_id,phase_0,phase_1,{BOX},ER,note,age"
    (patient,) = read_cohort(manifest(images, f"p,{ROW}", header=header)).patients
    assert patient.covariates == {"age": 51.5}


def test_boxes_alone_may_have_other_columns(images):
    path = images / "boxes.csv"
    path.write_text(f"ID;{BOX.replace(',', ';')}\np;4,0;7;10;15;2;4\n")
    boxes = read_boxes(path, told("patient_id=ID"))
    assert boxes == {"p": Box((4, 10, 2), (7, 15, 4))}
    with pytest.raises(InputError, match="no column 'patient_id'"):
        read_boxes(path)


def test_what_is_not_there_may_be_said_in_words(images):
    """NA in place of a phase, a mask or a box is an empty cell, and none of a file called NA."""
    header = f"patient_id,phase_0,phase_1,phase_2,mask,{BOX},ER"
    row = "p,pre.nii.gz,post.nii.gz,NA,n/a,4,7,10,15,2,4,1"
    (patient,) = read_cohort(manifest(images, row, header=header)).patients
    assert [p.name for p in patient.phases] == ["pre.nii.gz", "post.nii.gz"]
    assert (patient.mask, patient.findings) == (None, ())
    assert process_patient(patient, 0, CONFIG)[0].status == "stored"


def test_paths_as_windows_writes_them(images):
    (images / "one").mkdir()
    (images / "pre.nii.gz").rename(images / "one" / "pre.nii.gz")
    row = ROW.replace("pre.nii.gz", "one\\pre.nii.gz")
    out = ROW.replace("pre.nii.gz", "..\\..\\secret.nii.gz")
    inside, outside = read_cohort(manifest(images, f"a,{row}", f"b,{out}")).patients
    assert process_patient(inside, 0, CONFIG)[0].status == "stored"
    assert [f.code for f in outside.findings] == ["path-outside"]


def test_two_columns_may_be_exchanged(images):
    header = f"patient_id,phase_0,phase_1,{BOX},ER,PR,age"
    path = manifest(images, f"p,{ROW.replace('1,,', '1,0,')}", header=header)
    (patient,) = read_cohort(
        path, told("ER=PR", "PR=ER", "phase_0=phase_1", "phase_1=phase_0")
    ).patients
    assert patient.labels == {"ER": 0, "PR": 1}
    (usual,) = read_cohort(path).patients
    assert [p.path for p in patient.phases] == [p.path for p in usual.phases][::-1]
