"""Files that hold a whole volume: NIfTI, NRRD and what else SimpleITK reads, DICOM segmentations."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from preprocessing.cohort import Box, Finding, VolumeFile
from preprocessing.dicom_seg import is_segmentation, read_segmentation
from preprocessing.geometry import Grid
from preprocessing.shown_names import shown_reason
from preprocessing.staging import Stage
from preprocessing.volume_place import tells_place
from preprocessing.volumes import UnreadableImageError

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])


class FileVolume:
    """A NIfTI or NRRD file. Columns are its first axis, rows its second, slices its third.

    Parameters
    ----------
    is_part
        Whether what lies beyond its edge is 0, as in a DICOM segmentation.
    has_place
        Whether the header says where the voxels lie in the patient.
    """

    def __init__(
        self,
        name: str,
        grid: Grid,
        voxels: NDArray[np.float32],
        *,
        is_part: bool = False,
        has_place: bool = True,
    ) -> None:
        self.name = name
        self.is_part = is_part
        self.has_place = has_place
        self.grid = grid
        self.time_s: float | None = None
        self.covariates: dict[str, str | float | None] = {}
        self.findings: tuple[Finding, ...] = ()
        self._voxels = voxels

    def box_to_positions(self, box: Box) -> Box:
        """Return the box: the file's own slices are its positions."""
        return box

    def read(self, part: Box, step: int = 1) -> NDArray[np.float32]:
        """Return the voxels of `part`, every `step`-th slice."""
        (r0, c0, s0), (r1, c1, s1) = part.start, part.stop
        return self._voxels[r0:r1, c0:c1, s0:s1:step]


def open_file(source: VolumeFile, stage: Stage) -> FileVolume:
    """Open a NIfTI, NRRD or other image file that SimpleITK reads, or a DICOM segmentation.

    Raises
    ------
    UnreadableImageError
        If it is missing, damaged, or no 3D image.
    """
    path = source.path
    if not path.exists():
        raise UnreadableImageError(Finding("image-missing", f"image file {path.name} is not there"))
    # Outside of the block below: a network that fails says nothing about the image.
    local = stage.local([path])[0]
    is_part = False
    try:
        if _is_nifti(path):
            voxels, affine = _read_nifti(local)
        elif is_segmentation(local):
            is_part = True
            voxels, affine = read_segmentation(local, source.segment)
        else:
            voxels, affine = _read_itk(local)
    except UnreadableImageError:
        raise
    # The readers raise anything from EOFError to their own types on damaged files.
    except Exception as error:
        raise UnreadableImageError(
            Finding(
                "image-unreadable", f"image file {path.name} cannot be read: {shown_reason(error)}"
            )
        ) from error
    if voxels.ndim != 3:
        raise UnreadableImageError(
            Finding("image-not-3d", f"image file {path.name} has shape {voxels.shape}, expected 3D")
        )
    rows, columns, slices = voxels.shape
    grid = Grid.from_array((rows, columns, slices), affine)
    has_place = is_part or tells_place(local)
    return FileVolume(path.name, grid, voxels, is_part=is_part, has_place=has_place)


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _read_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    # nibabel and not ITK, which refuses directions that are not exactly orthonormal.
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    if voxels.ndim == 4 and voxels.shape[3] == 1:
        voxels = voxels[..., 0]
    affine = _LPS_FROM_RAS @ image.affine[:3]
    return voxels.swapaxes(0, 1), affine[:, [1, 0, 2, 3]]


def _read_itk(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    image = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(image).astype(np.float32)
    if image.GetDimension() != 3 or voxels.ndim != 3:
        return voxels, np.eye(3, 4)
    directions = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine = np.column_stack([directions[:, [1, 0, 2]], image.GetOrigin()])
    return np.moveaxis(voxels, 0, 2), affine
