"""Differences between a patient's images and the training images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from radiotrain.evaluation.baselines.covariates import FEWEST_OF_A_CATEGORY
from radiotrain.runs.provenance import Span

# Beyond an extreme by less than this share of it is rounding, not another protocol.
_TOLERANCE = 0.02
# Values of fewer training patients say little about what there is.
_FEW = 20

Ranges = Literal["extremes", "quantiles"]
_WHOM: Mapping[Ranges, str] = {
    "extremes": "all training patients",
    "quantiles": "the middle 98 % of the training patients",
}


@dataclass(frozen=True)
class TrainingImages:
    """How the images of a model's training patients vary, as far as the model keeps it.

    Parameters
    ----------
    num_patients
        Training patients. Of a run's several networks the most that one of them had, since each keeps
        its own; of an export all that any of them had.
    spans
        Name of a number, see `radiotrain.runs.provenance.numbers_of`, to its values among them.
    counts
        Name of a property, see `radiotrain.runs.provenance.properties_of`, to its values and how many patients
        have each.
    ranges
        extremes: spans end at the least and the largest value, and every value is counted. quantiles:
        they end at the 1 % and the 99 % quantile, and values of fewer than five patients are left out,
        so that nobody can be told from them.
    """

    num_patients: int
    spans: Mapping[str, Span]
    counts: Mapping[str, Mapping[str, int]]
    ranges: Ranges


class RangeCheck(StrEnum):
    """How one value compares with the training patients'."""

    inside = "inside"
    outside = "outside"
    unseen = "unseen"
    rare = "rare"
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
        As text; a value that no training patient is known to have had is not quoted where people type
        it.
    sentence
        What to know; empty where it is inside.
    """

    name: str
    label: str
    value: str
    training: str
    verdict: RangeCheck
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
    images: TrainingImages,
    num_phases_found: int,
    num_phases_used: int,
) -> tuple[Comparison, ...]:
    """Compare a patient's images with those of the training patients.

    Parameters
    ----------
    numbers, properties
        From `radiotrain.runs.provenance.numbers_of` and `properties_of`.
    num_phases_found, num_phases_used
        Of the examination, and by the model.
    """
    found = [
        _compare_property(name, label, properties.get(name), images)
        for name, label in _PROPERTIES.items()
    ]
    found.append(_compare_phases(num_phases_found, num_phases_used))
    for name, (label, unit, style) in (*_NUMBERS.items(), *_phase_times(num_phases_used)):
        value, span = numbers.get(name), images.spans.get(name)
        if value is not None or span is not None:
            found.append(_compare_number(name, label, unit, style, value, span, images.ranges))
    return tuple(found)


def warnings_of(comparisons: tuple[Comparison, ...]) -> tuple[str, ...]:
    """Return the sentences about what is outside the training patients' range, or not known."""
    return tuple(c.sentence for c in comparisons if c.sentence)


def _phase_times(num_phases: int) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for n in range(1, num_phases):
        label = f"post-contrast {n}, time after the pre-contrast"
        yield f"phase_{n}_time_s", (label, "s", ".0f")


def _compare_number(
    name: str,
    label: str,
    unit: str,
    style: str,
    value: float | None,
    span: Span | None,
    ranges: Ranges,
) -> Comparison:
    unit = f" {unit}" if unit else ""
    shown = "not known" if value is None else f"{value:{style}}{unit}"
    training = "not known"
    if span is not None:
        training = f"{span.low:{style}} to {span.high:{style}}{unit}, median {span.median:{style}}"
        training = f"middle 98 %: {training}" if ranges == "quantiles" else training
        if span.num_known < _FEW:
            training += f" (of {span.num_known} patients only)"
    if value is None or span is None:
        return Comparison(name, label, shown, training, RangeCheck.unknown)
    low, high = span.low - _TOLERANCE * abs(span.low), span.high + _TOLERANCE * abs(span.high)
    if low <= value <= high:
        return Comparison(name, label, shown, training, RangeCheck.inside)
    how = "below" if value < low else "above"
    sentence = (
        f"The {label} is {shown}, {how} {_WHOM[ranges]}"
        f" ({span.low:{style}} to {span.high:{style}}{unit})."
    )
    return Comparison(name, label, shown, training, RangeCheck.outside, sentence)


def _compare_property(
    name: str, label: str, value: str | None, images: TrainingImages
) -> Comparison:
    counts = images.counts.get(name, {})
    training = ", ".join(f"{known} ({num})" for known, num in counts.items()) or "not known"
    if value is None:
        return Comparison(name, label, "not known", training, RangeCheck.unknown)
    if not counts:
        return Comparison(name, label, "known, not compared", training, RangeCheck.unknown)
    if value in counts:
        return Comparison(name, label, value, training, RangeCheck.inside)
    # Models and makers are typed by people now and then, who also type names.
    shown = value if name == "field_strength" else "another one"
    is_field = name == "field_strength"
    if images.ranges == "quantiles":
        fewest = FEWEST_OF_A_CATEGORY
        what = f"were imaged at {value}" if is_field else f"had the {label} of these images"
        sentence = f"Fewer than {fewest} training patients, if any, {what}: {fewest} or more had {training}."
        return Comparison(name, label, shown, training, RangeCheck.rare, sentence)
    what = f"was imaged at {value}" if is_field else f"had the {label} of these images"
    sentence = f"No training patient {what}: training had {training}."
    return Comparison(name, label, shown, training, RangeCheck.unseen, sentence)


def _compare_phases(num_found: int, num_used: int) -> Comparison:
    label, training = "phases", f"{num_used} used of each patient"
    shown = f"{num_found} found, {num_used} used"
    return Comparison("phases", label, shown, training, RangeCheck.inside)
