"""Results and conclusions about saliency maps."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from radiotrain.evaluation.tables import as_text
from radiotrain.statistics.auc import Interval


@dataclass(frozen=True)
class PatientSaliency:
    """One patient's map, in numbers; None where it is not defined.

    Parameters
    ----------
    share, chance
        Share of the map inside the tumour region, and the region's share of the voxels.
    points_inside
        Whether the highest voxel lies in it.
    deletion
        How much further the logit moves without the most salient voxels than without as many at random,
        mean over the fractions; in logits.
    like_occlusion
        Rank correlation of boxes' attributions with the logit's fall when they are hidden.
    like_random_last, like_random_all
        Rank correlation with the map of the same networks with the last layer's, or all, weights anew.
    like_random_boxes
        The same of boxes' attributions, whose signs count, all weights anew.
    completeness_error
        How far attributions are from adding up, in logits.
    """

    patient_id: str
    label: int
    probability: float
    is_right: bool
    share: float | None
    chance: float | None
    points_inside: bool
    deletion: float | None
    like_occlusion: float | None
    like_random_last: float | None
    like_random_all: float | None
    like_random_boxes: float | None
    completeness_error: float


@dataclass(frozen=True)
class Mean:
    """A mean over patients with its bootstrap interval; None where there is nothing to take it of."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Picture:
    """A patient's map over the images, as a data URI."""

    uri: str
    alt: str
    caption: str


@dataclass(frozen=True)
class RunSaliency:
    """Where a model looks for one target.

    Parameters
    ----------
    ratio
        Share inside the tumour region over that of chance.
    deletion_salient, deletion_random
        Mean move of the logit at each of `scores.FRACTIONS`.
    points_inside, points_inside_ci95
        Share of patients whose highest voxel lies in the region, and Wilson's interval.
    kind
        ``supported``, ``doubtful`` or ``unsupported``: whether the map says something of the network.
    reasons
        Name of an undefined value to one clause for a person.
    """

    run: str
    target: str
    patients: tuple[PatientSaliency, ...]
    ratio: Mean
    deletion: Mean
    deletion_salient: tuple[float, ...]
    deletion_random: tuple[float, ...]
    like_occlusion: Mean
    like_random_last: Mean
    like_random_all: Mean
    like_random_boxes: Mean
    points_inside: float | None
    points_inside_ci95: Interval | None
    kind: str
    sentences: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Saliency:
    """All that was found, and the pictures that go with it."""

    fractions: tuple[float, ...]
    runs: tuple[RunSaliency, ...]
    pictures: Mapping[tuple[str, str], tuple[Picture, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: everything but pictures and single patients, see `to_csv`."""
        runs = [{**asdict(run), "num_patients": len(run.patients)} for run in self.runs]
        for run in runs:
            del run["patients"]
        return {"fractions": self.fractions, "runs": runs}

    def to_csv(self) -> str:
        """Return a table with a line for each map."""
        names = ("run", "target", *(f.name for f in fields(PatientSaliency)))
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(names)
        for run in self.runs:
            for patient in run.patients:
                values = (run.run, run.target, *asdict(patient).values())
                writer.writerow([as_text(v) if isinstance(v, str) else v for v in values])
        return buffer.getvalue()


# A map that likes this much what other weights draw shows the images' own edges.
_LIKE_RANDOM = 0.7
# Boxes rank alike enough for two ways of asking to agree.
_AGREES = 0.3

CLOSING = "It is evidence about where the network looks, not about why."


def judge_saliency(
    ratio: Mean, deletion: Mean, like_occlusion: Mean, *, picture: Mean, boxes: Mean
) -> tuple[str, tuple[str, ...]]:
    """Return ``supported``, ``doubtful`` or ``unsupported``, and the sentences that say why.

    Unsupported: removing the most salient voxels moves the logit no further than random ones, or
    boxes' attributions hardly depend on the weights. Supported: neither, shown by intervals, hiding
    boxes agrees, and the picture depends on the weights too. Doubtful: what lies between. Where
    the map lies says nothing about its truth, and so does not count.

    Parameters
    ----------
    picture, boxes
        Likeness of voxels' strengths, and of boxes' signed attributions, to those of random weights.
    """
    deletes = _above(deletion, 0)
    depends = None if boxes.value is None else boxes.value < _LIKE_RANDOM
    draws = None if picture.value is None else picture.value < _LIKE_RANDOM
    agrees = None if like_occlusion.value is None else like_occlusion.value >= _AGREES
    kind = "doubtful"
    if deletes is False or depends is False:
        kind = "unsupported"
    elif deletes and depends and draws and agrees:
        kind = "supported"
    sentences = (
        *_about_place(ratio),
        *_about_deletion(deletion, deletes),
        *_about_weights(boxes, depends),
        *_about_picture(picture, draws),
        *_about_occlusion(like_occlusion, agrees),
        CLOSING,
    )
    return kind, sentences


def _above(mean: Mean, limit: float) -> bool | None:
    """Tell whether a mean is above a limit beyond chance; None where that is open."""
    if mean.interval is None:
        return None
    if mean.interval[0] > limit:
        return True
    return False if mean.interval[1] <= limit or (mean.value or 0) <= limit else None


def _about_place(ratio: Mean) -> Iterator[str]:
    if ratio.value is None:
        yield "The map's share in the tumour is not defined: no tumour region, or no voxel outside it."
        return
    times = f"{ratio.value:.1f} times its share of the volume{_range(ratio)}"
    if ratio.interval is not None and ratio.interval[0] > 1:
        yield f"The tumour region has more of the map than expected: {times}."
    elif ratio.interval is not None and ratio.interval[1] < 1:
        yield f"The tumour region has less of the map than expected: {times}."
    else:
        yield f"That the map concentrates on the tumour region is not shown: {times}."


def _about_deletion(deletion: Mean, deletes: bool | None) -> Iterator[str]:
    if deletion.value is None:
        return
    more = f"{deletion.value:+.2f} logits{_range(deletion)}".replace("-", "−")
    if deletes:
        yield f"Removing the most salient voxels moves the logit further than removing random ones ({more})."
    elif deletes is None:
        yield f"That salient voxels matter more than random ones is not shown ({more})."
    else:
        yield f"Removing salient voxels moves the logit no further than random ones ({more})."


def _about_weights(boxes: Mean, depends: bool | None) -> Iterator[str]:
    if boxes.value is None:
        return
    number = f"rank correlation of boxes {boxes.value:.2f}".replace("-", "−")
    if depends:
        yield f"Attributions of image parts depend on the trained weights ({number} with random ones)."
    else:
        yield f"Random weights give similar attributions ({number}): the map reflects the images alone."


def _about_picture(picture: Mean, draws: bool | None) -> Iterator[str]:
    if draws is False:
        yield (
            "The map itself is similar with random weights (rank correlation of voxels"
            f" {picture.value:.2f}): bright voxels of the image are bright in it."
        )


def _about_occlusion(like: Mean, agrees: bool | None) -> Iterator[str]:
    if like.value is None:
        return
    number = f"rank correlation {like.value:.2f}".replace("-", "−")
    if agrees:
        yield f"Occlusion agrees with the map ({number})."
    else:
        yield f"Occlusion does not agree with the map ({number})."


def _range(mean: Mean) -> str:
    if mean.interval is None:
        return ""
    low, high = (f"{end:.2f}".replace("-", "−") for end in mean.interval)
    return f" (95% CI, {low} to {high})"
