"""``promoted.json``: a model made of a sweep's best trial.

======================  ================================================================
``promoted.json``       what the model is
``predictions.parquet``  what the trial's networks said of patients that they had not seen; of an ensemble
                         after calibration of each network, fitted without the patient
``members/``            of an ensemble: the run folder of each of its networks
======================  ================================================================

The folder of a retrained model is a run folder besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from preprocessing.common.json_values import parse_values
from preprocessing.storage import files
from preprocessing.storage.digests import dump_with_digest
from radiotrain.runs.checked_files import read_json
from radiotrain.split.split import Split
from radiotrain.statistics.member_scale import MemberScale

SCHEMA_VERSION = 2

Kind = Literal["retrain", "ensemble"]
PromotedStatus = Literal["running", "finished"]


@dataclass(frozen=True)
class Promoted:
    """What ``promoted.json`` says.

    Parameters
    ----------
    kind
        retrain: one network, trained anew on all development patients. ensemble: the trial's own
        networks, whose probabilities are averaged.
    status
        running until everything is in the folder.
    sweep, trial
        Where the configuration was found, and its name there.
    num_trials
        Trials that were compared.
    score
        Of the trial in its sweep; None where no AUC was defined.
    optimism
        By how much that score is expected to exceed the AUC on new patients, because the trial is the
        best of several; None where it is not known.
    folds
        Of the trial; of their patients the folder has predictions.
    epochs
        That a retrained network is trained for.
    members
        Networks of an ensemble, by the names of their run folders.
    weights, predicted_by
        Checksums of the networks' files, and of those of the trial's networks that made the
        predictions; empty until everything is in the folder.
    scales
        Of an ensemble, by which each network's probabilities are calibrated before the mean: one for each
        of `members`, by target. Empty of a model of an older version, which averages them as
        predicted, and so it stays.
    """

    kind: Kind
    status: PromotedStatus
    sweep: str
    trial: str
    num_trials: int
    score: float | None
    folds: tuple[int, ...]
    epochs: int | None = None
    members: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    predicted_by: tuple[str, ...] = ()
    optimism: float | None = None
    scales: tuple[Mapping[str, MemberScale], ...] = ()
    schema_version: int = SCHEMA_VERSION

    def is_same_model(self, other: Promoted) -> bool:
        """Tell whether both are made of the same in the same way, wherever the sweep is now."""

        def made_of(model: Promoted) -> tuple[object, ...]:
            return model.kind, model.trial, model.score, model.folds, model.epochs, model.members

        return made_of(self) == made_of(other)

    def describe(self, split: Split) -> str:
        """Return a sentence about what the model is, and what its threshold rests on."""
        found = f"trial {self.trial}, the best of {self.num_trials} in sweep {self.sweep}"
        num = sum(len(split.validation_ids(fold)) for fold in self.folds)
        folds = f"fold{'s' * (len(self.folds) > 1)} {', '.join(map(str, self.folds))}"
        if self.kind == "ensemble":
            calibrated = ", each calibrated on its own validation patients," if self.scales else ""
            return (
                f"mean probability of the {len(self.members)} networks{calibrated} of {found}, each trained"
                f" on all development patients but those of its fold; threshold from their"
                f" out-of-fold predictions of the {num} patients of {folds}"
            )
        return (
            f"one network with the configuration of {found}, trained on all"
            f" {len(split.development_ids)} development patients for {self.epochs}"
            f" epoch{'s' * (self.epochs != 1)}, the number that the trial found best"
            f"{' (one for all its folds)' * (len(self.folds) > 1)}; threshold"
            f" from the trial's out-of-fold predictions of the {num} patients of {folds}, whom"
            " this network was trained on"
        )


def member_urls(url: str, promoted: Promoted) -> tuple[str, ...]:
    """Return the run folders of a promoted model's networks."""
    url = files.absolute(url)
    if promoted.kind == "retrain":
        return (url,)
    return tuple(files.join(url, "members", name) for name in promoted.members)


def read_promoted(url: str) -> Promoted | None:
    """Return what a folder says, or None where it holds no promoted model.

    Raises
    ------
    SchemaError, DamagedFileError
        If another version wrote it, or it is not what was written.
    """
    where = _file(url)
    try:
        values = read_json(where, SCHEMA_VERSION, _again(url))
    except FileNotFoundError:
        return None
    return parse_values(Promoted, values, where, _again(url))


def write_promoted(url: str, promoted: Promoted) -> None:
    """Write ``promoted.json``."""
    files.write_text(_file(url), dump_with_digest(asdict(promoted)))


def _again(url: str) -> str:
    return f"remove {url} and promote again"


def _file(url: str) -> str:
    return files.join(files.absolute(url), "promoted.json")
