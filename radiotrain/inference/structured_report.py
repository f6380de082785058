"""DICOM SR of a patient: TID 1500 measurement report.

It belongs into the patient's record and so carries their identification, copied from the images. What
each number is, is said in codes: SNOMED CT, LOINC and UCUM where they have one, else those of the
private scheme 99RADIOTRAIN. It is marked as partial, preliminary and unverified, and as research use
in its series' description, in each group of measurements, and in the algorithm's parameters.

References
----------
DICOM PS3.16, TID 1500, 1501, 300, 4019. Bridge et al.: Highdicom. Journal of Digital Imaging 35
(2022).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from copy import copy
from io import BytesIO

import highdicom as hd
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from radiotrain.inference import RESEARCH_USE
from radiotrain.inference.prediction import ModelAnswer, PatientPrediction, TargetAnswer
from radiotrain.inference.prepare import DicomSource
from radiotrain.version import __version__

SERIES_DESCRIPTION = "RESEARCH USE ONLY receptor status from MRI"
_SERIES_NUMBER = 9100
_SCHEME = "99RADIOTRAIN"
# Of this program, whatever the machine: made once with uuid4.
_DEVICE_UID = "2.25.180637209571406836290345183310278467395"
_MOST_IN_LONG_STRING = 64

_EMPTY_IF_ABSENT = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip

_PROCEDURE = CodedConcept("36277-2", "LN", "MR Breast - bilateral WO and W contrast IV")
_METHOD = CodedConcept("NETWORK", _SCHEME, "Neural network reading of images")
_USE = CodedConcept("USE", _SCHEME, "Intended use")
_RESEARCH = CodedConcept("RESEARCH", _SCHEME, "Research use only, not for clinical decisions")
_CALL = CodedConcept("CALL", _SCHEME, "Side of the operating point")
_ABOVE = CodedConcept("ABOVE", _SCHEME, "At or above the operating point")
_BELOW = CodedConcept("BELOW", _SCHEME, "Below the operating point")
_RANGE = CodedConcept("RANGE", _SCHEME, "Images compared with those of training patients")
_IN_RANGE = CodedConcept("INSIDE", _SCHEME, "Within their range")
_OUT_OF_RANGE = CodedConcept("OUTSIDE", _SCHEME, "Outside their range in some respect")
_IN_MIDDLE = CodedConcept("INSIDE98", _SCHEME, "Within the middle 98 % of them")
_OUT_OF_MIDDLE = CodedConcept(
    "OUTSIDE98", _SCHEME, "Outside the middle 98 % of them in some respect"
)
_OPERATING_POINT = CodedConcept("THRESHOLD", _SCHEME, "Operating point")
_CALIBRATED = CodedConcept("CALIBRATED", _SCHEME, "Calibrated on validation patients")
_UNCALIBRATED = CodedConcept("UNCALIBRATED", _SCHEME, "As the network gave it")
_SPREAD = CodedConcept("SPREAD", _SCHEME, "Spread over networks and views")
_SENSITIVITY = CodedConcept("SENSITIVITY", _SCHEME, "Sensitivity at the operating point")
_SPECIFICITY = CodedConcept("SPECIFICITY", _SCHEME, "Specificity at the operating point")
# The observable whose probability is told.
_OBSERVABLES = {
    "ER": CodedConcept("445028008", "SCT", "Presence of estrogen receptor in neoplasm"),
    "PR": CodedConcept("445029000", "SCT", "Presence of progesterone receptor in neoplasm"),
    "HER2": CodedConcept("48676-1", "LN", "HER2 [Interpretation] in Tissue"),
}
_TARGET = CodedConcept("TARGET", _SCHEME, "Property whose probability is told")


class NoReportError(Exception):
    """Images whose own headers do not allow an SR beside them."""


def structured_report(answer: PatientPrediction, source: DicomSource) -> bytes:
    """Return the SR as the bytes of a DICOM file.

    Raises
    ------
    NoReportError
        If what it has to take over from the images is not there, or is nothing that DICOM allows.
    """
    try:
        return _structured_report(answer, source)
    # Of highdicom and pydicom; what they quote may be the patient's name.
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NoReportError(type(error).__name__) from error


def _structured_report(answer: PatientPrediction, source: DicomSource) -> bytes:
    with warnings.catch_warnings():
        # Names that are no names of people are quoted by it, and nobody's name is to be shown.
        warnings.simplefilter("ignore")
        sr = EnhancedSR(
            evidence=_evidence(source),
            content=_content(answer, source)[0],
            series_instance_uid=hd.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="radiotrain",
            manufacturer_model_name="radiotrain predict",
            software_versions=__version__,
            series_description=SERIES_DESCRIPTION,
            is_complete=False,
            is_final=False,
            is_verified=False,
        )
    sr.CompletionFlagDescription = RESEARCH_USE[:_MOST_IN_LONG_STRING]
    sr.CodingSchemeIdentificationSequence = [_scheme()]
    buffer = BytesIO()
    sr.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _evidence(source: DicomSource) -> list[Dataset]:
    """Return all images that were read, each with the patient and study of the first."""
    head = source.head
    found = []
    for image in source.images:
        full = copy(image)
        for keyword in _EMPTY_IF_ABSENT:
            setattr(full, keyword, head.get(keyword, ""))
        for keyword in ("IssuerOfPatientID", "StudyDescription"):
            if keyword in head:
                setattr(full, keyword, head.get(keyword))
        if "SpecificCharacterSet" in head:
            full.SpecificCharacterSet = head.SpecificCharacterSet
        found.append(full)
    return found


def _content(answer: PatientPrediction, source: DicomSource) -> MeasurementReport:
    groups = [_group(model, target, source) for model in answer.models for target in model.targets]
    device = DeviceObserverIdentifyingAttributes(
        uid=_DEVICE_UID,
        name="radiotrain",
        manufacturer_name="radiotrain",
        model_name=f"radiotrain predict {__version__}",
    )
    observer = ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=device
    )
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=_PROCEDURE,
        imaging_measurements=groups,
    )


def _group(
    model: ModelAnswer, target: TargetAnswer, source: DicomSource
) -> MeasurementsAndQualitativeEvaluations:
    name = target.rule.target
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=hd.UID(), identifier=f"{name} from MRI"),
        finding_type=codes.SCT.Neoplasm,
        finding_sites=[FindingSite(anatomic_location=codes.SCT.Breast)],
        method=_METHOD,
        algorithm_id=AlgorithmIdentification(
            name=f"radiotrain model {model.name}",
            version=f"radiotrain {__version__}, weights {model.digest}",
            parameters=[RESEARCH_USE, model.about, _described(target)],
        ),
        measurements=list(_measurements(target)),
        qualitative_evaluations=list(_evaluations(model, target)),
        source_images=[
            SourceImageForMeasurementGroup.from_source_image(image, frames and list(frames))
            for image, frames in source.tumour
        ],
    )


def _measurements(target: TargetAnswer) -> Iterator[Measurement]:
    answer = target.answer
    name = _probability_of(answer.target)
    kind = _CALIBRATED if answer.is_calibrated else _UNCALIBRATED
    yield Measurement(name, _percent(answer.probability), codes.UCUM.Percent, method=kind)
    if answer.spread.sd is not None:
        yield Measurement(
            name,
            _percent(answer.spread.sd),
            codes.UCUM.Percent,
            derivation=codes.SCT.StandardDeviation,
            method=_SPREAD,
        )
    if answer.threshold is not None:
        yield Measurement(_OPERATING_POINT, _percent(answer.threshold), codes.UCUM.Percent)
    rates = target.tested.rates or target.rule.validation
    if rates is not None:
        whom = CodedConcept(
            rates.patients.upper(), _SCHEME, f"Measured on {rates.patients} patients"
        )
        for concept, value in (
            (_SENSITIVITY, rates.sensitivity),
            (_SPECIFICITY, rates.specificity),
        ):
            if value is not None:
                yield Measurement(concept, _percent(value), codes.UCUM.Percent, method=whom)


def _evaluations(model: ModelAnswer, target: TargetAnswer) -> Iterator[QualitativeEvaluation]:
    yield QualitativeEvaluation(_USE, _RESEARCH)
    yield QualitativeEvaluation(_TARGET, _observable(target.rule.target))
    if target.answer.call is not None:
        call = _ABOVE if target.answer.call == "at or above" else _BELOW
        yield QualitativeEvaluation(_CALL, call)
    yield QualitativeEvaluation(_RANGE, _in_range(model))


def _in_range(model: ModelAnswer) -> CodedConcept:
    outside = any(comparison.sentence for comparison in model.comparisons)
    if model.ranges == "quantiles":
        return _OUT_OF_MIDDLE if outside else _IN_MIDDLE
    return _OUT_OF_RANGE if outside else _IN_RANGE


def _probability_of(target: str) -> CodedConcept:
    return CodedConcept(
        f"PROB_{target}"[:16].upper(),
        _SCHEME,
        f"Probability of {target} positive"[:_MOST_IN_LONG_STRING],
    )


def _observable(target: str) -> CodedConcept:
    known = _OBSERVABLES.get(target)
    return known or CodedConcept(target[:16].upper(), _SCHEME, target[:_MOST_IN_LONG_STRING])


def _described(target: TargetAnswer) -> str:
    spread = target.answer.spread
    return (
        f"Spread: {spread.num_predictions} predictions, {spread.num_networks} networks on"
        f" {spread.num_views} views of the image; not a confidence interval"
    )


def _percent(value: float) -> float:
    # A decimal string has room for 16 characters.
    return round(100 * value, 2)


def _scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = _SCHEME
    item.CodingSchemeName = "radiotrain's own codes"
    item.CodingSchemeVersion = __version__
    item.CodingSchemeResponsibleOrganization = "radiotrain"
    return item
