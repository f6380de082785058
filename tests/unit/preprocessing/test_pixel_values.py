"""Voxels of every pixel format against pydicom's rescale, SimpleITK and the standard's own words."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import apply_rescale
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from preprocessing.cohort.cohort import Box, DicomSeries
from preprocessing.images.dicom.header import read_slices_or_finding
from preprocessing.images.dicom.pixels import read_stored
from preprocessing.images.dicom.series import check_values, on_one_scale, open_series
from preprocessing.images.volumes import UnreadableImageError

ROWS, COLUMNS, SLICES = 6, 5, 2
WHOLE = Box((0, 0, 0), (ROWS, COLUMNS, SLICES))
RAW = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian,
       DeflatedExplicitVRLittleEndian)  # fmt: skip
NONE, MIXED, TURNED = (None, None), ("0.37", "-1012.5"), ("-2", "100")


# Encoders refuse, or break on, images of a few pixels.
LARGER = (40, 32)


def words_of(allocated, seed=0, shape=(ROWS, COLUMNS)):
    """Random bits, those that are no pixel's included, (slice, row, column)."""
    top = 2**allocated
    return np.random.default_rng(seed).integers(
        0, top, (SLICES, *shape), dtype=np.uint64
    ).astype(f"u{allocated // 8}")  # fmt: skip


def pixel_bits(words, stored, high, signed):
    """DICOM part 5, 8.1.1: the bits from HighBit down, BitsStored of them, in two's complement."""
    allocated = words.dtype.itemsize * 8
    left = words << np.array(allocated - 1 - high, words.dtype)
    kind = "i" if signed else "u"
    return left.view(f"{kind}{words.dtype.itemsize}") >> (allocated - stored)


def dataset(k, allocated, stored, high, signed, shape=(ROWS, COLUMNS), **elements):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, generate_uid()
    ds.Modality, ds.SeriesDescription = "MR", "ax dyn pre"
    ds.SeriesInstanceUID = "1.2.3"
    ds.InstanceNumber = k + 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 2 * k], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [1, 1]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, stored, high
    ds.PixelRepresentation = int(signed)
    for keyword, value in elements.items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def save(ds, path, syntax, pixels, vr="OW"):
    compressed = syntax not in RAW
    ds.PixelData = pixels
    ds["PixelData"].VR = "OB" if compressed else vr
    ds["PixelData"].is_undefined_length = compressed
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def raw_bytes(words, syntax, vr="OW"):
    if syntax == ExplicitVRBigEndian:
        if words.dtype.itemsize == 1:
            return words.tobytes() if vr == "OB" else words.ravel().view("<u2").byteswap().tobytes()
        return words.byteswap().tobytes()
    return words.tobytes()


