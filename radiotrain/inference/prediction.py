"""Prediction of one patient, and its JSON (docs/predict.md).

Nothing here identifies the patient: no name, no number, no day, no UID, no path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from preprocessing.cohort.cohort import Finding
from preprocessing.storage.digests import dump_with_digest
from radiotrain.inference import RESEARCH_USE
from radiotrain.inference.operating_point import Rule, Tested
from radiotrain.inference.out_of_range import Comparison, Ranges, warnings_of
from radiotrain.inference.probability import Answer
from radiotrain.inference.saliency import Attention
from radiotrain.version import __version__

SCHEMA_VERSION = 2
# A curve fitted to fewer of a class than this is mostly chance.
_FEWEST_OF_A_CLASS = 10


@dataclass(frozen=True)
class TargetAnswer:
    """What one model says of one target, and how far that can be believed."""

    model: str
    rule: Rule
    answer: Answer
    tested: Tested
    attention: Attention | None


@dataclass(frozen=True)
class ModelAnswer:
    """One model's part.

    Parameters
    ----------
    comparisons
        Of the patient's images with those of its training patients.
    ranges
        What they are compared with.
    was_in_development
        Whether this examination is one of those that the model was trained or validated on; None where
        nobody knows, nor whether it is one of its test set, and `no_recognition` says why.
    missing_covariates
        Clinical columns that it reads and that are not known of the patient.
    """

    name: str
    about: str
    digest: str
    store_fingerprint: str
    num_training_patients: int
    ranges: Ranges
    preprocessing: Mapping[str, Any]
    targets: tuple[TargetAnswer, ...]
    comparisons: tuple[Comparison, ...]
    was_in_development: bool | None
    no_recognition: str
    missing_covariates: tuple[str, ...]


@dataclass(frozen=True)
class Images:
    """What was read.

    Parameters
    ----------
    kind
        ``DICOM`` or ``files``.
    examination
        Digest over the pre-contrast's voxels; the same for one examination wherever it lies. None
        where no bias field was fitted.
    phase_names
        Only technical words of what the phases are called.
    spacing_mm, crop_shape
        Of the tensor, (row, column, slice).
    box_in_crop
        Of the tumour, from 0, (start, stop), the stop exclusive.
    """

    kind: str
    examination: str | None
    num_phases_found: int
    phase_names: tuple[str, ...]
    phase_times_s: tuple[float | None, ...]
    spacing_mm: tuple[float, float, float]
    crop_shape: tuple[int, int, int]
    box_in_crop: tuple[tuple[int, int, int], tuple[int, int, int]]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class PatientPrediction:
    """All that is said of a patient.

    Parameters
    ----------
    request
        Digest over the models, the settings and the patient's files: the same request need not be
        worked on again.
    structured_report
        Name of the DICOM SR beside this; None where there is none, and `no_structured_report` says
        why.
    """

    request: str
    images: Images
    models: tuple[ModelAnswer, ...]
    structured_report: str | None
    no_structured_report: str
    generated_at: str

    @property
    def targets(self) -> tuple[TargetAnswer, ...]:
        """All targets of all models."""
        return tuple(target for model in self.models for target in model.targets)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before believing any of it."""
        return tuple(dict.fromkeys(_warnings(self)))


def _warnings(answer: PatientPrediction) -> Sequence[str]:
    found: list[str] = []
    for model in answer.models:
        if model.was_in_development:
            found.append(
                f"Model {model.name} was trained or validated on this very examination: it knows the"
                " answer, so that this says nothing about how good it is."
            )
        if model.no_recognition:
            found.append(
                f"Not checked: whether model {model.name} was trained or validated on this very"
                f" examination, or is to be tested on it; {model.no_recognition}."
            )
        found += warnings_of(model.comparisons)
        if model.missing_covariates:
            names = ", ".join(model.missing_covariates)
            found.append(
                f"Model {model.name} reads {names} beside the images, which is not known here and was"
                " taken as missing."
            )
        for target in model.targets:
            found += _about_calibration(target.rule)
    found += [f"{_sentence(finding.message)}" for finding in answer.images.findings]
    return found


def _about_calibration(rule: Rule) -> Sequence[str]:
    curve = rule.calibration
    if curve is None:
        return (f"The probability of {rule.target} is not calibrated: {rule.no_calibration}.",)
    num_negative = curve.num_patients - curve.num_positive
    if min(curve.num_positive, num_negative) >= _FEWEST_OF_A_CLASS:
        return ()
    said = (
        f"The probability of {rule.target} is calibrated on {curve.num_positive} positive and"
        f" {num_negative} negative patients only: interpret as a ranking only."
    )
    return (said,)


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}{'' if message.endswith('.') else '.'}"


def to_json(answer: PatientPrediction) -> str:
    """Return the text of ``prediction.json``."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "generated_by": f"radiotrain {__version__}",
        "generated_at": answer.generated_at,
        "use": RESEARCH_USE,
        "request": answer.request,
        "targets": [_target(target) for target in answer.targets],
        "warnings": list(answer.warnings),
        "images": asdict(answer.images),
        "models": [_model(model) for model in answer.models],
        "structured_report": answer.structured_report,
        "no_structured_report": answer.no_structured_report,
    }
    return dump_with_digest(document, in_order=True)


def _target(target: TargetAnswer) -> dict[str, Any]:
    rule, tested = target.rule, target.tested
    values = asdict(target.answer)
    values["spread"]["num_predictions"] = target.answer.spread.num_predictions
    return {
        "target": values.pop("target"),
        "model": target.model,
        **values,
        "calibration": None if rule.calibration is None else asdict(rule.calibration),
        "no_calibration": rule.no_calibration,
        "no_threshold": rule.no_threshold,
        "prevalence_validation": rule.prevalence,
        "rates_validation": None if rule.validation is None else asdict(rule.validation),
        "rates_test": None if tested.rates is None else asdict(tested.rates),
        "no_rates_test": tested.no_rates,
        "auc_test": tested.auc,
        "auc_test_ci95": tested.auc_ci95,
        "calibration_test": None if tested.calibration is None else asdict(tested.calibration),
        "attention": None if target.attention is None else _attention(target.attention, tested),
    }


def _attention(found: Attention, tested: Tested) -> dict[str, Any]:
    names = (
        "share_in_tumour", "tumour_share", "highest_in_tumour", "num_steps", "completeness_error",
        "explained_logits", "adds_up",
    )  # fmt: skip
    return {**{name: getattr(found, name) for name in names}, "verdict_in_report": tested.attention}


def _model(model: ModelAnswer) -> dict[str, Any]:
    values = asdict(model)
    values["targets"] = [target.rule.target for target in model.targets]
    values["comparisons"] = [asdict(comparison) for comparison in model.comparisons]
    return values
