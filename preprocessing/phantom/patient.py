"""One phantom patient and its receptors, drawn from the seed and the patient's number alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from preprocessing.phantom.anatomy import FAT_SUPPRESSED, WEAKLY_SUPPRESSED, Anatomy, Tumour
from preprocessing.phantom.scanner import Protocol, draw_protocol
from preprocessing.phantom.settings import TARGETS, PhantomSettings
from preprocessing.phantom.signal import CoilField, Scene, draw_pose
from preprocessing.phantom.voxels import Pose

# Receptor labels, the latent image feature behind each, and the best AUC they allow.
#
# The joint prevalence is that of the 922 Duke patients. A latent feature is
# ``d · (label − 1/2) + N(0, 1)``, so that alone it separates its classes with AUC Φ(d/√2).

# Patients of Duke-Breast-Cancer-MRI by (ER, PR, HER2).
DUKE_COUNTS: Mapping[tuple[int, int, int], int] = {
    (1, 1, 0): 508,
    (0, 0, 0): 164,
    (1, 1, 1): 77,
    (1, 0, 0): 77,
    (0, 0, 1): 59,
    (1, 0, 1): 24,
    (0, 1, 0): 10,
    (0, 1, 1): 3,
}

Labels = dict[str, int]

_CELLS = list(DUKE_COUNTS)
_CELL_PREVALENCE = np.array([DUKE_COUNTS[c] for c in _CELLS]) / sum(DUKE_COUNTS.values())
_LABEL_STREAM = 1_000_003
_HEAD_START = 0.75
_JITTER = 0.5


def prevalence(target: str) -> float:
    """Return the share of positive patients at Duke."""
    positive = [cell[TARGETS.index(target)] == 1 for cell in _CELLS]
    return float(_CELL_PREVALENCE[positive].sum())


def draw_labels(settings: PhantomSettings) -> list[Labels]:
    """Assign labels to all patients, in proportion rather than by independent draws.

    One patient after the other gets the class that lags furthest behind its prevalence, with
    some jitter and a head start of the rarer class, so that already a dozen patients hold two
    or more of every class. HER2 is assigned first, then (ER, PR) among patients of that
    HER2 status. A target with effect 0 is assigned on its own: through its correlation with
    another target the images would otherwise tell about it.

    Returns
    -------
    One dict of target to 0 or 1 a patient; patient k's does not depend on how many follow.
    """
    rng = np.random.default_rng([settings.seed, _LABEL_STREAM])
    coins = [t for t in TARGETS if settings.effects[t] == 0]
    coin_columns = {t: _Quota(_coin_shares(t)) for t in coins}
    her2 = _Quota(_coin_shares("HER2"))
    receptors = {status: _Quota(_receptor_shares(status)) for status in (0, 1)}
    rows = []
    for _ in range(settings.patients):
        her2_status = her2.next(rng)[0]
        er_status, pr_status = receptors[her2_status].next(rng)
        row = {"ER": er_status, "PR": pr_status, "HER2": her2_status}
        row.update({t: coin_columns[t].next(rng)[0] for t in coins})
        rows.append(row)
    return rows


class _Quota:
    """Hands out classes so that their counts follow fixed shares."""

    def __init__(self, shares: Mapping[tuple[int, ...], float]) -> None:
        self._classes = list(shares)
        self._shares = np.array([shares[c] for c in self._classes])
        self._counts = np.zeros(len(shares))
        self._head_start = np.where(self._shares < 1 / len(shares), _HEAD_START, 0.0)
        self._head_start[self._shares < 0.05] = 0.0

    def next(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Return the class of the next patient."""
        due = self._shares * (self._counts.sum() + 1) + self._head_start - self._counts
        chosen = int(np.argmax(due + rng.uniform(-_JITTER, _JITTER, due.size)))
        self._counts[chosen] += 1
        return self._classes[chosen]


def _coin_shares(target: str) -> dict[tuple[int, ...], float]:
    return {(1,): prevalence(target), (0,): 1 - prevalence(target)}


def _receptor_shares(her2: int) -> dict[tuple[int, ...], float]:
    counts = {cell[:2]: n for cell, n in DUKE_COUNTS.items() if cell[2] == her2}
    return {cell: n / sum(counts.values()) for cell, n in counts.items()}


def draw_latents(
    labels: Mapping[str, int], effects: Mapping[str, float], rng: np.random.Generator
) -> dict[str, float]:
    """Draw one latent feature a target: mean ∓ d/2 for class 0/1, standard deviation 1."""
    noise = rng.standard_normal(len(TARGETS))
    return {
        t: effects[t] * (labels[t] - 0.5) + float(n) for t, n in zip(TARGETS, noise, strict=True)
    }


def analytic_auc(effect: float) -> float:
    """Return Φ(d/√2), the AUC of one latent feature of effect size d."""
    return 0.5 * (1 + math.erf(effect / 2))