def by_gdcm(plane, compressor):
    """One frame compressed without loss by SimpleITK's GDCM."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "slice.dcm")
        writer.SetFileName(path)
        writer.Execute(sitk.GetImageFromArray(plane))
        return b"".join(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))


def write_compressed(folder, planes, syntax, stored, signed, **elements):
    """Write planes of proper values (slice, row, column), sign extended, compressed."""
    allocated = planes.dtype.itemsize * 8
    paths = []
    for k, plane in enumerate(planes):
        ds = dataset(k, allocated, stored, stored - 1, signed, plane.shape, **elements)
        path = folder / f"1-{k + 1}.dcm"
        if syntax in (RLELossless, JPEGLSLossless):
            save(ds, path, ExplicitVRLittleEndian, plane.tobytes())
            ds.compress(syntax, encoding_plugin="pydicom" if syntax == RLELossless else "pyjpegls",
                        generate_instance_uid=False)  # fmt: skip
            ds.save_as(path, enforce_file_format=True)
        else:
            compressor = "JPEG2000" if syntax == JPEG2000Lossless else "JPEG"
            save(ds, path, syntax, encapsulate([by_gdcm(plane, compressor)]))
        paths.append(path)
    return paths


def voxels(paths):
    volume = open_series(DicomSeries(tuple(paths), "series"))
    return volume.read(Box((0, 0, 0), volume.grid.shape))


def rescaled(stored, slope, intercept):
    values = stored.astype(np.float64) * float(slope or 1) + float(intercept or 0)
    return np.moveaxis(values.astype(np.float32), 0, 2)


@pytest.mark.parametrize("syntax", RAW)
@pytest.mark.parametrize(("slope", "intercept"), [NONE, MIXED, TURNED])
def test_raw_pixels_are_their_own_bits(tmp_path, syntax, slope, intercept):
    formats = [(8, 8), (8, 6), (16, 16), (16, 12), (16, 1), (32, 32), (32, 24)]
    for n, ((allocated, stored), signed) in enumerate(itertools.product(formats, (False, True))):
        for high in {stored - 1, allocated - 1, (stored + allocated) // 2 - 1}:
            words = words_of(allocated, n)
            vr = "OB" if allocated == 8 else "OW"
            paths = [
                save(
                    dataset(k, allocated, stored, high, signed, RescaleSlope=slope,
                            RescaleIntercept=intercept),
                    tmp_path / f"{n}-{high}-{k}.dcm", syntax, raw_bytes(plane, syntax, vr), vr,
                )
                for k, plane in enumerate(words)
            ]  # fmt: skip
            expected = rescaled(pixel_bits(words, stored, high, signed), slope, intercept)
            np.testing.assert_array_equal(voxels(paths), expected, f"{allocated} {stored} {high}")
            if high == stored - 1:
                # pydicom knows no other HighBit.
                read = [pydicom.dcmread(p) for p in paths]
                theirs = [apply_rescale(d.pixel_array, d) for d in read]
                np.testing.assert_allclose(voxels(paths), np.stack(theirs, axis=2), rtol=1e-7)


def test_eight_bits_in_big_endian_words_are_swapped_back(tmp_path):
    words = words_of(8)
    paths = [
        save(
            dataset(k, 8, 8, 7, signed=False), tmp_path / f"{k}.dcm", ExplicitVRBigEndian,
            raw_bytes(plane, ExplicitVRBigEndian),
        )
        for k, plane in enumerate(words)
    ]  # fmt: skip
    theirs = [pydicom.dcmread(p).pixel_array for p in paths]
    np.testing.assert_array_equal(theirs, words)
    np.testing.assert_array_equal(voxels(paths), np.moveaxis(words, 0, 2))


COMPRESSED = [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1]


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize(("slope", "intercept"), [NONE, MIXED])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_compressed_pixels_are_those_stored(tmp_path, syntax, slope, intercept, photometric):
    formats = [(8, 8), (16, 16), (16, 12)]
    for n, ((allocated, stored), signed) in enumerate(itertools.product(formats, (False, True))):
        planes = pixel_bits(words_of(allocated, n, LARGER), stored, stored - 1, signed)
        paths = write_compressed(
            tmp_path / str(n), planes, syntax, stored, signed, RescaleSlope=slope,
            RescaleIntercept=intercept, PhotometricInterpretation=photometric,
        )  # fmt: skip
        expected = rescaled(planes, slope, intercept)
        np.testing.assert_array_equal(voxels(paths), expected, f"{allocated} {stored} {signed}")
        if stored == allocated and slope is None:
            theirs = [sitk.GetArrayFromImage(sitk.ReadImage(str(p)))[0] for p in paths]
            if photometric == "MONOCHROME1":
                # SimpleITK turns such pictures over, pydicom does not.
                theirs = [np.iinfo(t.dtype).max + np.iinfo(t.dtype).min - t for t in theirs]
            np.testing.assert_array_equal(np.stack(theirs, axis=2), expected)
        if syntax in (RLELossless, JPEGLSLossless):
            read = [pydicom.dcmread(p) for p in paths]
            theirs = [apply_rescale(d.pixel_array, d) for d in read]
            np.testing.assert_allclose(np.stack(theirs, axis=2), expected, rtol=1e-7)


@pytest.mark.parametrize("signed", [False, True])
def test_rle_keeps_bits_that_are_no_pixels(tmp_path, signed):
    words = words_of(16)
    paths = []
    for k, plane in enumerate(words):
        ds = dataset(k, 16, 16, 15, signed=False)
        path = save(ds, tmp_path / f"{k}.dcm", ExplicitVRLittleEndian, plane.tobytes())
        ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 10, 12, int(signed)
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    expected = np.moveaxis(pixel_bits(words, 10, 12, signed), 0, 2)
    np.testing.assert_array_equal(voxels(paths), expected)


def test_overlay_in_unused_bits_is_no_pixel(tmp_path):
    """As pydicom's own example with an overlay, whose plane 12 is set here."""
    picture = words_of(16) & 0x0FFF
    overlay = words_of(16, seed=1) & 0x1000
    paths = []
    for k, plane in enumerate(picture | overlay):
        ds = dataset(k, 16, 12, 11, signed=False)
        ds.add_new(0x60000100, "US", 16)
        ds.add_new(0x60000102, "US", 12)
        paths.append(save(ds, tmp_path / f"{k}.dcm", ExplicitVRLittleEndian, plane.tobytes()))
    np.testing.assert_array_equal(voxels(paths), np.moveaxis(picture, 0, 2))


