"""Volume files and manifests from elsewhere: they read nothing beside the cohort, and show no name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from preprocessing.cohort.cohort import Finding, VolumeFile
from preprocessing.images.volume_files import open_file
from preprocessing.images.volumes import UnreadableImageError
from preprocessing.storage.file_cache import FileCache
from tests.commands import call
from tests.security.planted import FAMILY, GIVEN, RECORD, Places, found_in
from tests.stores import preprocess_here
from tests.unit.preprocessing.volume_writers import (
    SHAPE,
    affine,
    manifest,
    mask,
    nifti,
    nrrd,
    phase,
)

SECRET = b"\x2a\x00\x80\x3f" * int(np.prod(SHAPE))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cohort's folder, and beside it a file that is long enough to be read as an image."""
    (tmp_path / "secret.raw").write_bytes(SECRET)
    (tmp_path / "cohort-too").mkdir()
    (tmp_path / "cohort-too" / "secret.raw").write_bytes(SECRET)
    folder = tmp_path / "cohort"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "inside.raw").write_bytes(phase(1).tobytes(order="F"))
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    os.mkfifo(folder / "pipe.raw")
    return folder


def refusal(path: Path, root: Path | None) -> Finding:
    with pytest.raises(UnreadableImageError) as error:
        open_file(VolumeFile(path, root=root), FileCache())
    return error.value.finding


