"""One new patient's tensor: what ``radiotrain preprocess`` would have stored, bit for bit.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preprocessing.cohort.cohort import Finding, Patient
from preprocessing.common.config import PreprocessConfig
from preprocessing.common.errors import InputError
from preprocessing.images.load_patient import OpenedPatient, open_patient
from preprocessing.images.volumes import finding_of, is_of_one_patient
from preprocessing.pipeline.process_patient import place_crop, process_opened
from preprocessing.storage.file_cache import file_cache
from preprocessing.store import REGION_PADDING, REGION_TUMOUR, PatientRecord, quantise
from preprocessing.store.layout import bias_shape
from radiotrain.data.voxels import NormalisationRule, for_network
from radiotrain.new_patient.dicom_source import DicomSource, instance_numbers, read_source
from radiotrain.new_patient.identity import check_belongs, check_same_person

_WHAT_TO_DO = {
    "box-outside": "correct the box; rows, columns and slices count from 0",
    "mask-differs": "name a segmentation that was drawn on these images",
    "mask-empty": "name one that marks the tumour",
    "mask-implausible": "name one that marks the tumour alone",
    "mask-labels-unclear": "name it by --segment",
    "phase-constant": "give the phase's images, or leave the phase out",
    "phase-mostly-zero": "give the phase's images, or leave the phase out",
    "phases-equal": "give each phase once",
    "segment-unclear": "name it by --segment",
    "too-few-phases": "give the whole examination, or a model that reads fewer phases",
}


class UnusablePatientError(InputError):
    """Images that no prediction can be made of, with the finding that says why."""

    def __init__(self, finding: Finding) -> None:
        what_to_do = _WHAT_TO_DO.get(finding.code)
        super().__init__(
            f"no prediction can be made: {finding.message} ({finding.code})"
            + (f": {what_to_do}" if what_to_do else "")
        )
        self.finding = finding

    def __reduce__(self) -> tuple[type[UnusablePatientError], tuple[Finding]]:
        """Keep the finding when crossing processes."""
        return type(self), (self.finding,)


@dataclass(frozen=True)
class Prepared:
    """A patient as a store would hold them, and what is behind it.

    Parameters
    ----------
    voxels
        int16 (P, R, C, S); value = voxel × the record's scale.
    region
        uint8 (R, C, S), bits of tumour and padding.
    bias_field
        float32 (r, c, s), as stored.
    slice_names
        Of each slice of the crop, for who looks at the images; empty in the padding.
    source
        None where the images are not DICOM.
    num_phases_found
        In the examination; those that are used are in the record.
    """

    record: PatientRecord
    voxels: NDArray[np.int16]
    region: NDArray[np.uint8]
    bias_field: NDArray[np.float32]
    slice_names: tuple[str, ...]
    source: DicomSource | None
    num_phases_found: int

    @property
    def tumour(self) -> NDArray[np.bool_]:
        """Bool (R, C, S)."""
        found: NDArray[np.bool_] = (self.region & REGION_TUMOUR) != 0
        return found

    @property
    def padding(self) -> NDArray[np.bool_]:
        """Bool (R, C, S)."""
        found: NDArray[np.bool_] = (self.region & REGION_PADDING) != 0
        return found

    def images(self, rule: NormalisationRule) -> Tensor:
        """Return float32 (1, P, R, C, S) as networks are given it."""
        scale = self.record.scale
        assert scale is not None
        found = for_network(self.voxels, self.region, scale, rule)
        voxels = torch.from_numpy(found.voxels).float()
        offset, gain = torch.tensor(float(found.offset)), torch.tensor(float(found.gain))
        return torch.addcmul(offset, voxels, gain)[None]


def prepare(patient: Patient, config: PreprocessConfig) -> Prepared:
    """Make the tensor of a patient.

    Raises
    ------
    UnusablePatientError
        If none can be made.
    InputError
        If the images are of several people, or the segmentation is not of them.
    """
    with file_cache() as cache:
        opened = open_patient(patient, config, cache)
        source = None
        if isinstance(opened, OpenedPatient):
            try:
                source = read_source(opened)
            except Exception as error:
                if not is_of_one_patient(error):
                    raise
                raise UnusablePatientError(finding_of(error)) from error
            _check_identity(patient, source)
        record, tensor = process_opened(patient, 0, opened, config)
        if tensor is None or isinstance(opened, tuple):
            raise UnusablePatientError(next(f for f in record.findings if f.excludes))
        voxels, scale = quantise(tensor.images)
        field = tensor.bias_field
        if field is None:
            field = np.zeros(bias_shape(config.crop_shape), dtype=np.float32)
        return Prepared(
            record=replace(record, scale=float(scale)),
            voxels=voxels,
            region=tensor.region,
            bias_field=field,
            slice_names=_slice_names(opened, config),
            source=source,
            num_phases_found=opened.num_phases_found,
        )


def _check_identity(patient: Patient, source: DicomSource | None) -> None:
    if source is None:
        return
    check_same_person(source.images)
    if patient.mask is not None:
        check_belongs(patient.mask.path, source.phases[0])


def _slice_names(opened: OpenedPatient, config: PreprocessConfig) -> tuple[str, ...]:
    shape = opened.volumes[0].grid.shape
    own = place_crop(opened, config).own_slices(shape)
    if own is None:
        return tuple(f"crop slice {n + 1}" for n in range(config.crop_shape[2]))
    numbers: Sequence[int | None] = instance_numbers(opened) or range(shape[2])
    word = "image" if instance_numbers(opened) else "slice"
    return tuple(
        f"{word} {numbers[n]}" if 0 <= n < shape[2] and numbers[n] is not None else "" for n in own
    )