def empirical_auc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the AUC of scores in one cohort (ties count half); None where a class is empty."""
    positive = np.asarray(labels) == 1
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if num_positive == 0 or num_negative == 0:
        return None
    rank_sum = float(rankdata(np.asarray(scores))[positive].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)


def best_auc(target: str, effects: Mapping[str, float], num_draws: int = 100_000) -> float:
    """Return the AUC of the Bayes classifier that sees all latent features.

    Labels are correlated, so another target's feature also tells about this one; the best
    reachable AUC is therefore above Φ(d/√2). By simulation, standard error about 0.001.
    """
    if effects[target] == 0:
        return 0.5
    return _simulated_best_auc(target, tuple(effects[t] for t in TARGETS), num_draws)


# Every cohort of these effects tells the same.
@cache
def _simulated_best_auc(target: str, effects: tuple[float, ...], num_draws: int) -> float:
    rng = np.random.default_rng(0)
    effect = np.array(effects)
    cells = np.array(_CELLS)
    drawn = cells[rng.choice(len(cells), size=num_draws, p=_CELL_PREVALENCE)]
    latents = effect * (drawn - 0.5) + rng.standard_normal(drawn.shape)
    score = _posterior_odds(latents, cells, effect, TARGETS.index(target))
    auc = empirical_auc(drawn[:, TARGETS.index(target)], score)
    assert auc is not None
    return auc


def _posterior_odds(
    latents: NDArray[np.float64],
    cells: NDArray[np.int_],
    effect: NDArray[np.float64],
    column: int,
) -> NDArray[np.float64]:
    # A target of effect 0 is independent of the others; its distances are all alike and cancel.
    distance = latents[:, None, :] - effect * (cells - 0.5)
    likelihood = np.exp(-0.5 * (distance**2).sum(axis=2)) * _CELL_PREVALENCE
    positive = cells[:, column] == 1
    odds: NDArray[np.float64] = likelihood[:, positive].sum(axis=1) / (
        likelihood[:, ~positive].sum(axis=1) + np.finfo(float).tiny
    )
    return odds


# One stream of random numbers for each subject: a change in one leaves the others as they are.
_STREAMS = ("protocol", "anatomy", "latents", "tumour", "field", "motion", "clinic", "noise")


@dataclass(frozen=True)
class PhantomPatient:
    """All that is decided about a patient before the first voxel.

    Parameters
    ----------
    number
        From 1.
    labels
        Target to 0 or 1.
    latents
        Target to its latent image feature.
    poses
        How the patient lies in each phase; the first is the reference.
    layout
        Kind of folder names.
    zero_padded
        Whether file numbers are.
    """

    number: int
    labels: Mapping[str, int]
    latents: Mapping[str, float]
    protocol: Protocol
    scene: Scene
    poses: tuple[Pose, ...]
    layout: Literal["classic", "descriptive"]
    zero_padded: bool

    @property
    def patient_id(self) -> str:
        """As Duke writes it."""
        return f"Breast_MRI_{self.number:03d}"


def random_stream(seed: int, number: int, subject: str, part: int = 0) -> np.random.Generator:
    """Return the random numbers for one subject of one patient."""
    return np.random.default_rng([seed, number, _STREAMS.index(subject), part])


def draw_patient(
    settings: PhantomSettings, number: int, labels: Mapping[str, int]
) -> PhantomPatient:
    """Draw patient `number` (from 1)."""

    def stream(subject: str) -> np.random.Generator:
        return random_stream(settings.seed, number, subject)

    protocol = draw_protocol(stream("protocol"), settings, labels)
    shows_scanner = bool(settings.shortcut) and protocol.scanner.vendor == "Siemens"
    stack = protocol.phases[0].stack
    latents = draw_latents(labels, settings.effects, stream("latents"))
    anatomy = Anatomy.draw(stream("anatomy"), max(stack.pixel_mm, stack.spacing_mm))
    scene = Scene(
        anatomy=anatomy,
        tumour=Tumour.draw(stream("tumour"), anatomy, latents),
        field=CoilField.draw(stream("field"), anatomy, settings.field_sd),
        num_posts=len(protocol.phases) - 1,
        tissue=WEAKLY_SUPPRESSED if shows_scanner else FAT_SUPPRESSED,
    )
    return PhantomPatient(
        number=number,
        labels=labels,
        latents=latents,
        protocol=protocol,
        scene=scene,
        poses=_draw_poses(stream("motion"), settings, protocol, anatomy),
        layout=_layout_of(settings, number),
        zero_padded=number % 3 != 0,
    )


def _draw_poses(
    rng: np.random.Generator, settings: PhantomSettings, protocol: Protocol, anatomy: Anatomy
) -> tuple[Pose, ...]:
    stack = protocol.phases[0].stack
    voxel_mm = (stack.pixel_mm, stack.pixel_mm, stack.spacing_mm)
    return (
        Pose(),
        *(draw_pose(rng, settings.motion, voxel_mm, anatomy.wall_mm) for _ in protocol.phases[1:]),
    )


def _layout_of(settings: PhantomSettings, number: int) -> Literal["classic", "descriptive"]:
    if settings.layout == "mixed":
        return "classic" if number % 2 else "descriptive"
    return settings.layout
