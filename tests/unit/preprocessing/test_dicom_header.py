"""The quick header reader against pydicom, on what scanners and archives write."""

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from preprocessing.images.dicom import header
from preprocessing.images.dicom.file import NotPlainError, plain_elements
from preprocessing.images.dicom.header import read_slices
from preprocessing.images.dicom.slice_header import SliceHeader
from preprocessing.images.volumes import UnreadableImageError
from preprocessing.phantom.quirks import parse_quirks
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom

pytestmark = pytest.mark.slow


def result(path):
    """The header, or the finding's code."""
    try:
        return read_slices(path)[0]
    except UnreadableImageError as error:
        return error.finding.code


def by_pydicom(path):
    """The same through pydicom alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(header, "read_plain", lambda path: header.read_with_pydicom(path))
        return result(path)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """One file of each kind that any quirk of the phantom has."""
    folder = tmp_path_factory.mktemp("headers")
    names = parse_quirks(["all"])
    settings = PhantomSettings(patients=len(names), matrix=48, slices=16, quirks=names)
    write_phantom(folder, settings)
    return sorted(p for p in (folder / "Duke-Breast-Cancer-MRI").rglob("*") if p.is_file())


def test_every_header_is_the_one_pydicom_reads(spoilt):
    read = 0
    for path in spoilt[::5]:
        found = result(path)
        assert found == by_pydicom(path), path
        read += isinstance(found, SliceHeader)
    assert read > 500


def test_real_headers(real_data):
    paths = sorted((real_data / "duke_dicom").rglob("*.dcm"))
    assert paths
    for path in paths:
        assert isinstance(result(path), SliceHeader)
        assert result(path) == by_pydicom(path)


def test_most_files_need_no_pydicom(spoilt, monkeypatch):
    """Otherwise the quick reader would be right and of no use."""

    def refuse(path):
        raise AssertionError(path)

    monkeypatch.setattr(header, "read_with_pydicom", refuse)
    quick = [isinstance(result(p), SliceHeader) for p in spoilt[::5]]
    assert sum(quick) > 0.95 * len(quick)


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
def test_nested_sequences_are_stepped_over(tmp_path, make_series, explicit, undefined):
    path = make_series(tmp_path, np.ones((4, 4, 2), int), explicit=explicit)[0]
    data = pydicom.dcmread(path)
    inner = pydicom.Dataset()
    inner.ReferencedSOPInstanceUID = generate_uid()
    inner.SeriesDescription = "of another series"
    outer = pydicom.Dataset()
    outer.ReferencedImageSequence = [inner, pydicom.Dataset()]
    outer.is_undefined_length_sequence_item = undefined
    inner.is_undefined_length_sequence_item = undefined
    data.ReferencedSeriesSequence = [outer]
    for sequence in (data, outer):
        for element in sequence:
            if element.VR == "SQ":
                element.is_undefined_length = undefined
    data.add_new(0x00291010, "OB", bytes(40_000))  # a private block as vendors write them
    data.save_as(path, enforce_file_format=True)
    found = result(path)
    assert isinstance(found, SliceHeader)
    assert found == by_pydicom(path)
    assert found.description == "ax dyn pre"


@pytest.mark.parametrize("name", ["SÖNDERGÅRD dyn", "동적 dyn"])
def test_text_in_other_character_sets_is_left_to_pydicom(tmp_path, make_series, name):
    path = make_series(tmp_path, np.ones((4, 4, 2), int))[0]
    data = pydicom.dcmread(path)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SeriesDescription = name
    data.save_as(path, enforce_file_format=True)
    assert result(path).description == name


@given(st.data())
def test_damaged_bytes_end_in_a_header_or_a_finding(spoilt, tmp_path_factory, data):
    """Never in anything else: a cohort of a thousand patients has every kind of damage."""
    content = bytearray(spoilt[data.draw(st.integers(0, len(spoilt) - 1))].read_bytes())
    content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            at = data.draw(st.integers(0, min(len(content), 3000) - 1))
            content[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged", numbered=True) / "1-001.dcm"
    path.write_bytes(content)
    assert isinstance(result(path), (SliceHeader, str))


def test_file_meta_without_a_transfer_syntax_is_not_plain():
    with pytest.raises(NotPlainError, match="no transfer syntax"):
        plain_elements(bytes(128) + b"DICM" + bytes(64), {})


def test_both_plain_syntaxes_are_known(tmp_path, make_series):
    for explicit, syntax in ((False, ImplicitVRLittleEndian), (True, ExplicitVRLittleEndian)):
        path = make_series(tmp_path / str(explicit), np.ones((4, 4, 2), int), explicit=explicit)[0]
        found = plain_elements(path.read_bytes(), {0x00280010: "Rows"})
        assert (found.numbers, found.syntax) == ({"Rows": 4}, syntax)
