"""Predict one patient and write page, JSON and DICOM SR."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from torch import Tensor

from preprocessing.cohort.cohort import DicomSeries, Finding, Patient
from preprocessing.common.errors import (
    DamagedFileError,
    InputError,
    SchemaError,
    SealedTestSetError,
)
from preprocessing.common.redaction import shown_file
from preprocessing.images.load_patient import input_digest
from preprocessing.storage import files
from radiotrain.evaluation.saliency.pictures import draw_map
from radiotrain.inference.model import TrainedModel
from radiotrain.inference.operating_point import find_tested
from radiotrain.inference.out_of_range import compare
from radiotrain.inference.page import Pictures, render_page
from radiotrain.inference.prediction import (
    SCHEMA_VERSION,
    Images,
    ModelAnswer,
    PatientPrediction,
    TargetAnswer,
    to_json,
)
from radiotrain.inference.prepare import Prepared, prepare
from radiotrain.inference.probability import ask, read_answer
from radiotrain.inference.saliency import draw_phases, look, phase_titles
from radiotrain.runs.checked_files import read_json
from radiotrain.runs.provenance import has_bias_field, numbers_of, properties_of
from radiotrain.version import __version__

PAGE, JSON, SR = "report.html", "prediction.json", "report-sr.dcm"
_NOT_DICOM = "the images are not DICOM, so there is no examination to file it with"
_HEADERS = (
    "the images' headers lack their UIDs, or hold something about patient or study that DICOM does not"
    " allow"
)
_DIGITS = 16


@dataclass(frozen=True)
class Asked:
    """What the user wants to know.

    Parameters
    ----------
    models
        Each target of at most one.
    num_draws
        Changed views of the image, for the spread.
    steps
        Of integrated gradients; 0: no map.
    report
        ``metrics.json`` of the models' test; None without.
    """

    models: tuple[TrainedModel, ...]
    num_draws: int
    steps: int
    report: Mapping[str, Any] | None

    def request(self, patient: Patient) -> str:
        """Return a digest over all that the answer depends on."""
        parts = {
            "version": __version__,
            "models": [
                (m.name, m.digest, m.store_fingerprint, m.images.ranges) for m in self.models
            ],
            "draws": self.num_draws,
            "steps": self.steps,
            "report": self.report,
            "patient": input_digest(patient),
            "covariates": sorted((k, str(v)) for k, v in patient.covariates.items()),
            "segment": patient.mask.segment if patient.mask else None,
        }
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGITS]


def check_models(models: Sequence[TrainedModel]) -> None:
    """Refuse models that would answer the same question, or are called alike.

    Raises
    ------
    InputError
        If two do.
    """
    targets = [rule.target for model in models for rule in model.rules]
    for target in targets:
        if targets.count(target) > 1:
            named = [m.name for m in models if target in {rule.target for rule in m.rules}]
            raise InputError(
                f"{len(named)} models, {', '.join(named)}, tell {target}: name one for each target"
            )
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"two models are both called {name!r}: predict by one after the other, into two folders"
            )


def examine(patient: Patient, asked: Asked, out: str) -> PatientPrediction:
    """Predict a patient and write what came of it; the JSON last.

    Parameters
    ----------
    out
        Folder of this patient.

    Raises
    ------
    UnusablePatientError
        If no tensor can be made of the images.
    InputError
        If the images are of several people, or the segmentation is not of them.
    SealedTestSetError
        If a model is to be tested on them.
    """
    prepared: dict[str, Prepared] = {}
    answers: list[ModelAnswer] = []
    maps: dict[tuple[str, str], str] = {}
    for model in asked.models:
        settings = model.preprocessing.model_dump_json()
        if settings not in prepared:
            prepared[settings] = prepare(patient, model.preprocessing)
        of_model = prepared[settings]
        _check_sealed(model, of_model)
        images = of_model.images(model.normalisation)
        answers.append(_answer_of(model, of_model, images, asked))
        maps.update(_maps(answers[-1], of_model, images))
    first = next(iter(prepared.values()))
    answer = PatientPrediction(
        request=asked.request(patient),
        images=_images(patient, first),
        models=tuple(answers),
        structured_report=None,
        no_structured_report=_NOT_DICOM,
        generated_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    answer, report = _report(answer, first)
    _write(answer, first, maps, report, out)
    return answer


def _check_sealed(model: TrainedModel, patient: Prepared) -> None:
    known = model.examinations
    if known is not None and patient.record.details.get("volume_digest") in known.test:
        raise SealedTestSetError(
            f"this examination is in the sealed test set of model {model.name}: only 'radiotrain"
            " evaluate' predicts it, on record"
        )


def read_request(out: str) -> str | None:
    """Return what the answer in a folder was made of; None where none is whole."""
    try:
        values = read_json(files.join(out, JSON), SCHEMA_VERSION, "predict again")
    except (FileNotFoundError, SchemaError, DamagedFileError):
        return None
    found = values.get("request")
    return found if isinstance(found, str) else None


def _answer_of(model: TrainedModel, patient: Prepared, images: Tensor, asked: Asked) -> ModelAnswer:
    probabilities = ask(model, images, patient.record, asked.num_draws)
    was_in_development, no_recognition = _recognise(model, patient)
    targets = tuple(
        TargetAnswer(
            model=model.name,
            rule=rule,
            answer=read_answer(rule, probabilities[:, :, n]),
            tested=find_tested(asked.report, model.name, rule),
            attention=(
                look(model, n, images, patient, asked.steps, probabilities[:, 0, n])
                if asked.steps
                else None
            ),
        )
        for n, rule in enumerate(model.rules)
    )
    return ModelAnswer(
        name=model.name,
        about=model.about,
        digest=model.digest,
        store_fingerprint=model.store_fingerprint,
        num_training_patients=model.images.num_patients,
        ranges=model.images.ranges,
        preprocessing=model.preprocessing.model_dump(mode="json"),
        targets=targets,
        comparisons=_compare(model, patient),
        was_in_development=was_in_development,
        no_recognition=no_recognition,
        missing_covariates=tuple(
            name for name in model.covariates if patient.record.covariates.get(name) is None
        ),
    )


def _recognise(model: TrainedModel, patient: Prepared) -> tuple[bool | None, str]:
    """Return whether a model's development patients had this examination; or None, and why nobody knows."""
    known, digest = model.examinations, patient.record.details.get("volume_digest")
    if known is None:
        return None, "an exported model keeps nothing by which a patient could be recognised"
    if digest is None:
        return None, "images are recognised only where a bias field is fitted to them"
    return digest in known.development, ""


