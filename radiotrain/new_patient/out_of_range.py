"""In what a patient's images are unlike those that the networks were trained on; pure decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from radiotrain.inputs import Span, TrainingInputs

# Beyond an extreme by less than this share of it is rounding, not another protocol.
_TOLERANCE = 0.02
# Values of fewer training patients say little about what there is.
_FEW = 20


class Verdict(StrEnum):
    """How one value compares with the training patients'."""

    inside = "inside"
    outside = "outside"
    unseen = "unseen"
    unknown = "unknown"


@dataclass(frozen=True)
class Comparison:
    """One property of the images beside those of the training patients.

    Parameters
    ----------
    name
        Short and stable, such as ``spacing_row_mm``.
    label
        For people.
    value, training
        As text; a value that no training patient had is not quoted where people type it.
    sentence
        What to know; empty where it is inside.
    """

    name: str
    label: str
    value: str
    training: str
    verdict: Verdict
    sentence: str = ""


# Name of a number to its label, its unit and how it is written.
_NUMBERS: Mapping[str, tuple[str, str, str]] = {
    "spacing_row_mm": ("voxel size, front to back", "mm", ".2f"),
    "spacing_column_mm": ("voxel size, right to left", "mm", ".2f"),
    "spacing_slice_mm": ("distance of slices", "mm", ".2f"),
    "tumour_row_mm": ("tumour box, front to back", "mm", ".0f"),
    "tumour_column_mm": ("tumour box, right to left", "mm", ".0f"),
    "tumour_slice_mm": ("tumour box, feet to head", "mm", ".0f"),
    "brightest": ("brightest value in the crop", "", ".4g"),
    "bias_ratio": ("coil field, largest over smallest", "", ".2f"),
}
_PROPERTIES: Mapping[str, str] = {
    "manufacturer": "maker of the scanner",
    "model": "model of the scanner",
    "field_strength": "field strength",
}


def compare(
    numbers: Mapping[str, float],
    properties: Mapping[str, str],
    inputs: TrainingInputs,
    num_phases_found: int,
    num_phases_used: int,
) -> tuple[Comparison, ...]:
    """Compare a patient's images with those of the training patients.

    Parameters
    ----------
    numbers, properties
        From `radiotrain.inputs.numbers_of` and `properties_of`.
    num_phases_found, num_phases_used
        Of the examination, and by the model.
    """
    found = [
        _compare_property(name, label, properties.get(name), inputs.counts.get(name, {}))
        for name, label in _PROPERTIES.items()
    ]
    found.append(_compare_phases(num_phases_found, num_phases_used))
    for name, (label, unit, style) in (*_NUMBERS.items(), *_phase_times(num_phases_used)):
        value, span = numbers.get(name), inputs.spans.get(name)
        if value is not None or span is not None:
            found.append(_compare_number(name, label, unit, style, value, span))
    return tuple(found)


def warnings_of(comparisons: tuple[Comparison, ...]) -> tuple[str, ...]:
    """Return the sentences about what is outside the training patients' range, or not known."""
    outside = (Verdict.outside, Verdict.unseen)
    return tuple(c.sentence for c in comparisons if c.verdict in outside)


def _phase_times(num_phases: int) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for n in range(1, num_phases):
        label = f"post-contrast {n}, time after the pre-contrast"
        yield f"phase_{n}_time_s", (label, "s", ".0f")


def _compare_number(
    name: str, label: str, unit: str, style: str, value: float | None, span: Span | None
) -> Comparison:
    unit = f" {unit}" if unit else ""
    shown = "not known" if value is None else f"{value:{style}}{unit}"
    training = "not known"
    if span is not None:
        training = f"{span.low:{style}} to {span.high:{style}}{unit}, median {span.median:{style}}"
        if span.num_known < _FEW:
            training += f" (of {span.num_known} patients only)"
    if value is None or span is None:
        return Comparison(name, label, shown, training, Verdict.unknown)
    low, high = span.low - _TOLERANCE * abs(span.low), span.high + _TOLERANCE * abs(span.high)
    if low <= value <= high:
        return Comparison(name, label, shown, training, Verdict.inside)
    how = "below" if value < low else "above"
    sentence = (
        f"The {label} is {shown}, {how} all training patients"
        f" ({span.low:{style}} to {span.high:{style}}{unit})."
    )
    return Comparison(name, label, shown, training, Verdict.outside, sentence)


def _compare_property(
    name: str, label: str, value: str | None, counts: Mapping[str, int]
) -> Comparison:
    training = ", ".join(f"{known} ({num})" for known, num in counts.items()) or "not known"
    if value is None:
        return Comparison(name, label, "not known", training, Verdict.unknown)
    if not counts:
        return Comparison(name, label, "known, not compared", training, Verdict.unknown)
    if value in counts:
        return Comparison(name, label, value, training, Verdict.inside)
    # Models and makers are typed by people now and then, who also type names.
    shown = value if name == "field_strength" else "another one"
    sentence = f"No training patient had the {label} of these images: training had {training}."
    if name == "field_strength":
        sentence = f"No training patient was imaged at {value}: training had {training}."
    return Comparison(name, label, shown, training, Verdict.unseen, sentence)


def _compare_phases(num_found: int, num_used: int) -> Comparison:
    label, training = "phases", f"{num_used} used of each patient"
    shown = f"{num_found} found, {num_used} used"
    return Comparison("phases", label, shown, training, Verdict.inside)
