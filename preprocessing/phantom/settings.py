"""What a phantom cohort is made with, checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from preprocessing.common.errors import InputError, nearest_hint
from preprocessing.phantom.quirks import check_quirks

TARGETS = ("ER", "PR", "HER2")
LAYOUTS = ("mixed", "classic", "descriptive")
DEFAULT_EFFECT = 1.5

Layout = Literal["mixed", "classic", "descriptive"]


def _default_effects() -> dict[str, float]:
    return dict.fromkeys(TARGETS, DEFAULT_EFFECT)


@dataclass(frozen=True)
class PhantomSettings:
    """All that the voxels of a phantom cohort depend on.

    Parameters
    ----------
    patients
        Number of patients, 1 to 9999.
    seed
        Equal settings and seed give equal bytes. Patient k depends on the seed and k only, so
        a larger cohort begins with the same patients.
    matrix
        Rows and columns of an image, 48 to 1024. The field of view stays 300 to 360 mm, so a
        smaller matrix means larger voxels.
    slices
        Slices of a dynamic series, 16 to 512, over 160 to 180 mm.
    effects
        Target to standardised effect size d ≥ 0 of its latent image feature. 0 makes the target
        chance: the images carry nothing about it. A target left out has d = 1.5.
    noise
        Standard deviation of Gaussian noise in each channel, as a fraction of the glandular
        signal before the coil field; 0 writes none.
    motion
        Standard deviation, in voxels, of the shift along each axis between a phase and the
        pre-contrast one, with a pitch of 0.5° a voxel; drawn within two deviations. 0: none.
    field_sd
        Standard deviation of the log coil field over the breasts; 0 writes no field.
    layout
        Folder names: as the NBIA tools write them in classic or descriptive mode, or mixed
        (odd patient numbers classic, even ones descriptive).
    shortcut
        One target to the share of patients, 0 to 1, whose scanner agrees with their label: GE
        with positive, Siemens with negative. Siemens then suppresses fat less, so that images
        show the scanner. At 0.5 they do so, and it says nothing about the label. Empty: vendors
        follow Duke, and differ in nothing that a crop keeps.
    quirks
        Names out of `preprocessing.phantom.quirks.QUIRKS`: patient k has the k-th, those who
        follow have none. Nothing else in the files depends on it.

    Raises
    ------
    InputError
        If a value is out of range, a target or quirk unknown, or a quirk has no patient.
    """

    patients: int = 64
    seed: int = 0
    matrix: int = 96
    slices: int = 32
    effects: Mapping[str, float] = field(default_factory=_default_effects)
    noise: float = 0.02
    motion: float = 0.25
    field_sd: float = 0.2
    layout: Layout = "mixed"
    shortcut: Mapping[str, float] = field(default_factory=dict)
    quirks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_range("patients", self.patients, 1, 9999)
        _check_range("seed", self.seed, 0, 2**32 - 1)
        _check_range("matrix", self.matrix, 48, 1024)
        _check_range("slices", self.slices, 16, 512)
        _check_range("noise", self.noise, 0.0, 0.5)
        _check_range("motion", self.motion, 0.0, 2.0)
        _check_range("field_sd", self.field_sd, 0.0, 0.5)
        if self.layout not in LAYOUTS:
            hint = nearest_hint(self.layout, LAYOUTS)
            raise InputError(
                f"phantom layout is {self.layout!r}{hint}, expected one of {', '.join(LAYOUTS)}:"
                " choose one of these"
            )
        for name in ("noise", "motion", "field_sd"):
            # 0 and 0.0 are equal settings, so that they have to be written the same way too.
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "effects", _complete_effects(self.effects))
        object.__setattr__(self, "shortcut", _check_shortcut(self.shortcut))
        object.__setattr__(self, "quirks", tuple(self.quirks))
        check_quirks(self.quirks, self.patients)

    def quirk_of(self, number: int) -> str | None:
        """Return the quirk of patient `number` (from 1)."""
        return self.quirks[number - 1] if number <= len(self.quirks) else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; without a shortcut or quirks there is no word of them."""
        values = {**asdict(self), "quirks": list(self.quirks)}
        return {k: v for k, v in values.items() if v or k not in ("quirks", "shortcut")}


def parse_effects(text: str) -> dict[str, float]:
    """Read ``4`` (all targets) or ``ER=4,PR=0`` (others keep the default).

    Raises
    ------
    InputError
        If the text is neither.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) == 1 and "=" not in parts[0]:
        return dict.fromkeys(TARGETS, _number(parts[0], text))
    pairs = [part.partition("=") for part in parts]
    if not pairs or any(separator != "=" for _, separator, _ in pairs):
        raise _bad_effect(text)
    return {name.strip().upper(): _number(value, text) for name, _, value in pairs}


def parse_shortcut(text: str) -> dict[str, float]:
    """Read ``ER=0.8``; nothing from an empty text.

    Raises
    ------
    InputError
        If the text is neither.
    """
    if not text.strip():
        return {}
    name, separator, share = text.partition("=")
    try:
        return {name.strip().upper(): float(share if separator else "")}
    except ValueError:
        raise InputError(
            f"phantom shortcut is {text!r}, expected a target and the share of patients whose"
            " scanner agrees with it, such as 'ER=0.8': write it like this"
        ) from None


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise _bad_effect(text) from None


def _bad_effect(text: str) -> InputError:
    return InputError(
        f"phantom effect is {text!r}, expected a number such as '4' or pairs such as"
        " 'ER=4,PR=0': write it like one of these"
    )


def _complete_effects(effects: Mapping[str, float]) -> dict[str, float]:
    _check_targets(effects)
    complete = {target: float(effects.get(target, DEFAULT_EFFECT)) for target in TARGETS}
    for target, effect in complete.items():
        _check_range(f"effect of {target}", effect, 0.0, 10.0)
    return complete


def _check_shortcut(shortcut: Mapping[str, float]) -> dict[str, float]:
    _check_targets(shortcut)
    if len(shortcut) > 1:
        raise InputError(
            f"phantom shortcut names {', '.join(shortcut)}, expected one target: a scanner can"
            " agree with one only"
        )
    for target, share in shortcut.items():
        _check_range(f"shortcut of {target}", share, 0.0, 1.0)
    return {target: float(share) for target, share in shortcut.items()}


def _check_targets(names: Iterable[str]) -> None:
    for name in names:
        if name not in TARGETS:
            raise InputError(
                f"phantom target is {name!r}{nearest_hint(name, TARGETS)}, expected one of"
                f" {', '.join(TARGETS)}: correct its name"
            )


def _check_range(name: str, value: float, low: float, high: float) -> None:
    # Written so that NaN fails too.
    if not low <= value <= high:
        raise InputError(
            f"phantom {name} is {value}, expected {low} to {high}: choose a value in that range"
        )