def _compare(model: TrainedModel, patient: Prepared) -> tuple[Any, ...]:
    settings = model.preprocessing.model_dump(mode="json")
    field = patient.bias_field if has_bias_field(settings) else None
    covariates = dict(patient.record.covariates)
    if patient.source is not None and covariates.get("model") is None:
        covariates["model"] = patient.source.model
    return compare(
        numbers_of(patient.record, field, settings),
        properties_of(covariates),
        model.images,
        patient.num_phases_found,
        len(patient.voxels),
    )


def _maps(
    answer: ModelAnswer, patient: Prepared, images: Tensor
) -> Iterator[tuple[tuple[str, str], str]]:
    for target in answer.targets:
        if target.attention is not None:
            uri = draw_map(
                images[0].numpy(), target.attention.map, patient.tumour, patient.slice_names
            )
            yield (answer.name, target.answer.target), uri


def _images(patient: Patient, prepared: Prepared) -> Images:
    record = prepared.record
    assert record.spacing_mm is not None
    assert record.box_in_crop is not None
    _, rows, columns, slices = prepared.voxels.shape
    names = _file_names(patient)
    return Images(
        kind="files" if prepared.source is None else "DICOM",
        examination=record.details.get("volume_digest"),
        num_phases_found=prepared.num_phases_found,
        phase_names=tuple(shown_file(n) if n in names else n for n in record.phase_names),
        phase_times_s=record.phase_times_s,
        spacing_mm=record.spacing_mm,
        crop_shape=(rows, columns, slices),
        box_in_crop=record.box_in_crop,
        findings=tuple(hide_names(finding, names) for finding in record.findings),
    )


def hide_names(finding: Finding, names: Sequence[str]) -> Finding:
    """Return a finding without files' names: people name files after patients."""
    message = finding.message
    for name in sorted(names, key=len, reverse=True):
        message = message.replace(name, shown_file(name))
    return replace(finding, message=message)


def _file_names(patient: Patient) -> tuple[str, ...]:
    sources = [*patient.phases, *([patient.mask] if patient.mask else [])]
    names = [s.name for s in sources]
    names += [p.name for s in patient.phases if isinstance(s, DicomSeries) for p in s.files]
    return tuple(name for name in names if name)


def _report(answer: PatientPrediction, patient: Prepared) -> tuple[PatientPrediction, bytes | None]:
    """Return the answer and its SR, or the answer that says why there is none."""
    if patient.source is None:
        return answer, None
    # It takes its time to load, and images that are not DICOM do without.
    from radiotrain.inference.structured_report import NoReportError, structured_report

    answer = replace(answer, structured_report=SR, no_structured_report="")
    try:
        return answer, structured_report(answer, patient.source)
    except NoReportError:
        return replace(answer, structured_report=None, no_structured_report=_HEADERS), None


def _write(
    answer: PatientPrediction,
    patient: Prepared,
    maps: Mapping[tuple[str, str], str],
    report: bytes | None,
    out: str,
) -> None:
    phases = draw_phases(
        patient.images("robust")[0].numpy(),
        patient.tumour,
        phase_titles(patient.record.phase_times_s),
        patient.slice_names,
    )
    # All is made before the first file is written.
    page, text = render_page(answer, Pictures(phases, maps)), to_json(answer)
    files.remove(files.join(out, JSON), files.join(out, PAGE))
    if report is None:
        files.remove(files.join(out, SR))
    else:
        # It identifies the patient.
        files.write_bytes(files.join(out, SR), report, private=True)
    files.write_text(files.join(out, PAGE), page)
    files.write_text(files.join(out, JSON), text)
