"""Model for inference from an export.

Nothing but JSON and safetensors is read. Nobody can be told from an export: of training patients it has
quantiles and counts of five and more, and nothing by which an examination could be recognised.
"""

from __future__ import annotations

from preprocessing.common.config import PreprocessConfig
from preprocessing.common.errors import InputError
from preprocessing.storage import files
from radiotrain.distributed import choose_device
from radiotrain.export.description import (
    FILE_NAME,
    OTHER,
    YOUDEN,
    Calibration,
    Images,
    ModelDescription,
    OperatingPoint,
)
from radiotrain.export.description import Member as ExportedMember
from radiotrain.export.load import load_export
from radiotrain.inference.model import (
    Member,
    TrainedModel,
    describe_training,
    digest_of,
    preprocessing_of,
)
from radiotrain.inference.operating_point import Rates, Rule, rates_of
from radiotrain.inference.out_of_range import TrainingImages
from radiotrain.runs.provenance import Span
from radiotrain.statistics.member_scale import MemberScale, Scales
from radiotrain.statistics.operating_point import Confusion
from radiotrain.statistics.recalibration import PlattCurve


def load_exported_model(url: str, device: str = "auto") -> TrainedModel:
    """Load an export.

    Raises
    ------
    MissingPathError
        If one of its files is missing.
    SchemaError
        If another version wrote it, or one that did not know of new patients.
    InputError
        If it is of another format, damaged, changed, or was not trained on a store of ``radiotrain
        preprocess``.
    """
    loaded = load_export(url)
    found, where = loaded.description, files.join(files.absolute(url), FILE_NAME)
    trainings, images = [member.training for member in found.members], found.cohort.images
    preprocessing = _preprocessing(found, where)
    chosen = choose_device(device)
    scales = [_scales(member) for member in found.members]
    digest = digest_of(loaded.members, scales)
    members = []
    for trained, member, training, of_member in zip(
        loaded.members, found.members, trainings, scales, strict=True
    ):
        trained.network.to(chosen).requires_grad_(False)
        members.append(
            Member(trained, training.augment, member.seed, training.precision, of_member)
        )
    num_patients = max(training.num_patients for training in trainings)
    return TrainedModel(
        name=found.name,
        members=tuple(members),
        rules=tuple(_rule(found, target, where) for target in found.targets),
        preprocessing=preprocessing,
        normalisation=found.input.normalisation.kind,
        images=_training_images(images, found.cohort.num_patients),
        examinations=None,
        store_fingerprint=found.origin.store_fingerprint,
        about=describe_training(
            found.network.name,
            len(members),
            num_patients,
            trainings[0].num_epochs,
            is_promoted=bool(found.origin.made),
            scales=scales,
        ),
        digest=digest,
        device=chosen,
    )


def _scales(member: ExportedMember) -> Scales | None:
    if member.scales is None:
        return None
    return {target: MemberScale(**scale.model_dump()) for target, scale in member.scales.items()}


def _preprocessing(found: ModelDescription, where: str) -> PreprocessConfig:
    config = preprocessing_of(found.input.preprocessing, f"model {where}")
    made, read = (
        (config.num_phases, *config.crop_shape),
        (found.input.num_phases, *found.input.crop_shape),
    )
    if made != read:
        raise InputError(
            f"{where} is not what radiotrain wrote (its preprocessing makes {made} of phases, rows, columns"
            f" and slices, its networks read {read}): export the run again"
        )
    return config


def _training_images(images: Images, num_patients: int) -> TrainingImages:
    return TrainingImages(
        num_patients=num_patients,
        spans={
            name: Span(r.low, r.median, r.high, r.num_patients)
            for name, r in images.numbers.items()
        },
        counts={
            name: {value: num for value, num in values.items() if value != OTHER}
            for name, values in images.properties.items()
        },
        ranges="quantiles",
    )


def _rule(found: ModelDescription, target: str, where: str) -> Rule:
    calibration = found.calibration[target]
    point = next((p for p in found.operating_points[target] if p.rule == YOUDEN), None)
    if point is None:
        raise InputError(
            f"{where} is not what radiotrain wrote ({target} has no operating point of rule {YOUDEN}): export"
            " the run again"
        )
    num, num_positive, curve = calibration.num_patients, calibration.num_positive, calibration.platt
    return Rule(
        target=target,
        calibration=(
            None if curve is None else PlattCurve(curve.slope, curve.intercept, num, num_positive)
        ),
        no_calibration=calibration.reasons.get("platt", ""),
        threshold=point.threshold,
        no_threshold=point.reason,
        validation=_rates(calibration, point),
        prevalence=num_positive / num if num else None,
    )


def _rates(calibration: Calibration, point: OperatingPoint) -> Rates | None:
    """Return what the threshold did on validation patients, counted from its shares of them."""
    if point.threshold is None or point.sensitivity is None or point.specificity is None:
        return None
    positive = calibration.num_positive
    negative = calibration.num_patients - positive
    tp, tn = round(point.sensitivity * positive), round(point.specificity * negative)
    return rates_of("validation", Confusion(tp=tp, fp=negative - tn, tn=tn, fn=positive - tp))
