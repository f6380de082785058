"""What is known about a phantom cohort and no scanner tells: ``truth.json`` and ``truth/ID.npz``.

``truth.json``
    ``settings``; ``targets`` (effect, prevalence, AUCs, see `target_truth`); ``patients`` by id
    (see `patient_truth`).
``truth/ID.npz``
    ``mask`` uint8 (K, R, C), the tumour inside its box; ``mask_start`` int (3,), the box's first
    voxel (slice in order of InstanceNumber, row, column; from 0); ``field_coefficients``
    float64 (3, 3, 3) for `log_field`; ``enhancement`` float64, one a post-contrast phase.

Axis legend: (k, r, c) slice in order of InstanceNumber, pixel row, pixel column.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preprocessing.phantom.patient import (
    PhantomPatient,
    analytic_auc,
    best_auc,
    empirical_auc,
    prevalence,
)
from preprocessing.phantom.settings import TARGETS, PhantomSettings
from preprocessing.phantom.signal import CoilField


@dataclass(frozen=True)
class TumourTruth:
    """The tumour in voxels of the dynamic series, in the pre-contrast pose.

    Parameters
    ----------
    start, stop
        Half-open bounds (k, r, c) of its voxels, from 0.
    mask
        (K, R, C) bool inside these bounds.
    enhancement
        For each post-contrast phase the mean over the tumour's voxels of
        (S_phase − S_pre) / S_pre, without field, noise and motion.
    enhancement_of_means
        The same of the mean signals.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    mask: NDArray[np.bool_]
    enhancement: tuple[float, ...]
    enhancement_of_means: tuple[float, ...]

    @property
    def box(self) -> dict[str, int]:
        """Columns of ``Annotation_Boxes.xlsx``: from 1, end included, slices by InstanceNumber."""
        axes = ("Slice", "Row", "Column")
        box = {f"Start {a}": s + 1 for a, s in zip(axes, self.start, strict=True)}
        box.update({f"End {a}": s for a, s in zip(axes, self.stop, strict=True)})
        return box


def tumour_truth(patient: PhantomPatient) -> TumourTruth:
    """Return where a patient's tumour is and how it enhances."""
    scene, phases = patient.scene, patient.protocol.phases
    points = phases[0].stack.points()
    part = points.around(scene.tumour.centre_mm, scene.tumour.reach_mm)
    assert part is not None, "a tumour lies inside the field of view"
    block = points.block(*part)
    mask = scene.tumour.mask(block)
    low = [int(axis.min()) for axis in np.nonzero(mask)]
    high = [int(axis.max()) + 1 for axis in np.nonzero(mask)]
    start = [p.start + a for p, a in zip(part, low, strict=True)]
    signals = [scene.dynamic(block, i)[mask].astype(np.float64) for i in range(len(phases))]
    cut = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    for axis, size in enumerate(points.shape):
        if phases[0].flips[axis]:
            start[axis], cut = size - start[axis] - cut.shape[axis], np.flip(cut, axis)
    k, r, c = start
    return TumourTruth(
        start=(k, r, c),
        stop=(k + cut.shape[0], r + cut.shape[1], c + cut.shape[2]),
        mask=cut,
        enhancement=tuple(float(np.mean(s / signals[0] - 1)) for s in signals[1:]),
        enhancement_of_means=tuple(float(s.mean() / signals[0].mean() - 1) for s in signals[1:]),
    )


def patient_truth(patient: PhantomPatient, tumour: TumourTruth) -> dict[str, Any]:
    """Return one patient's entry in ``truth.json``."""
    form, protocol = patient.scene.tumour, patient.protocol
    stack = protocol.phases[0].stored
    return {
        "labels": dict(patient.labels),
        "latents": dict(patient.latents),
        "kinetics": asdict(form.kinetics),
        "enhancement": list(tumour.enhancement),
        "enhancement_of_means": list(tumour.enhancement_of_means),
        "tumour": {
            "centre_lps_mm": list(form.centre_mm),
            "radius_mm": form.radius_mm,
            "irregularity": form.irregularity,
            "side": form.side,
            "num_voxels": int(tumour.mask.sum()),
        },
        "box": tumour.box,
        "vendor": protocol.scanner.vendor,
        "field_strength": protocol.scanner.field_strength,
        "orientation": list(stack.orientation),
        "spacing_mm": [stack.pixel_mm, stack.pixel_mm, stack.spacing_mm],
        "gain": protocol.gain,
        "layout": patient.layout,
        "field_coefficients": patient.scene.field.coefficients.tolist(),
        "series": [
            {"name": s.name, "number": s.number, "phase": s.phase, "time_s": s.time_s}
            for s in protocol.series
        ],
        "poses": [asdict(pose) for pose in patient.poses],
    }


def target_truth(settings: PhantomSettings, patients: Sequence[PhantomPatient]) -> dict[str, Any]:
    """Return each target's effect and the AUCs it allows.

    ``own_auc`` is Φ(d/√2), from the target's own latent feature; ``best_auc`` that of the Bayes
    classifier with all latent features (labels are correlated); ``empirical_auc`` that of the
    own latent feature in this cohort.
    """
    return {
        target: {
            "effect": settings.effects[target],
            "prevalence": prevalence(target),
            "num_positive": sum(p.labels[target] for p in patients),
            "own_auc": analytic_auc(settings.effects[target]),
            "best_auc": best_auc(target, settings.effects),
            "empirical_auc": empirical_auc(
                [p.labels[target] for p in patients], [p.latents[target] for p in patients]
            ),
        }
        for target in TARGETS
    }


def encode_arrays(patient: PhantomPatient, tumour: TumourTruth) -> bytes:
    """Return the content of ``truth/ID.npz``."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        mask=tumour.mask.astype(np.uint8),
        mask_start=np.array(tumour.start),
        field_coefficients=patient.scene.field.coefficients,
        enhancement=np.array(tumour.enhancement),
    )
    return buffer.getvalue()


def log_field(coefficients: ArrayLike, positions_lps: ArrayLike) -> NDArray[np.float64]:
    """Return the true log coil field; its mean over the breasts is 0.

    Parameters
    ----------
    coefficients
        (3, 3, 3), ``field_coefficients`` of a patient's truth.
    positions_lps
        (..., 3), mm.

    Returns
    -------
    (...) float64.
    """
    positions = np.asarray(positions_lps, dtype=np.float64)
    x, y, z = positions.reshape(-1, 3).T
    field = CoilField(np.asarray(coefficients, dtype=np.float64))
    return field.at_positions(x, y, z).reshape(positions.shape[:-1])


def read_mask(arrays: Mapping[str, Any], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return the tumour in a whole series, (K, R, C) bool, from ``truth/ID.npz``."""
    mask = np.zeros(shape, dtype=bool)
    part = tuple(
        slice(int(s), int(s) + n)
        for s, n in zip(arrays["mask_start"], arrays["mask"].shape, strict=True)
    )
    mask[part] = arrays["mask"].astype(bool)
    return mask
