"""The scanner and protocol of one patient: vendor, geometry, series with names and times.

Shares follow the Duke cohort: 68 % GE, of these half at 1.5 T; 47 % of patients with a fourth
post-contrast series.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.voxels import SliceStack

Vendor = Literal["GE", "Siemens"]

_GE_SHARE = 0.68
_FOURTH_POST_SHARE = 0.47
_ORDINALS = ("1st", "2nd", "3rd", "4th")
SIEMENS_NAME = "t1_fl3d_tra_dynVIEWS_spair_ISO"
_VIBRANT_NAME = "Ax Vibrant MultiPhase"


@dataclass(frozen=True)
class Series:
    """One series as the technologist named it.

    Parameters
    ----------
    phase
        0 pre-contrast, 1, 2, … post-contrast; None for the series that is not dynamic.
    name
        SeriesDescription.
    number
        SeriesNumber.
    time_s
        Start, seconds after midnight.
    stack
        Geometry, as acquired.
    key
        What the series' noise and UIDs are drawn with: the number drawn, whatever is told.
    flips
        Axes (k, r, c) of `stack` that the files count from the other end.
    """

    phase: int | None
    name: str
    number: int
    time_s: float
    stack: SliceStack
    key: int
    flips: tuple[bool, bool, bool] = (False, False, False)

    @property
    def stored(self) -> SliceStack:
        """Geometry as the files count it."""
        return self.stack.flipped(*self.flips)


@dataclass(frozen=True)
class Scanner:
    """What the headers and the workbook say about the equipment."""

    vendor: Vendor
    model: str
    field_strength: float
    feet_first: bool
    slice_thickness_mm: float
    fov_mm: int
    repetition_ms: float
    echo_ms: float
    flip_deg: int
    contrast_agent: str
    contrast_ml: int
    tells_temporal_position: bool
    tells_slice_spacing: bool


@dataclass(frozen=True)
class Protocol:
    """One patient's examination, series in order of time."""

    scanner: Scanner
    series: tuple[Series, ...]
    study_time_s: int
    gain: float

    @property
    def phases(self) -> tuple[Series, ...]:
        """The dynamic series, pre-contrast first."""
        return tuple(s for s in self.series if s.phase is not None)


def draw_protocol(
    rng: np.random.Generator, settings: PhantomSettings, labels: Mapping[str, int] | None = None
) -> Protocol:
    """Draw scanner, geometry, names and times of one examination.

    Parameters
    ----------
    labels
        Target to 0 or 1; needed where the settings have a shortcut.
    """
    vendor = _draw_vendor(rng, settings.shortcut, labels or {})
    num_posts = 4 if rng.random() < _FOURTH_POST_SHARE else 3
    fov_mm = int(rng.choice([300, 320, 340, 360]))
    stack = _draw_stack(rng, vendor, fov_mm, settings)
    names = _draw_names(rng, vendor, num_posts)
    scanner = _draw_scanner(rng, vendor, fov_mm, stack, names)
    study_time_s = int(rng.integers(8 * 3600, 16 * 3600))
    return Protocol(
        scanner=scanner,
        series=_draw_series(rng, names, stack, study_time_s),
        study_time_s=study_time_s,
        gain=float(rng.uniform(260, 360)),
    )


def _draw_vendor(
    rng: np.random.Generator, shortcut: Mapping[str, float], labels: Mapping[str, int]
) -> Vendor:
    draw = rng.random()
    for target, share in shortcut.items():
        return "GE" if (labels[target] == 1) == (draw < share) else "Siemens"
    return "GE" if draw < _GE_SHARE else "Siemens"


def _draw_stack(
    rng: np.random.Generator, vendor: Vendor, fov_mm: int, settings: PhantomSettings
) -> SliceStack:
    x, y, z = rng.uniform((-4, 5, -4), (4, 25, 4)).round(1).tolist()
    coverage_mm = float(rng.uniform(160, 180))
    tilt_deg = float(rng.choice([0.0, 0.0, 0.0, rng.uniform(2, 6), -rng.uniform(2, 6)]))
    return SliceStack(
        rows=settings.matrix,
        columns=settings.matrix,
        slices=settings.slices,
        # Rounded to what the header can say, so that header and geometry agree.
        pixel_mm=round(fov_mm / settings.matrix, 4),
        spacing_mm=round(coverage_mm / settings.slices, 2),
        centre_mm=(x, y, z),
        row_sign=-1 if vendor == "GE" else 1,
        tilt_rad=0.0 if vendor == "GE" else math.radians(round(tilt_deg, 2)),
        instance_sign=-1 if vendor == "GE" else 1,
    )