def test_compressed_in_several_pieces(tmp_path):
    plane = words_of(16, shape=LARGER)[0]
    frame = by_gdcm(plane, "JPEG2000")
    paths = []
    for k in range(SLICES):
        ds = dataset(k, 16, 16, 15, signed=False, shape=LARGER)
        pieces = encapsulate([frame], fragments_per_frame=3)
        paths.append(save(ds, tmp_path / f"{k}.dcm", JPEG2000Lossless, pieces))
    np.testing.assert_array_equal(voxels(paths), np.repeat(plane[:, :, None], SLICES, axis=2))


def slope_of_each(tmp_path, slopes, **elements):
    words = words_of(16)
    paths = [
        save(
            dataset(k, 16, 16, 15, signed=False, RescaleSlope=slope, RescaleIntercept="0", **elements),
            tmp_path / f"{k}.dcm", ExplicitVRLittleEndian, plane.tobytes(),
        )
        for k, (plane, slope) in enumerate(zip(words, slopes, strict=True))
    ]  # fmt: skip
    return words, paths


def test_each_slice_is_rescaled_by_its_own_slope(tmp_path):
    _, paths = slope_of_each(tmp_path, ["1", "2.5"])
    read = [pydicom.dcmread(p) for p in paths]
    theirs = np.stack([apply_rescale(d.pixel_array, d) for d in read], axis=2)
    volume = open_series(DicomSeries(tuple(paths), "series"))
    (volume,), findings = on_one_scale([volume])
    np.testing.assert_allclose(volume.read(WHOLE), theirs, rtol=1e-7)
    assert [f.code for f in findings] == ["rescale-differs"]


def philips(path, scale, slope, intercept, block=0x10, implicit=False, patch=None):
    """Give a file Philips's private elements, as its scanners do."""
    ds = pydicom.dcmread(path)
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    ds.add_new(0x20050000 | block, "LO", "Philips MR Imaging DD 001")
    ds.add_new(0x2005000E | block << 8, "FL", scale)
    if implicit:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    if patch:
        patch(ds)
    ds.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("block", [0x10, 0x12])
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 192"])
def test_philips_phases_are_read_on_its_own_scale(tmp_path, block, implicit, character_set):
    """Chenevert 2014: (PV × RS + RI) / (RS × SS)."""
    scales = [("1.5", "-3", 0.25), ("3", "7", 0.5)]
    volumes, truths = [], []
    for p, (slope, intercept, scale) in enumerate(scales):
        words, paths = slope_of_each(
            tmp_path / str(p), ["1"] * SLICES, SpecificCharacterSet=character_set
        )
        for path in paths:
            philips(path, scale, slope, intercept, block, implicit)
        volumes.append(open_series(DicomSeries(tuple(paths), f"phase {p}")))
        values = (words * float(slope) + float(intercept)) / (float(slope) * scale)
        truths.append(np.moveaxis(values, 0, 2))
    read, findings = on_one_scale(volumes)
    assert [f.code for f in findings] == ["philips-scale"]
    for volume, truth in zip(read, truths, strict=True):
        np.testing.assert_allclose(volume.read(WHOLE), truth, rtol=1e-6)


