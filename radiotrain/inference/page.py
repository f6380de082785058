"""HTML page of one patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import jinja2

from preprocessing.common.page import make_environment
from radiotrain.inference import RESEARCH_USE
from radiotrain.inference.operating_point import Rates, TestedCalibration
from radiotrain.inference.out_of_range import Comparison
from radiotrain.inference.prediction import PatientPrediction, TargetAnswer
from radiotrain.inference.probability import Spread
from radiotrain.statistics.auc import Interval
from radiotrain.version import __version__


@dataclass(frozen=True)
class Pictures:
    """Data URIs: the tumour in its phases, and the map of each model and target."""

    phases: str
    maps: Mapping[tuple[str, str], str]


def render_page(answer: PatientPrediction, pictures: Pictures) -> str:
    """Return the HTML, which needs nothing else."""
    return (
        _environment()
        .get_template("patient.html.j2")
        .render(
            answer=answer,
            pictures=pictures,
            version=__version__,
            use=RESEARCH_USE,
            tables=_tables(answer),
        )
    )


def percent(value: float) -> str:
    """Write a share as whole percent, but never 0 % or 100 % of what is neither."""
    if 0 < value < 0.01:
        return "below 1 %"
    if 0.99 < value < 1:
        return "above 99 %"
    return f"{100 * value:.0f} %"


def between(low: float, high: float) -> str:
    """Write from where to where shares lie."""
    first, last = percent(low), percent(high)
    return f"at {first}" if first == last else f"between {first} and {last}"


def points(value: float) -> str:
    """Write a difference of shares as percentage points."""
    number = f"{100 * value:.0f}" if value >= 0.005 else "less than 1"
    return f"{number} percentage point{'s' * (number != '1')}"


def interval(value: Interval) -> str:
    """Write a 95 % interval of a share."""
    return f"{100 * value[0]:.0f} to {100 * value[1]:.0f} %"


def rates_sentence(rates: Rates, target: str) -> str:
    """Say what the operating point did on patients whose status is known."""
    parts = []
    for share, ci, num, kind, name in (
        (rates.sensitivity, rates.sensitivity_ci95, rates.num_positive, "positive", "sensitivity"),
        (rates.specificity, rates.specificity_ci95, rates.num_negative, "negative", "specificity"),
    ):
        if share is not None and ci is not None:
            found = round(share * num)
            parts.append(
                f"{found} of {num} {target}-{kind} patients rightly ({name} {percent(share)},"
                f" 95 % CI {interval(ci)})"
            )
    return " and ".join(parts)


def calibration_sentence(found: TestedCalibration) -> str:
    """Say how right the shown probabilities were on test patients."""
    parts = []
    for name, value, ci, right in (
        ("Brier score", found.brier, found.brier_ci95, "0 is best"),
        ("calibration error", found.ece, None, "0 is best"),
        ("intercept", found.calibration_intercept, found.calibration_intercept_ci95, "0 is right"),
        ("slope", found.calibration_slope, found.calibration_slope_ci95, "1 is right"),
    ):
        if value is not None:
            ends = "" if ci is None else f"95 % CI {ci[0]:.2f} to {ci[1]:.2f}; "
            parts.append(f"{name} {value:.2f} ({ends}{right})")
    if not parts:
        return ""
    return f"Probabilities made in this very way, of {found.num_patients} test patients: {', '.join(parts)}."


def spread_sentence(spread: Spread) -> str:
    """Say how far the predictions lie apart, and what that is."""
    if spread.sd is None or spread.low is None or spread.high is None:
        return (
            "There is one prediction only, so nothing can be said of its spread: give --draws for"
            " changed views of the image."
        )
    networks = f"{spread.num_networks} network{'s' * (spread.num_networks != 1)}"
    views = "the image as it is"
    if spread.num_views > 1:
        views += f" and {spread.num_views - 1} changed view{'s' * (spread.num_views != 2)} of it"
    said = (
        f"{spread.num_predictions} predictions ({networks}, {views}) lie"
        f" {between(spread.low, spread.high)}, SD {points(spread.sd)}"
    )
    if spread.num_same_call is not None:
        said += f"; {spread.num_same_call} of {spread.num_predictions} are on this side"
    return f"{said}. This is how far they disagree, not a confidence interval."


def _tables(answer: PatientPrediction) -> list[tuple[str, tuple[Comparison, ...], int]]:
    """Return each different comparison once, with the models that it holds for."""
    found: dict[tuple[Comparison, ...], list[str]] = {}
    patients: dict[tuple[Comparison, ...], int] = {}
    for model in answer.models:
        found.setdefault(model.comparisons, []).append(model.name)
        patients[model.comparisons] = model.num_training_patients
    return [(", ".join(names), table, patients[table]) for table, names in found.items()]


def _position(value: float) -> str:
    return f"{100 * min(max(value, 0.0), 1.0):.1f}%"


def _called(target: TargetAnswer) -> str:
    return "positive" if target.answer.call == "at or above" else "negative"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    filters: dict[str, Callable[..., str]] = {
        "percent": percent,
        "points": points,
        "interval": interval,
        "position": _position,
        "called": _called,
        "spread_sentence": spread_sentence,
        "rates_sentence": rates_sentence,
        "calibration_sentence": calibration_sentence,
    }
    return make_environment(jinja2.PackageLoader("radiotrain.inference"), filters)