def _draw_names(rng: np.random.Generator, vendor: Vendor, num_posts: int) -> tuple[str, ...]:
    passes = pass_names(num_posts)
    draw = rng.random()
    typo = rng.random() < 0.15
    if vendor == "Siemens" and draw < 0.7:
        return (SIEMENS_NAME,) * (num_posts + 1)
    if vendor == "GE" and draw < 0.3:
        return vibrant_names(num_posts)
    if vendor == "GE" and draw < 0.4:
        return ordinal_names(num_posts)
    if typo:
        return misspelt(passes)
    return passes


def pass_names(num_posts: int) -> tuple[str, ...]:
    """Return ``ax dyn pre``, ``ax dyn 1st pass`` and so on."""
    return ("ax dyn pre", *(f"ax dyn {o} pass" for o in _ORDINALS[:num_posts]))


def misspelt(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `pass_names` with the collection's typing error in the first pass."""
    return tuple(name.replace("1st pass", "1st pas") for name in names)


def vibrant_names(num_posts: int) -> tuple[str, ...]:
    """Return GE's names of a multi-phase series; the pre-contrast has the bare one."""
    return (_VIBRANT_NAME, *(f"Ph{i + 1}/{_VIBRANT_NAME}" for i in range(num_posts)))


def ordinal_names(num_posts: int) -> tuple[str, ...]:
    """Return ``ax dyn``, ``1st ax dyn`` and so on."""
    return ("ax dyn", *(f"{o} ax dyn" for o in _ORDINALS[:num_posts]))


def _draw_scanner(
    rng: np.random.Generator,
    vendor: Vendor,
    fov_mm: int,
    stack: SliceStack,
    names: tuple[str, ...],
) -> Scanner:
    strong = bool(rng.random() < (0.54 if vendor == "GE" else 0.39))
    ge_model, siemens_model = ("Signa HDxt", "Skyra") if strong else ("SIGNA HDx", "Avanto")
    # Interpolated slices overlap: the thickness is then twice their distance.
    overlapping = vendor == "GE" and rng.random() < 0.4
    return Scanner(
        vendor=vendor,
        model=ge_model if vendor == "GE" else siemens_model,
        field_strength=3.0 if strong else 1.5,
        feet_first=bool(vendor == "GE" or rng.random() < 0.45),
        slice_thickness_mm=round(stack.spacing_mm * (2 if overlapping else 1), 2),
        fov_mm=fov_mm,
        repetition_ms=round(float(rng.uniform(3.7, 7.5)), 3),
        echo_ms=round(float(rng.uniform(1.3, 2.7)), 3),
        flip_deg=int(rng.choice([10, 12])),
        contrast_agent=str(rng.choice(["MAGNEVIST", "MULTIHANCE"])),
        contrast_ml=int(rng.integers(10, 19)),
        tells_temporal_position=vendor == "Siemens" or names[0] == _VIBRANT_NAME,
        # Siemens leaves it out of 3D series.
        tells_slice_spacing=vendor == "GE",
    )


def _draw_series(
    rng: np.random.Generator, names: tuple[str, ...], stack: SliceStack, study_time_s: int
) -> tuple[Series, ...]:
    first_number = int(rng.integers(3, 6))
    plain_name = str(rng.choice(["ax t1", "Ax 3D T1 NON FS"]))
    plain_time = study_time_s + 180.0
    plain = Series(None, plain_name, first_number, plain_time, stack.thicker(2), first_number)
    start, step = study_time_s + 600.0, float(rng.integers(85, 125))
    # The injection takes its time, hence the longer gap after the pre-contrast series.
    times = [start] + [start + 45.0 + step * i for i in range(1, len(names))]
    numbers = [first_number + 2 + i for i in range(len(names))]
    return (
        plain,
        *(
            Series(i, name, numbers[i], times[i], stack, key=numbers[i])
            for i, name in enumerate(names)
        ),
    )
