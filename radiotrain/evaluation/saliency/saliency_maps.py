"""Saliency maps of test patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from preprocessing.store import REGION_PADDING, REGION_TUMOUR, Store
from radiotrain.data.patients import load_patients
from radiotrain.distributed import choose_device
from radiotrain.evaluation.model import Model
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.saliency.attribution import (
    Attribution,
    Explained,
    integrated_gradients,
    occlusion,
    pooled,
    with_random_weights,
)
from radiotrain.evaluation.saliency.pictures import draw
from radiotrain.evaluation.saliency.saliency_results import (
    Mean,
    PatientSaliency,
    Picture,
    RunSaliency,
    Saliency,
    judge_saliency,
)
from radiotrain.evaluation.saliency.scores import (
    FRACTIONS,
    deletion_curve,
    likeness,
    mean_interval,
    points_inside,
    share_inside,
)
from radiotrain.runs.predict_run import load_network
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import TestAccess
from radiotrain.statistics.operating_point import wilson_interval, youden_threshold


def choose_patients(scores: PatientScores, threshold: float, num: int) -> tuple[str, ...]:
    """Return up to `num` patients, right and wrong ones in turn, the surest of each first.

    Parameters
    ----------
    scores
        Of the test patients.
    threshold
        From which on one is called positive.
    """
    right = (scores.scores >= threshold) == (scores.labels == 1)
    order = np.argsort(-np.abs(scores.scores - threshold), kind="stable")
    queues = [[i for i in order if right[i]], [i for i in order if not right[i]]]
    chosen: list[int] = []
    while len(chosen) < num and any(queues):
        for queue in queues:
            if queue and len(chosen) < num:
                chosen.append(int(queue.pop(0)))
    ids: Sequence[str] = scores.patient_ids
    return tuple(ids[i] for i in chosen)


_STEPS = 16
# Ranks of a map settle sooner than its sum.
_STEPS_TO_COMPARE = 8
_NUM_PICTURES = 4
_SEED = 0


def find_saliency(
    models: Sequence[Model],
    store: Store,
    split: Split,
    table: pd.DataFrame,
    access: TestAccess,
    num_patients: int,
    progress: Callable[[str, int], Any],
) -> Saliency:
    """Look at some test patients of each model and target.

    Parameters
    ----------
    table
        A validated predictions table, with the models' test predictions.
    num_patients
        Of each model and target.
    progress
        See `preprocessing.common.progress`.
    """
    keys = [(model, target) for model in models for target in model.config.targets]
    runs, pictures = [], {}
    with progress("saliency", len(keys) * num_patients) as advance:
        for model, target in keys:
            cut = _threshold(table, model.name, target)
            looked = _Looked(model, target, cut, store, split, access)
            found = list(looked.at(table, num_patients, advance))
            runs.append(_sum_up(model.name, target, found))
            pictures[model.name, target] = tuple(looked.pictures)
    return Saliency(FRACTIONS, tuple(runs), pictures)


_Found = tuple[PatientSaliency, np.ndarray, np.ndarray]


class _Looked:
    """Looks at patients with one model's networks."""

    def __init__(
        self,
        model: Model,
        target: str,
        cut: float,
        store: Store,
        split: Split,
        access: TestAccess,
    ) -> None:
        self.model, self.target, self.cut = model, target, cut
        self.store, self.split, self.access = store, split, access
        self.device = choose_device("auto")
        self.trained = [load_network(url) for url in model.members]
        for one in self.trained:
            one.network.to(self.device).requires_grad_(False)
        self.pictures: list[Picture] = []

    def at(self, table: pd.DataFrame, num: int, advance: Callable[[], object]) -> Iterator[_Found]:
        """Look at the surest patients, one after the other."""
        scores = patient_scores(table, self.model.name, self.target, "test")
        ids = choose_patients(scores, self.cut, num)
        rows = {patient_id: n for n, patient_id in enumerate(scores.patient_ids)}
        for patient_id in ids:
            n = rows[patient_id]
            label, probability = int(scores.labels[n]), float(scores.scores[n])
            yield self._look(patient_id, label, probability)
            advance()
        for _ in range(num - len(ids)):
            advance()

    def _look(self, patient_id: str, label: int, probability: float) -> _Found:
        images, explained = self._explained(patient_id)
        region = self.store.read_region(self.store.index_of(patient_id))
        tumour, padding = region & REGION_TUMOUR > 0, region & REGION_PADDING > 0
        attribution = integrated_gradients(explained, images, _STEPS)
        saliency = np.where(padding, 0, attribution.saliency).astype(np.float32)
        share, chance = share_inside(saliency, tumour, padding)
        salient, random = deletion_curve(explained, images, saliency, padding, _SEED)
        last, anew = (
            self._with_random_weights(explained, images, last_only) for last_only in (True, False)
        )
        found = PatientSaliency(
            patient_id=patient_id,
            label=label,
            probability=probability,
            is_right=(probability >= self.cut) == (label == 1),
            share=_known(share),
            chance=_known(chance),
            points_inside=points_inside(saliency, tumour, padding),
            deletion=float((salient - random).mean()),
            like_occlusion=_known(likeness(pooled(attribution), occlusion(explained, images))),
            like_random_last=_known(likeness(saliency[~padding], last.saliency[~padding])),
            like_random_all=_known(likeness(saliency[~padding], anew.saliency[~padding])),
            like_random_boxes=_known(likeness(pooled(attribution), pooled(anew))),
            completeness_error=attribution.completeness_error,
        )
        if len(self.pictures) < _NUM_PICTURES:
            self.pictures.append(draw(images.cpu().numpy(), saliency, tumour, found, self.target))
        return found, salient, random

    def _explained(self, patient_id: str) -> tuple[Tensor, Explained]:
        """Return the patient's images as the networks are given them, and the function."""
        targets = self.model.config.targets
        patients = load_patients(
            self.store,
            self.split,
            (patient_id,),
            targets,
            rule=self.model.config.train.normalisation,
            access=self.access,
        )
        batch = patients.batch(np.array([0]), self.device)
        covariates = []
        for one in self.trained:
            encoded = np.empty((1, 0), dtype=np.float32)
            if one.encoder is not None:
                encoded = np.asarray(one.encoder.transform(patients.records), dtype=np.float32)
            covariates.append(torch.from_numpy(encoded).to(self.device))
        networks = tuple(one.network for one in self.trained)
        return batch.images[0], Explained(
            networks,
            tuple(covariates),
            targets.index(self.target),
            tuple(scales[self.target] for scales in self.model.scales if scales is not None),
        )

    def _with_random_weights(
        self, explained: Explained, images: Tensor, last_only: bool
    ) -> Attribution:
        other = with_random_weights(explained, last_layer_only=last_only, seed=_SEED)
        return integrated_gradients(other, images, _STEPS_TO_COMPARE)


