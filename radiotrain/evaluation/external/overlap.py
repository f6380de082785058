"""Patients of an external cohort that the models were trained on, or that their test set holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import InputError
from preprocessing.store import PatientRecord, Store
from radiotrain.evaluation.external.cohort import Cohort
from radiotrain.evaluation.external.models import TestedModel
from radiotrain.evaluation.leaks.duplicates import find_duplicates
from radiotrain.evaluation.leaks.in_table import plain_id
from radiotrain.evaluation.leaks.results import Finding, LeakCheck
from radiotrain.split import Split
from radiotrain.split_patients import SplitPatients


@dataclass(frozen=True)
class TrainingCohort:
    """What the models were trained on.

    Parameters
    ----------
    store
        None where it is not at hand.
    """

    split: Split
    store: Store | None


def check_overlap(
    cohort: Cohort, models: Sequence[TestedModel], training: TrainingCohort | None
) -> tuple[LeakCheck, ...]:
    """Refuse a cohort that shares patients with the models' own; return what was looked for.

    Raises
    ------
    InputError
        If it is the training store, or some of its patients are in the split of the models, by their ids
        or by their voxels.
    """
    _check_origin(cohort, models)
    return (_by_id(cohort, models, training), _by_voxels(cohort, models, training))


def look_for_copies(
    cohort: Cohort, training: TrainingCohort | None, progress: Callable[[str, int], Any]
) -> LeakCheck:
    """Compare the crops of the cohort and of the development patients, each with each."""
    question = "An examination of the training cohort under another id, by how the crops look"
    if training is None or training.store is None:
        return LeakCheck(question, "not done", "the training store is not at hand")
    if training.store.image_shape[1:] != cohort.store.image_shape[1:]:
        return LeakCheck(question, "not done", "the two stores have crops of different shapes")
    own, theirs = training.split.development_ids, cohort.patient_ids

    def crops(advance: Callable[[], object]) -> Iterator[tuple[str, NDArray[np.int16]]]:
        for store, ids, side in ((training.store, own, "0"), (cohort.store, theirs, "1")):
            assert store is not None
            for patient_id in ids:
                yield f"{side}{patient_id}", store.read_images(store.index_of(patient_id))[0][0]
                advance()

    with progress("look for duplicates", len(own) + len(theirs)) as advance:
        pairs = find_duplicates(cohort.store.image_shape[1:], crops(advance))
    findings: list[Finding] = []
    for pair in pairs:
        first, second = sorted((pair.first, pair.second))
        a, b = first[1:], second[1:]
        how = f"similarity of their crops {pair.similarity:.2f} of 1"
        if first[0] != second[0]:
            sentence = (
                "Leak: a training patient and one of the external cohort look like one examination"
                f" ({how}). Remove it from the external cohort."
            )
            findings.append((sentence, (a, b)))
        elif first[0] == "1":
            sentence = (
                "In the external cohort, two ids look like one examination"
                f" ({how}): a patient counts twice. Remove one of them."
            )
            findings.append((sentence, (a, b)))
    looked = (
        f"{len(theirs)} crops of the cohort and {len(own)} of development patients, each with each"
    )
    findings.sort(key=lambda finding: not finding[0].startswith("Leak"))
    return LeakCheck.of(question, looked, findings)


def _check_origin(cohort: Cohort, models: Sequence[TestedModel]) -> None:
    store = cohort.store
    own = SplitPatients.of(store, store.patient_ids).fingerprint
    for model in models:
        config = None if model.model is None else model.model.config
        is_same = config is not None and _is_same_place(config.store, store.url)
        if is_same or model.origin[0] == own:
            raise InputError(
                f"store {store.url} is the one that model {model.name} was trained on, no external cohort: run"
                " 'radiotrain evaluate' without --external to test it on its own test set"
            )


def _is_same_place(a: str, b: str) -> bool:
    from preprocessing.storage import files

    return files.absolute(a) == files.absolute(b)


def _by_id(
    cohort: Cohort, models: Sequence[TestedModel], training: TrainingCohort | None
) -> LeakCheck:
    question = "A patient of the training cohort, by id"
    known = set(training.split.patient_ids) if training is not None else set()
    for model in models:
        if model.validation is not None:
            known |= set(model.validation["patient_id"])
    if not known:
        return LeakCheck(question, "not done", "neither a split nor a run is at hand")
    shared = sorted(known & set(cohort.patient_ids))
    if shared:
        raise InputError(
            f"{len(shared)} of {len(cohort.patient_ids)} patients of store {cohort.store.url} have ids of patients"
            f" that the models were trained on or keep for their test (first: {shared[0]!r}): leave these"
            " patients out of the cohort, or, if only the ids are alike, give the cohort other ids"
        )
    spelt = {plain_id(i): i for i in sorted(known)}
    alike = [(spelt[plain_id(i)], i) for i in cohort.patient_ids if plain_id(i) in spelt]
    findings: list[Finding] = []
    if alike:
        sentence = (
            f"Leak: {len(alike)} patient{'s' * (len(alike) > 1)} of the external cohort may be in the training"
            " cohort under another spelling of the id. Leave them out if they are the same."
        )
        findings.append((sentence, tuple(i for pair in alike for i in pair)))
    of = (
        "the whole split"
        if training is not None
        else "validation patients only, as no split is at hand"
    )
    return LeakCheck.of(
        question, f"{len(cohort.patient_ids)} ids against {len(known)} of {of}", findings
    )


def _by_voxels(
    cohort: Cohort, models: Sequence[TestedModel], training: TrainingCohort | None
) -> LeakCheck:
    question = "A patient of the training cohort, by equal voxels"
    known: dict[Any, str] = {}
    looked = []
    if training is not None and training.store is not None:
        store, ids = training.store, set(training.split.patient_ids)
        for record in store.records:
            if record.patient_id in ids:
                known |= dict.fromkeys(_keys(record), record.patient_id)
        looked.append("all patients of the split")
    for model in models:
        known |= {
            ("volume", d): "not named"
            for d in model.examinations or ()
            if ("volume", d) not in known
        }
    if any(model.examinations for model in models):
        looked.append("digests that the runs keep")
    if not known:
        return LeakCheck(
            question, "not done", "neither the training store nor digests of it are at hand"
        )
    shared = [
        (record.patient_id, known[key])
        for record in cohort.store.records
        for key in _keys(record)
        if key in known
    ]
    if shared:
        num = len({patient_id for patient_id, _ in shared})
        raise InputError(
            f"{num} of {len(cohort.patient_ids)} patients of store {cohort.store.url} have the very voxels of"
            f" patients that the models were trained on or keep for their test (first: {shared[0][0]!r}, there"
            f" {shared[0][1]!r}): leave these patients out of the cohort"
        )
    return LeakCheck.of(
        question, f"{len(cohort.patient_ids)} patients against {' and '.join(looked)}", ()
    )


def _keys(record: PatientRecord) -> Iterator[tuple[Any, ...]]:
    digest = record.details.get("volume_digest")
    if digest:
        yield "volume", str(digest)
    if "images" in record.checksums:
        yield "crop", record.checksums["images"], record.scale
