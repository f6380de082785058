"""From a model, its store and its split to what ``model.json`` says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from preprocessing.common.errors import InputError
from preprocessing.common.redaction import without_credentials
from preprocessing.store import Store
from radiotrain.data.voxels import CLIP_MARGIN, COUNT_MARGIN, NormalisationRule
from radiotrain.evaluation.model import Model
from radiotrain.export.cohort_ranges import VoxelMeasures, common_phase_names, describe_cohort
from radiotrain.export.description import (
    Format,
    Input,
    Member,
    ModelDescription,
    MonaiNetwork,
    Network,
    Normalisation,
    Origin,
    Output,
    Scale,
    Training,
)
from radiotrain.export.meaning import (
    choose_operating_points,
    learn_calibration,
    validation_scores,
)
from radiotrain.networks.mean import MeanOfNetworks
from radiotrain.networks.registry import monai_call
from radiotrain.predict import TrainedNetwork, check_run, load_network
from radiotrain.runs import open_run
from radiotrain.seal import check_sealed
from radiotrain.split import Split
from radiotrain.versions import software_versions

_RULE = (
    "x = (voxel - mean) / sd, for all phases with the mean and the population's standard deviation of"
    " the pre-contrast phase over the voxels of the crop that are no padding; padding becomes 0 (in"
    " training the int16 step nearest to the mean, less than one step away)"
)
_ROBUST_RULE = (
    f"{_RULE}; before, each phase's voxels beyond p99 + {CLIP_MARGIN:g} spreads and p1 - {CLIP_MARGIN:g}"
    " spreads are set to that limit (spread: the largest of p99 - p1, |p50| and the pre-contrast's spread,"
    " of voxels other than 0 and padding), and mean and deviation leave out what lies beyond"
    f" {COUNT_MARGIN:g} spreads"
)
_LOGITS = (
    "one a target, in the order of 'targets'; of several members the log odds of their mean"
    " probability, each member's logits calibrated first by its 'scales' where it has them"
)
_PROBABILITY = (
    "sigmoid of the logit, as predicted: thresholds of 'operating_points' are for it, 'calibration'"
    " puts it right"
)


@dataclass(frozen=True)
class TrainedModel:
    """A run or promoted model with its networks, on the CPU.

    Parameters
    ----------
    trained
        One a member, computed by MONAI's own modules.
    """

    model: Model
    trained: tuple[TrainedNetwork, ...]

    @property
    def num_covariates(self) -> tuple[int, ...]:
        """Encoded columns that each member reads."""
        return tuple(0 if t.encoder is None else t.encoder.num_columns for t in self.trained)

    @property
    def network(self) -> MeanOfNetworks:
        """All members as one, ready to predict."""
        members = [trained.network for trained in self.trained]
        return MeanOfNetworks(members, self.num_covariates, self.scales).eval()

    @property
    def scales(self) -> list[list[tuple[float, float]]]:
        """Slope and intercept of each member and target; empty where they are averaged as predicted."""
        targets = self.model.config.targets
        return [
            [(scales[t].slope, scales[t].intercept) for t in targets]
            for scales in self.model.scales
            if scales is not None
        ]


def load_model(model: Model, store: Store, split: Split) -> TrainedModel:
    """Load a model's networks.

    Raises
    ------
    InputError
        If it was trained on another store or split, or its weights are not what radiotrain wrote.
    """
    found = []
    for url in model.members:
        _, config = check_run(url, store, split)
        if config.train.normalisation != model.config.train.normalisation:
            raise InputError(
                f"networks of {model.name} were trained with different train.normalisation, so that no one"
                " image is right for all: export a model of one"
            )
        found.append(load_network(url))
    return TrainedModel(model, tuple(found))


def describe_model(
    trained: TrainedModel,
    store: Store,
    split: Split,
    form: Format,
    measures: VoxelMeasures,
    advance: Callable[[], None],
) -> ModelDescription:
    """Describe a model; no test patient is read.

    Parameters
    ----------
    advance
        Called once for each training patient, whose voxels have been measured.
    """
    model, config = trained.model, trained.model.config
    ids = training_ids(model, split)
    check_sealed(split, ids, None)
    records = [store.records[store.index_of(i)] for i in ids]
    table = _validation_table(model)
    patients = {t: validation_scores(table, model.name, t) for t in config.targets}
    return ModelDescription(
        name=model.name,
        format=form,
        targets=config.targets,
        network=_network(trained, store),
        members=tuple(_members(trained, split)),
        input=Input(
            num_phases=store.spec.num_phases,
            phase_names=common_phase_names(records),
            crop_shape=store.spec.crop_shape,
            normalisation=_normalisation(config.train.normalisation),
            preprocessing=dict(store.spec.settings),
            layout=str(store.spec.cohort.get("layout", "")),
        ),
        output=Output(logits=_LOGITS, probability=_PROBABILITY),
        calibration={t: learn_calibration(found) for t, found in patients.items()},
        operating_points={t: choose_operating_points(found) for t, found in patients.items()},
        cohort=describe_cohort(
            store, ids, config.targets, config.network.covariates, measures, advance
        ),
        origin=Origin(
            run=model.name,
            made="" if model.promoted is None else _without_place(model, split),
            store_fingerprint=split.patients_fingerprint,
            split_fingerprint=split.fingerprint,
            configuration=_configuration(model),
            software=dict(model.record.versions),
            exported_with=software_versions(),
        ),
    )


def training_ids(model: Model, split: Split) -> tuple[str, ...]:
    """Return the patients that any of a model's networks was trained on."""
    folds = [open_run(url)[1].fold for url in model.members]
    return tuple(sorted({i for fold in folds for i in split.train_ids(fold)}))


