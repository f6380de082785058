"""An unforeseen error is one patient's finding: the run goes on and says so."""

import errno
import re

import pytest

from preprocessing.common.errors import InputError
from preprocessing.images import load_patient
from preprocessing.images.volumes import CODE, finding_of, is_of_one_patient
from preprocessing.store import Store
from tests.commands import attempt, call
from tests.intake import SHAPE, Examination, write_workbooks
from tests.stores import preprocess_here

CROP = ("--crop-shape", *SHAPE, "--bias-engine", "none")
IDS = ("Breast_MRI_001", "Breast_MRI_002")


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_finding_names_the_error_and_the_place_but_no_value():
    try:
        load_patient.choose_phases("SMITH", None)
    except AttributeError as error:
        found = finding_of(error)
    assert found.code == CODE
    assert found.excludes
    assert re.search(
        r"AttributeError .* in preprocessing/images/load_patient\.py, line \d+, choose_phases",
        found.message,
    )
    assert "SMITH" not in found.message
    assert "Secret" not in finding_of(raised(KeyError("Secret^Name"))).message


@pytest.mark.parametrize(
    ("error", "of_one_patient"),
    [
        (KeyError("x"), True),
        (RecursionError(), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (MemoryError(), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (InputError("the user's own"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_is_about_one_patient(error, of_one_patient):
    assert is_of_one_patient(raised(error)) is of_one_patient


def test_a_file_that_cannot_be_read_is_no_error_of_ours():
    found = finding_of(raised(OSError(errno.EIO, "Input/output error", "/data/SMITH.dcm")))
    assert found.code == "files-unreadable"
    assert "SMITH" not in found.message


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """Two patients; in the work on the first our own code fails."""
    root = tmp_path / "cohort"
    for patient_id in IDS:
        Examination(root, patient_id).phases()
    write_workbooks(root, IDS)
    sound = load_patient.find_phases

    def fail(examination, *words, **options):
        if "001" in str(examination.folder):
            return {}["a key that is not there"]
        return sound(examination, *words, **options)

    monkeypatch.setattr(load_patient, "find_phases", fail)
    return root


def test_a_run_goes_on_and_ends_with_status_1(cohort, tmp_path, monkeypatch):
    store = tmp_path / "store"
    with pytest.raises(AssertionError, match="please report it"):
        preprocess_here(cohort, store, *CROP)  # expects status 0
    assert [r.status for r in Store.open(str(store)).records] == ["stored"]
    (excluded,) = Store.open(str(store)).excluded
    (found,) = excluded.findings
    assert found.code == CODE
    assert "find" in found.message
    assert excluded.input_digest is None
    monkeypatch.undo()
    out, _ = preprocess_here(cohort, store, *CROP)
    assert "2 patients stored, 0 excluded; 1 were done before, 1 now" in out


def test_check_goes_on_and_ends_with_status_1(cohort, tmp_path):
    done = attempt("cohort", "check", cohort, "--phases", tmp_path / "phases.csv")
    assert done.status == 1
    assert "1 usable, 1 not" in done.out
    assert f"[{CODE}]" in done.out
    assert "please report it" in done.error
    assert "Traceback" not in done.error
    assert IDS[1] in (tmp_path / "phases.csv").read_text()


def test_all_is_well_with_status_0(tmp_path):
    Examination(tmp_path, IDS[0]).phases()
    write_workbooks(tmp_path, IDS[:1])
    call("cohort", "check", tmp_path)


def test_a_sentence_about_something_long_keeps_its_ends() -> None:
    text = str(InputError(f"table x: patient {'A' * 100_000!r} is there twice: delete one"))
    assert text.startswith("table x: patient 'AAA")
    assert text.endswith("AAA' is there twice: delete one")
    assert len(text) < 2000
