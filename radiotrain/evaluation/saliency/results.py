"""What is found about where networks look."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from radiotrain.evaluation.spreadsheet import as_text
from radiotrain.evaluation.statistics.auc import Interval


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