def _validation_table(model: Model) -> pd.DataFrame | None:
    if model.promoted is None and model.config.fold is None:
        return None
    return model.kept_predictions()


def _network(trained: TrainedModel, store: Store) -> Network:
    name = trained.model.config.network.name
    call = monai_call(name)
    num_targets = len(trained.model.config.targets)
    return Network(
        name=name,
        monai=MonaiNetwork(
            function=call.function, arguments=call.arguments(store.spec.num_phases, num_targets)
        ),
        num_parameters=sum(p.numel() for p in trained.trained[0].network.parameters()),
    )


def _normalisation(rule: NormalisationRule) -> Normalisation:
    return Normalisation(kind=rule, rule=_ROBUST_RULE if rule == "robust" else _RULE)


def _members(trained: TrainedModel, split: Split) -> Sequence[Member]:
    return [
        Member(
            weights=None,
            fold=config.fold,
            seed=config.seed,
            covariates=None if network.encoder is None else network.encoder.to_json(),
            training=Training(
                num_patients=len(split.train_ids(config.fold)),
                num_epochs=record.num_epochs,
                precision=config.precision,
                augment=config.augment,
            ),
            scales=None
            if scales is None
            else {target: Scale(**asdict(scale)) for target, scale in scales.items()},
        )
        for network, scales, (_, config, record) in zip(
            trained.trained,
            trained.model.scales,
            map(open_run, trained.model.members),
            strict=True,
        )
    ]


def _configuration(model: Model) -> dict[str, Any]:
    """Return what was trained: of a file of weights the name, as its place may tell of its owner."""
    values = model.config.identity()
    weights = values["network"]["weights"]
    if weights is not None:
        values["network"]["weights"] = without_credentials(weights).rstrip("/").rsplit("/", 1)[-1]
    return values


def _without_place(model: Model, split: Split) -> str:
    assert model.promoted is not None
    text = model.promoted.describe(split)
    return text.replace(model.promoted.sweep, model.promoted.sweep.rstrip("/").rsplit("/", 1)[-1])