def test_philips_phases_on_one_scale_are_merely_rescaled(tmp_path):
    words, paths = slope_of_each(tmp_path, ["1"] * SLICES)
    for path in paths:
        philips(path, 0.01, "2", "5")
    volume = open_series(DicomSeries(tuple(paths), "series"))
    (volume,), findings = on_one_scale([volume])
    assert findings == []
    np.testing.assert_array_equal(volume.read(WHOLE), np.moveaxis(words * 2.0 + 5, 0, 2))


def codes_of(tmp_path, changes, change=None):
    """Codes of what two phases are found to be, given what differs in the second."""
    phases = []
    for p, elements in enumerate(({}, changes)):
        _, paths = slope_of_each(tmp_path / str(p), ["1"] * SLICES, **elements)
        phases.append([h for path in paths for h in read_slices_or_finding(path)])
    return [(f.code, f.excludes) for f in check_values(phases).findings]


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"PhotometricInterpretation": "MONOCHROME1"}, [("photometric-mixed", True)]),
        ({"RescaleType": "US"}, []),
        ({"LossyImageCompression": "01"}, [("lossy-compression", False)]),
    ],
)
def test_phases_are_compared(tmp_path, changes, codes):
    assert codes_of(tmp_path, changes) == codes


def test_inverted_pictures_are_taken_as_stored_and_noted(tmp_path):
    words, paths = slope_of_each(tmp_path, ["1"] * SLICES, PhotometricInterpretation="MONOCHROME1")
    volume = open_series(DicomSeries(tuple(paths), "series"))
    (volume,), findings = on_one_scale([volume])
    np.testing.assert_array_equal(volume.read(WHOLE), np.moveaxis(words, 0, 2))
    assert [f.code for f in findings] == ["photometric-inverted"]


def test_other_units_are_no_phases_of_one_patient(tmp_path):
    phases = []
    for p, unit in enumerate(("normalized", "US", "OD")):
        _, paths = slope_of_each(tmp_path / str(p), ["1"] * SLICES, RescaleType=unit)
        phases.append([h for path in paths for h in read_slices_or_finding(path)])
    assert check_values(phases[:2]).findings == ()
    (finding,) = check_values(phases).findings
    assert (finding.code, finding.excludes) == ("rescale-units", True)


def test_some_phases_without_philips_scale(tmp_path):
    phases = []
    for p, scale in enumerate((0.25, 0.5, None)):
        _, paths = slope_of_each(tmp_path / str(p), ["1"] * SLICES)
        if scale:
            for path in paths:
                philips(path, scale, "1", "0")
        phases.append([h for path in paths for h in read_slices_or_finding(path)])
    (finding,) = check_values(phases).findings
    assert (finding.code, finding.excludes) == ("philips-scale-missing", True)
    assert check_values(phases[1:]).findings == ()


def colour(ds):
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = bytes(3 * 2 * ROWS * COLUMNS)


def floats(ds):
    del ds.PixelData
    ds.BitsAllocated = 32
    ds.FloatPixelData = bytes(4 * ROWS * COLUMNS)


def table(ds):
    lut = Dataset()
    lut.LUTDescriptor, lut.ModalityLUTType = [4, 0, 16], "US"
    lut.LUTData = b"\0\1\0\2\0\3\0\4"
    lut["LUTData"].VR = "OW"
    ds.ModalityLUTSequence = [lut]
    del ds.RescaleSlope, ds.RescaleIntercept


def setting(**elements):
    return lambda ds: [setattr(ds, k, v) for k, v in elements.items()]


@pytest.mark.parametrize(
    ("change", "code", "excludes"),
    [
        (setting(RescaleSlope="0"), "rescale-unusable", True),
        (setting(RescaleIntercept="1e12"), "rescale-unusable", True),
        (setting(RescaleSlope="1e38"), "rescale-unusable", True),
        (table, "modality-lut", True),
        (floats, "dicom-pixel-format", True),
        (setting(BitsStored=17), "dicom-pixel-format", True),
        (setting(HighBit=16), "dicom-pixel-format", True),
        (setting(BitsStored=12, HighBit=10), "dicom-pixel-format", True),
        (setting(BitsAllocated=1, BitsStored=1, HighBit=0), "dicom-pixel-format", True),
        (setting(BitsAllocated=12, BitsStored=12, HighBit=11), "dicom-pixel-format", True),
        (setting(Rows=0), "dicom-pixel-format", True),
        (setting(PixelData=b"\0" * 10), "dicom-damaged", True),
        (colour, "dicom-not-a-phase", False),
        (setting(PhotometricInterpretation="PALETTE COLOR"), "dicom-not-a-phase", False),
        (setting(SOPClassUID="1.2.840.10008.5.1.4.1.1.30"), "dicom-not-a-phase", False),
    ],
)
@pytest.mark.parametrize("implicit", [False, True])
def test_what_cannot_be_honoured_is_refused(tmp_path, change, code, excludes, implicit):
    _, paths = slope_of_each(tmp_path, ["1"] * SLICES)
    ds = pydicom.dcmread(paths[1])
    change(ds)
    if implicit:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.save_as(paths[1], enforce_file_format=True)
    found = read_slices_or_finding(paths[1])
    assert (found.code, found.excludes) == (code, excludes)


