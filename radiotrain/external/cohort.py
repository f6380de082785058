"""External store: phases, overlapping patients and target names.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import InputError, nearest_hint
from preprocessing.store import PatientRecord, Store
from radiotrain.evaluation.external_results import CohortTarget
from radiotrain.evaluation.leak_checks import Finding, LeakCheck, find_duplicates, plain_id
from radiotrain.external.external_models import TestedModel
from radiotrain.split.split import Split, SplitPatients

_DIGITS = 12
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class StoreOfPhases(Store):
    """A store of which some phases are read.

    Parameters
    ----------
    phases
        Their numbers in the store, from 0.
    """

    phases: tuple[int, ...] = ()

    def read_images(self, i: int) -> tuple[NDArray[np.int16], float]:
        """Return patient i's voxels of these phases as int16 (P, R, C, S) and their scale."""
        voxels, scale = super().read_images(i)
        return voxels[list(self.phases)], scale


@dataclass(frozen=True)
class Cohort:
    """A cohort that no model was trained on.

    Parameters
    ----------
    sealed
        All its patients as the test patients of a split without folds, so that the same seal keeps them.
    """

    store: Store
    sealed: Split

    @property
    def patient_ids(self) -> tuple[str, ...]:
        """Usable patients."""
        return self.sealed.test_ids

    @property
    def fingerprint(self) -> str:
        """Short digest of which patients these are and of their labels, however they were preprocessed.

        Ids alone would take two hospitals that count their patients from 1 for one cohort.
        """
        labels = dict(zip(self.store.patient_ids, self.store.labels.tolist(), strict=True))
        known = [self.store.targets, [[i, labels[i]] for i in sorted(self.patient_ids)]]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:_DIGITS]

    @property
    def name(self) -> str:
        """Name of its store, without the place."""
        return last_part(self.store.url)


def last_part(url: str) -> str:
    """Return the name of a store, without the place: reports are passed on."""
    return url.rstrip("/").rsplit("/", 1)[-1]


def open_cohort(url: str) -> Cohort:
    """Open the finished store of a cohort.

    Raises
    ------
    MissingPathError, SchemaError, DamagedFileError
        See `Store.open`.
    InputError
        If it is not finished, or has no usable patient.
    """
    store = Store.open(url)
    if not store.patient_ids:
        raise InputError(
            f"store {store.url} has no usable patient ({len(store.excluded)} were excluded): see"
            f" 'radiotrain qc {store.url}'"
        )
    sealed = Split(
        seed=0,
        targets=store.targets,
        test_fraction=1.0,
        test_ids=tuple(sorted(store.patient_ids)),
        folds=(),
        patients=SplitPatients.of(store, store.patient_ids),
    )
    return Cohort(store, sealed)


def parse_phases(text: str) -> tuple[int, ...]:
    """Return numbers of phases from ``0,1,3``.

    Raises
    ------
    InputError
        If they are not numbers that rise from 0.
    """
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or found[0] != 0 or any(b <= a for a, b in pairwise(found)):
        raise InputError(
            f"--phases is {text!r}, expected the cohort's phases that the networks shall read, in the order"
            " of time from the pre-contrast, 0, on, e.g. 0,1,3"
        )
    return found


def with_phases(cohort: Cohort, phases: Sequence[int]) -> Cohort:
    """Return a cohort of which these phases are read.

    Raises
    ------
    InputError
        If it has not all of them.
    """
    store, num = cohort.store, cohort.store.spec.num_phases
    if max(phases) >= num:
        raise InputError(
            f"--phases names phase {max(phases)}, but store {store.url} has {num} phases, 0 to {num - 1}:"
            " name some of these"
        )
    values = {f.name: getattr(store, f.name) for f in fields(Store)}
    values["spec"] = replace(store.spec, num_phases=len(phases))
    values["records"] = tuple(_record_of(record, phases) for record in store.records)
    return replace(cohort, store=StoreOfPhases(**values, phases=tuple(phases)))


def _record_of(record: PatientRecord, phases: Sequence[int]) -> PatientRecord:
    return replace(
        record,
        phase_names=_chosen(record.phase_names, phases),
        phase_times_s=_chosen(record.phase_times_s, phases),
    )


def _chosen(values: tuple[_Value, ...], phases: Sequence[int]) -> tuple[_Value, ...]:
    return tuple(values[p] for p in phases) if len(values) > max(phases) else ()


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


@dataclass(frozen=True)
class MappedTargets:
    """Targets that are tested, and sentences on those that are not.

    Parameters
    ----------
    tested
        In the order of the models.
    """

    tested: tuple[CohortTarget, ...]
    left_out: tuple[str, ...]

    @property
    def label_of(self) -> dict[str, str]:
        """Target of the models to label of the cohort."""
        return {found.target: found.label for found in self.tested}


def parse_targets(texts: Sequence[str]) -> dict[str, str]:
    """Return target to label from ``ER=HR`` or ``ER``, several of them separated by commas too.

    Raises
    ------
    InputError
        If one is no such text, or a target is named twice.
    """
    found: dict[str, str] = {}
    for text in (part for texts_ in texts for part in texts_.split(",")):
        target, equals, label = (part.strip() for part in text.partition("="))
        if not target or (equals and not label):
            raise InputError(
                f"--targets is {text!r}, expected TARGET=LABEL, the models' target and the cohort's label,"
                " e.g. ER=HR"
            )
        if target in found:
            raise InputError(f"--targets names {target} twice, expected one label for it")
        found[target] = label or target
    return found


def map_targets(
    targets: Sequence[str],
    labels: NDArray[np.int8],
    names: Sequence[str],
    given: Mapping[str, str],
    store: str,
) -> MappedTargets:
    """Find the cohort's label for each target of the models.

    Parameters
    ----------
    targets
        Of the models.
    labels
        int8 (N, T) of the cohort, of 0, 1 or -1.
    names
        Of its T labels.
    given
        Target to label as the user named them; others are looked for under their own name.

    Raises
    ------
    InputError
        If a name is neither the models' nor the cohort's, or no target can be tested.
    """
    for target, label in given.items():
        if target not in targets:
            raise InputError(
                f"--targets names {target}{nearest_hint(target, targets)}, but the models predict"
                f" {', '.join(targets)}: name the models' target before the ="
            )
        if label not in names:
            raise InputError(
                f"--targets wants label {label} for {target}{nearest_hint(label, names)}, but store {store}"
                f" has {', '.join(names) or 'no labels'}: name one of these after the ="
            )
    tested, left_out = [], []
    for target in targets:
        label = given.get(target, target)
        if label not in names:
            left_out.append(
                f"{target} is not tested: the cohort has no label of that name, but"
                f" {', '.join(names) or 'none'}; name its label with --targets {target}=LABEL"
            )
            continue
        counts = Counter(labels[:, list(names).index(label)].tolist())
        found = CohortTarget(target, label, counts[1], counts[0], counts[MISSING_LABEL])
        if why := _why_not(found):
            left_out.append(f"{target} is not tested: {why}")
        else:
            tested.append(found)
    if not tested:
        raise InputError(
            f"store {store} can test none of the models' targets: {'; '.join(left_out)}"
        )
    return MappedTargets(tuple(tested), tuple(left_out))


def _why_not(found: CohortTarget) -> str:
    known = found.num_positive + found.num_negative
    if not known:
        return f"the label {found.label} is missing in all {found.num_missing} patients"
    if not found.num_positive or not found.num_negative:
        kind = "positive" if found.num_positive else "negative"
        return f"the label {found.label} is {kind} in all {known} patients in which it is known"
    return ""