OUTSIDE = [
    "../secret.raw", "../cohort-too/secret.raw", "sub/../../secret.raw", "link.raw", "/etc/passwd",
    "/dev/zero", "{root}/../secret.raw", "../secret.raw extra", "%03d/../../secret.raw 1 2 1",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("suffix", ["nhdr", "nrrd"])
def test_nrrd_reads_nothing_beside_the_cohort(root: Path, name: str, suffix: str) -> None:
    name = name.replace("{root}", str(root))
    path = nrrd(root / f"a.{suffix}", phase(0), data_file=name)
    finding = refusal(path, root)
    assert finding.code in ("path-outside", "image-missing"), finding
    assert "secret" not in finding.message


@pytest.mark.parametrize("again", ["data file: sub/inside.raw", "DataFile: sub/inside.raw"])
def test_each_of_several_names_counts(root: Path, again: str) -> None:
    for first, second in (
        ("../secret.raw", again),
        (again.partition(": ")[2], "data file: ../secret.raw"),
    ):
        path = nrrd(root / "a.nhdr", phase(0), data_file=first, extra=[second])
        assert refusal(path, root).code in ("path-outside", "image-unreadable")


@pytest.mark.parametrize("name", ["LIST\n../secret.raw", "list\nsub/inside.raw\n/etc/passwd"])
def test_lists_of_files(root: Path, name: str) -> None:
    path = nrrd(root / "a.nhdr", phase(0), data_file=name)
    assert refusal(path, root).code in ("path-outside", "image-unreadable")


@pytest.mark.parametrize("name", [*OUTSIDE, "LIST\n../secret.raw", "LIST 2D\n/etc/passwd"])
@pytest.mark.parametrize("suffix", ["mhd", "mha"])
def test_meta_images_read_nothing_beside_the_cohort(root: Path, name: str, suffix: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(phase(0).transpose(2, 1, 0)), str(root / "ok.mhd"))
    text = (root / "ok.mhd").read_text().replace("ok.raw", name.replace("{root}", str(root)))
    (root / f"a.{suffix}").write_text(text)
    assert refusal(root / f"a.{suffix}", root).code in ("path-outside", "image-missing")


@pytest.mark.parametrize(
    "lines",
    [
        "elementdatafile = inside.raw\nElementDataFile = {0}",
        "ElementDataFile = {0}\nElementDataFile = inside.raw",
        "HeaderSize = 0 ElementDataFile = {0}\nElementDataFile = inside.raw",
        "ElementDataFile : {0}",
        "ElementDataFile={0}",
        "ElementDataFile = {0} %d 1 2 1",
        "ElementDataFile = LIST\n\n{0}",
    ],
)
def test_decoys_in_meta_images(root: Path, lines: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(phase(0).transpose(2, 1, 0)), str(root / "ok.mhd"))
    (root / "inside.raw").write_bytes((root / "ok.raw").read_bytes())
    head = (root / "ok.mhd").read_text().partition("ElementDataFile")[0]
    (root / "a.mhd").write_text(head + lines.format("../secret.raw") + "\n")
    assert refusal(root / "a.mhd", root).code in ("path-outside", "image-unreadable")


@pytest.mark.parametrize(
    "lines",
    [
        "data file: LIST\n\n{0}",
        "DATA FILE: {0}",
        " data file: {0}",
        "data file: {0}\rcontent: x",
        "data file: sub/inside.raw %d 1 1 1\ndata file: {0}",
    ],
)
def test_decoys_in_nrrd(root: Path, lines: str) -> None:
    path = nrrd(root / "a.nhdr", phase(0), extra=lines.format("../secret.raw").split("\n"))
    assert refusal(path, root).code in ("path-outside", "image-unreadable")


def test_pipes_are_not_read_as_voxels(root: Path) -> None:
    assert refusal(nrrd(root / "a.nhdr", phase(0), data_file="pipe.raw"), root).code == "not-a-file"


def test_a_header_in_a_folder_of_the_cohort(root: Path) -> None:
    """The cohort's folder is what counts, not the header's own; by itself, its own."""
    (root / "other").mkdir()
    path = nrrd(root / "other" / "a.nhdr", phase(0), data_file="../sub/inside.raw")
    volume = open_file(VolumeFile(path, root=root), FileCache())
    assert volume.grid.shape == (SHAPE[1], SHAPE[0], SHAPE[2])
    assert refusal(path, None).code == "path-outside"


def test_a_pair_whose_image_is_a_link(root: Path) -> None:
    content = nifti(root / "a.nii", phase(0), changes={108: bytes(4), 344: b"ni1\0"}).read_bytes()
    (root / "b.hdr").write_bytes(content[:348])
    (root / "b.img").symlink_to(root.parent / "secret.raw")
    assert refusal(root / "b.hdr", root).code == "path-outside"


def plant(folder: Path) -> Path:
    """A cohort whose files, folders and cells are named after a person."""
    name = f"{FAMILY}_{GIVEN}_{RECORD}_1961-02-03"
    nan = phase(1)
    nan[0, 0, :3] = np.nan
    nifti(folder / f"{name}_pre.nii.gz", phase(0))
    nifti(folder / f"{name}_post.nii.gz", nan)
    nifti(folder / f"{name}_all.nii.gz", np.stack([phase(0), phase(1), phase(2)], axis=-1))
    nrrd(folder / f"{name}_post.nrrd", phase(2))
    nifti(folder / f"{name}_mask.nii", mask())
    nifti(folder / f"{name}_labels.nii", np.arange(mask().size).reshape(SHAPE).astype(np.int16) % 3)
    nifti(folder / f"{name}_moved.nii", mask(), affine() + np.eye(4, k=3) * 9)
    nifti(folder / f"{name}_cut.nii.gz", phase(1)[:20])
    nifti(folder / f"{name}_small.nii.gz", phase(0), affine() * [1.2, 1, 1, 1])
    nifti(folder / f"{name}_sheared.nii", phase(0), changes={284: b"\0\0\x80\x3f"})
    nrrd(folder / f"{name}.nhdr", phase(0), data_file=f"../{name}.raw")
    nrrd(folder / f"{name}_bad.nrrd", phase(0), extra=[f"sizes: {name}"])
    nrrd(
        folder / f"{name}.seg.nrrd",
        mask(),
        extra=[
            f"Segment{n}_{key}" for n in (0, 1) for key in (f"Name:={name}", f"LabelValue:={n + 1}")
        ],
    )
    (folder / f"{name}_text.nii.gz").write_text(name)
    for empty in (f"{name}_series", f"{name}_seg"):
        (folder / empty).mkdir()
    (folder / f"{name}_seg" / f"{name}.txt").write_text(name)
    rows = [
        "{0}_pre.nii.gz,{0}_post.nii.gz,{0}_post.nrrd,{0}_mask.nii,",
        "{0}_all.nii.gz,,,{0}_mask.nii,",
        "{0}_all.nii.gz,{0}_post.nii.gz,,{0}_mask.nii,",
        "{0}_pre.nii.gz,{0}_gone.nii.gz,{0}_post.nrrd,{0}_mask.nii,",
        "{0}_pre.nii.gz,{0}_small.nii.gz,{0}_post.nrrd,{0}_mask.nii,",
        "{0}_pre.nii.gz,{0}_cut.nii.gz,{0}_post.nrrd,{0}_mask.nii,",
        "{0}_pre.nii.gz,{0}_sheared.nii,{0}_post.nrrd,{0}_mask.nii,",
        "{0}_pre.nii.gz,../{0}.nii,{0}_post.nrrd,{0}_mask.nii,",
        "{0}_pre.nii.gz,{0}.nhdr,{0}_post.nrrd,{0}_mask.nii,",
        "{0}_pre.nii.gz,{0}_bad.nrrd,{0}_post.nrrd,{0}_mask.nii,",
        "{0}_pre.nii.gz,{0}_text.nii.gz,{0}_post.nrrd,{0}_mask.nii,",
        "{0}_pre.nii.gz,{0}_series,{0}_post.nrrd,{0}_mask.nii,",
        "{0}_pre.nii.gz,{0}_post.nii.gz,{0}_post.nrrd,{0}_labels.nii,",
        "{0}_pre.nii.gz,{0}_post.nii.gz,{0}_post.nrrd,{0}_labels.nii,{0}",
        "{0}_pre.nii.gz,{0}_post.nii.gz,{0}_post.nrrd,{0}_moved.nii,",
        "{0}_pre.nii.gz,{0}_post.nii.gz,{0}_post.nrrd,{0}.seg.nrrd,",
        "{0}_pre.nii.gz,{0}_post.nii.gz,{0}_post.nrrd,{0}_seg,",
        "{0}_pre.nii.gz,{0}_post.nii.gz,{0}_post.nrrd,../{0}.nii,",
    ]  # fmt: skip
    return manifest(folder, *(f"p{n:02d},{row.format(name)},{n % 2}" for n, row in enumerate(rows)))


@pytest.mark.slow
def test_no_name_of_a_file_is_in_anything_written_or_said(tmp_path: Path) -> None:
    cohort, out = tmp_path / "cohort", tmp_path / "out"
    cohort.mkdir()
    out.mkdir()
    path = plant(cohort)
    places = Places(out)
    places.said += call("cohort", "check", path, "--json", out / "check.json")
    options = ("--bias-engine", "none", "--crop-shape", 16, 16, 8)
    places.said += preprocess_here(path, out / "store", *options)
    places.said += call("qc", out / "store", "--out", out / "qc", "--workers", 1)
    words = (FAMILY, GIVEN, RECORD, "73519284", "1961-02-03", FAMILY.upper(), FAMILY.lower())
    assert found_in(places, words) == []
    checked = json.loads((out / "check.json").read_text())["patients"]
    assert sum(p["usable"] for p in checked) >= 3
    excluding = {f["code"] for p in checked for f in p["findings"] if f["excludes"]}
    assert excluding == {
        "phases-in-one-file", "image-missing", "phases-differ", "image-sheared", "path-outside",
        "image-unreadable", "series-empty", "mask-labels-unclear", "mask-label-unreadable",
        "mask-no-segmentation",
    }  # fmt: skip