def test_pixels_that_say_they_are_shorter_are_not_read_past_their_end(tmp_path):
    """What follows them in the file is no pixel."""
    _, paths = slope_of_each(tmp_path, ["1"] * SLICES)
    ds = pydicom.dcmread(paths[0])
    ds.PixelData = ds.PixelData[:-20]
    ds.DataSetTrailingPadding = bytes(200)
    ds.save_as(paths[0], enforce_file_format=True)
    assert read_slices_or_finding(paths[0]).code == "dicom-damaged"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.201", "1.2.840.113619.5.2"])
def test_syntaxes_that_are_not_read_are_named_as_such(tmp_path, syntax):
    ds = dataset(0, 16, 16, 15, signed=False)
    path = save(ds, tmp_path / "1.dcm", ExplicitVRLittleEndian, words_of(16)[0].tobytes())
    content = path.read_bytes()
    old = b"1.2.840.10008.1.2.1\0"
    start, end = content.split(old, 1)
    # The element's length and the group's change with it.
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    start = start[:-2] + len(new).to_bytes(2, "little")
    size = int.from_bytes(start[140:144], "little") + len(new) - len(old)
    path.write_bytes(start[:140] + size.to_bytes(4, "little") + start[144:] + new + end)
    found = read_slices_or_finding(path)
    assert found.code == "dicom-pixel-format"
    assert ("High-Throughput" in found.message) == (syntax == "1.2.840.10008.1.2.4.201")
    assert "113619" not in found.message


def test_compressed_pixels_without_an_end_are_read(tmp_path):
    planes = words_of(16, shape=LARGER)
    paths = write_compressed(tmp_path, planes, RLELossless, 16, signed=False)
    for path in paths:
        content = path.read_bytes()
        assert content[-8:] == b"\xfe\xff\xdd\xe0\0\0\0\0"
        path.write_bytes(content[:-8])
    np.testing.assert_array_equal(voxels(paths), np.moveaxis(planes, 0, 2))
    paths[0].write_bytes(paths[0].read_bytes()[:-2])
    assert read_slices_or_finding(paths[0]).code == "dicom-damaged"


def test_values_that_compression_gives_beyond_the_bits_are_refused(tmp_path):
    plane = np.full(LARGER, 5000, np.uint16)
    paths = []
    for k in range(SLICES):
        ds = dataset(k, 16, 12, 11, signed=False, shape=LARGER)
        frame = encapsulate([by_gdcm(plane, "JPEG")])
        paths.append(save(ds, tmp_path / f"{k}.dcm", JPEGLosslessSV1, frame))
    with pytest.raises(UnreadableImageError, match="go from 5000 to 5000, expected unsigned"):
        voxels(paths)


@pytest.mark.parametrize(
    "name", ["J2K_pixelrep_mismatch.dcm", "693_J2KI.dcm", "MR_small_jpeg_ls_lossless.dcm"]
)
def test_files_of_other_writers(tmp_path, name):
    """Files that pydicom brings along, read by its own decoders; of CT, too, under MR's name."""
    read = pydicom.dcmread(pydicom.data.get_testdata_file(name, download=False))
    read.Modality = "MR"
    path = tmp_path / name
    read.save_as(path)
    (header,) = read_slices_or_finding(path)
    np.testing.assert_array_equal(read_stored(header, 0, read.Rows), read.pixel_array)
