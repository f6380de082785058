"""Whether the voxel values of one patient's phases can be compared, and in which scale.

Philips's RescaleSlope (RS) and RescaleIntercept (RI) lead from stored values (PV) to values for
display, whose scale may differ from one series to the next; its private Scale Slope (SS,
(2005,100E)) leads to floating-point values that are proportional to the signal in all of them:
(PV × RS + RI) / (RS × SS).

References
----------
Chenevert TL et al. (2014). Errors in quantitative image analysis due to platform-dependent image
scaling. Translational Oncology 7(1):65-71. doi:10.1593/tlo.13811
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preprocessing.cohort import Finding
from preprocessing.dicom_header import SliceHeader

_SAME_SCALE = 1e-6
_NO_UNIT = ("", "US")


@dataclass(frozen=True)
class ValueCheck:
    """What is odd about the values of a patient's phases.

    Parameters
    ----------
    is_floating
        Whether they must be read as Philips's floating-point values to be comparable.
    """

    findings: tuple[Finding, ...]
    is_floating: bool = False


def floating_divisor(header: SliceHeader) -> float:
    """Return what a rescaled value is divided by for Philips's floating-point value."""
    return header.slope * (header.scale_slope or 1.0)


def check_values(phases: Sequence[Sequence[SliceHeader]]) -> ValueCheck:
    """Compare photometric interpretation, unit and scale of all slices of a patient's phases."""
    slices = [h for phase in phases for h in phase]
    findings = [*_check_photometric(slices), *_check_units(slices)]
    if any(h.is_lossy for h in slices):
        message = "images were compressed with loss: voxels are not exactly those acquired"
        findings.append(Finding("lossy-compression", message, excludes=False))
    rescales = {(h.slope, h.intercept) for h in slices}
    scales = {h.scale_slope for h in slices}
    if len(rescales) < 2 and len(scales) < 2:
        return ValueCheck(tuple(findings))
    if None not in scales:
        if _are_same([floating_divisor(h) for h in slices]):
            return ValueCheck(tuple(findings))
        message = (
            "rescale and Philips's scale slope (2005,100E) differ between slices or phases: voxels"
            " were read as Philips's floating-point values"
        )
        findings.append(Finding("philips-scale", message, excludes=False))
        return ValueCheck(tuple(findings), is_floating=True)
    known = [floating_divisor(h) for h in slices if h.scale_slope is not None]
    if known and not _are_same(known):
        message = (
            "Philips's scale slope (2005,100E) differs between slices or phases and some lack it:"
            " their values cannot be compared"
        )
        findings.append(Finding("philips-scale-missing", message))
    elif len(rescales) > 1:
        message = (
            "RescaleSlope or RescaleIntercept differs between slices or phases: each was rescaled by"
            " its own"
        )
        findings.append(Finding("rescale-differs", message, excludes=False))
    return ValueCheck(tuple(findings))


def _are_same(numbers: Sequence[float]) -> bool:
    return max(numbers) - min(numbers) <= _SAME_SCALE * max(map(abs, numbers))


def _check_photometric(slices: Sequence[SliceHeader]) -> list[Finding]:
    found = {h.photometric for h in slices}
    if found == {"MONOCHROME1", "MONOCHROME2"}:
        message = (
            "some images are to be shown inverted (MONOCHROME1) and some are not (MONOCHROME2):"
            " expected one, as the values of one kind may be inverted"
        )
        return [Finding("photometric-mixed", message)]
    if "MONOCHROME1" in found:
        message = "images are to be shown inverted (MONOCHROME1): their values were taken as stored"
        return [Finding("photometric-inverted", message, excludes=False)]
    return []


def _check_units(slices: Sequence[SliceHeader]) -> list[Finding]:
    units = {h.rescale_type for h in slices if h.rescale_type not in _NO_UNIT}
    if len(units) > 1:
        message = (
            f"values of slices or phases are in {len(units)} units (RescaleType), expected one"
        )
        return [Finding("rescale-units", message)]
    return []