def _threshold(table: pd.DataFrame, run: str, target: str) -> float:
    """Return Youden's threshold of the validation patients; 0.5 where there is none."""
    validation = patient_scores(table, run, target, "validation")
    found = youden_threshold(validation.labels, validation.scores)
    return 0.5 if math.isnan(found) else float(found)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _sum_up(run: str, target: str, found: Sequence[_Found]) -> RunSaliency:
    patients = tuple(one for one, _, _ in found)
    means = {
        name: _mean(patients, name)
        for name in (
            "deletion",
            "like_occlusion",
            "like_random_last",
            "like_random_all",
            "like_random_boxes",
        )
    }
    ratios = [math.nan if p.share is None or not p.chance else p.share / p.chance for p in patients]
    ratio = _mean_of(ratios)
    kind, sentences = judge_saliency(
        ratio,
        means["deletion"],
        means["like_occlusion"],
        picture=means["like_random_all"],
        boxes=means["like_random_boxes"],
    )
    num_inside = sum(p.points_inside for p in patients)
    curves = [np.mean(curve, axis=0) for curve in zip(*[f[1:] for f in found], strict=True)]
    salient, random = curves or (np.zeros(0), np.zeros(0))
    return RunSaliency(
        run=run,
        target=target,
        patients=patients,
        ratio=ratio,
        deletion_salient=tuple(map(float, salient)),
        deletion_random=tuple(map(float, random)),
        points_inside=num_inside / len(patients) if patients else None,
        points_inside_ci95=wilson_interval(num_inside, len(patients)) if patients else None,
        kind=kind,
        sentences=sentences if patients else ("No test patient with a known label to look at.",),
        reasons=_reasons(patients, {"ratio": ratio, **means}),
        **means,
    )


def _mean(patients: Sequence[PatientSaliency], name: str) -> Mean:
    return _mean_of([getattr(p, name) for p in patients])


def _mean_of(values: Sequence[float | None]) -> Mean:
    numbers = np.array([math.nan if v is None else v for v in values], dtype=np.float64)
    value, interval = mean_interval(numbers, _SEED)
    return Mean(_known(value), interval)


def _reasons(patients: Sequence[PatientSaliency], means: Mapping[str, Mean]) -> dict[str, str]:
    why = "no patient has it" if patients else "no test patient with a known label"
    found = {name: why for name, mean in means.items() if mean.value is None}
    if not patients:
        found |= dict.fromkeys(("points_inside", "points_inside_ci95"), why)
    return found
