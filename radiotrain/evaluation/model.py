"""Model for evaluation: a run or a promoted model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.storage import files
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig, digest
from radiotrain.runs.locations import split_of_run
from radiotrain.runs.predict_run import (
    AugmentedPrediction,
    check_run,
    load_network,
    predict_augmented,
    predict_run,
)
from radiotrain.runs.promoted import Promoted, member_urls, read_promoted
from radiotrain.runs.provenance import keeps_inputs, read_inputs
from radiotrain.runs.run_folder import PredictedBy, RunFolder, RunRecord, open_run
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import TestAccess
from radiotrain.statistics.member_scale import Scales, on_one_scale

if TYPE_CHECKING:
    from radiotrain.evaluation.feature_probe import NetworkFeatures


@dataclass(frozen=True)
class Model:
    """A run, or a promoted model; `config` and `record` are those of its first network.

    Parameters
    ----------
    members
        Run folders of its networks: its own, where it is a run.
    promoted
        None of a run.
    """

    name: str
    url: str
    members: tuple[str, ...]
    config: RunConfig
    record: RunRecord
    promoted: Promoted | None

    @property
    def configuration(self) -> str:
        """What it was trained with, for the log of openings: in short, and a digest of all of it."""
        config = self.config
        words = [f"{'+'.join(config.targets)} {config.network.name}"]
        if self.promoted is None:
            fold = "no fold" if config.fold is None else f"fold {config.fold}"
            words += [f"seed {config.seed}", fold]
        elif len(self.members) > 1:
            words.append(f"{len(self.members)} networks, of the first")
        return f"{', '.join(words)}, configuration {digest(config.identity())}"

    @property
    def scales(self) -> tuple[Scales | None, ...]:
        """Scales of each network, by which a promoted ensemble's are averaged; None: as predicted."""
        found = () if self.promoted is None else self.promoted.scales
        return found or (None,) * len(self.members)

    def validation(self, store: Store, split: Split) -> pd.DataFrame:
        """Return predictions of patients that the network behind each had not seen."""
        if self.promoted is None:
            return predict_run(self.url, store, split, "validation")
        for url in self.members:
            check_run(url, store, split)
            load_network(url)
        return self.kept_predictions()

    def kept_predictions(self) -> pd.DataFrame:
        """Return the predictions of validation patients that lie in its folder."""
        made_by = PredictedBy.of(self.record)
        if self.promoted is not None:
            made_by = PredictedBy(weights=",".join(self.promoted.predicted_by))
        return RunFolder(self.url).read_predictions(made_by).assign(run=self.name)

    def test(self, store: Store, split: Split, access: TestAccess) -> pd.DataFrame:
        """Return every network's predictions of the test patients, of which the mean will count.

        Of a promoted ensemble they are calibrated as it says.
        """
        tables = [
            _scaled(predict_run(url, store, split, "test", access), scales)
            for url, scales in zip(self.members, self.scales, strict=True)
        ]
        return pd.concat(tables, ignore_index=True).assign(run=self.name)

    def augmented(
        self,
        store: Store,
        split: Split,
        which: Literal["validation", "test"],
        num_draws: int,
        access: TestAccess | None = None,
    ) -> AugmentedPrediction:
        """Return predictions that are means over changed images.

        Raises
        ------
        InputError
            Of a promoted model, whose predictions of validation patients came with it.
        """
        if self.promoted is not None:
            raise InputError(
                f"--tta {num_draws} is for runs, but {self.name} is a promoted model, whose"
                " validation predictions were made without: leave out --tta, or evaluate its runs"
            )
        return predict_augmented(self.url, store, split, which, num_draws, access)

    def features(self, store: Store, split: Split) -> tuple[NetworkFeatures, ...]:
        """Return what goes into each network's last layer, of its validation patients."""
        # It takes scikit-learn with it, which opening a model can do without.
        from radiotrain.evaluation.feature_probe import read_network_features

        found = [read_network_features(url, store, split) for url in self.members]
        return tuple(features for features in found if features is not None)


def _scaled(table: pd.DataFrame, scales: Scales | None) -> pd.DataFrame:
    """Return one network's predictions table as its ensemble's mean takes it."""
    if scales is None:
        return table
    parts = [
        rows.assign(
            probability=on_one_scale(
                rows["probability"].to_numpy()[:, None], [str(target)], scales
            )[:, 0]
        )
        for target, rows in table.groupby("target", sort=False)
    ]
    return pd.concat(parts)


def open_models(urls: Sequence[str], splits: Sequence[str] = ()) -> tuple[Model, ...]:
    """Open runs and promoted models, all of one split.

    Parameters
    ----------
    splits
        See `open_model`.

    Raises
    ------
    InputError
        If one is not finished, or if they do not belong together.
    """
    models = tuple(open_model(url, splits) for url in urls)
    check_together(models)
    return models


def open_model(url: str, splits: Sequence[str] = ()) -> Model:
    """Open a run or a promoted model.

    Parameters
    ----------
    splits
        Where the split is now; by default where the run found it. See `radiotrain.runs.locations.split_of_run`.

    Raises
    ------
    InputError
        If it is not finished.
    """
    promoted = read_promoted(url)
    if promoted is not None and promoted.status != "finished":
        raise InputError(
            f"model {RunFolder(url).url} is not finished: run 'radiotrain promote' again first"
        )
    members = (url,) if promoted is None else member_urls(url, promoted)
    opened = [open_run(member) for member in members]
    for folder, _, record in opened:
        if record.status not in ("finished", "stopped"):
            raise InputError(
                f"run {folder.url} is {record.status}, expected a finished one: run"
                " 'radiotrain train' or 'radiotrain tune' again first"
            )
        _check_beside(folder, record)
    own = RunFolder(url)
    if promoted is not None:
        _check_promoted(own.url, promoted, [record for _, _, record in opened])
    _, config, record = opened[0]
    split = split_of_run(config.split, record.split_fingerprint, splits)
    config = config.model_copy(update={"split": files.absolute(split)})
    urls = tuple(folder.url for folder, _, _ in opened)
    model = Model(own.name, own.url, urls, config, record, promoted)
    if promoted is not None:
        model.kept_predictions()
    return model


def _check_beside(folder: RunFolder, record: RunRecord) -> None:
    """Refuse predictions and inputs of another run than the one that they lie in."""
    # Beside a network that no fold validated there are those of a promoted model.
    if record.fold is not None:
        with suppress(MissingPathError):
            folder.read_predictions(PredictedBy.of(record))
    if keeps_inputs(folder.url):
        read_inputs(folder.url, record)


def _check_promoted(url: str, promoted: Promoted, records: Sequence[RunRecord]) -> None:
    """Refuse networks that are not those that the model was made of."""
    if promoted.weights != tuple(record.weights_digest for record in records):
        raise InputError(
            f"promoted.json in {url} was written for other networks than those beside it: remove {url}"
            " and promote again"
        )
    if not promoted.scales:
        return
    targets = {tuple(sorted(record.targets)) for record in records}
    if [tuple(sorted(scales)) for scales in promoted.scales] != [*targets] * len(records):
        raise InputError(
            f"promoted.json in {url} has calibrations of {len(promoted.scales)} networks for other targets than"
            f" those of its {len(records)} networks: remove {url} and promote again"
        )


def check_together(models: Sequence[Model]) -> None:
    """Refuse models that one evaluation cannot tell apart, or that have different test patients."""
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two runs are both named {name!r}: evaluate them one by one")
    splits = {model.config.split for model in models}
    if len(splits) > 1:
        raise InputError(
            f"the runs belong to {len(splits)} splits, {', '.join(sorted(splits))}, expected one:"
            " evaluate those of one split together, or name it with --split if it has moved"
        )
