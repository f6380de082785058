"""Run configuration: one YAML file, validated whole.

Paths inside the file are relative to the current folder, as they are on the command line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from preprocessing.common.errors import InputError, MissingPathError, hint, nearest
from preprocessing.common.redaction import has_credentials, without_credentials
from preprocessing.storage import files
from preprocessing.storage.digests import check_text, has_text_digest, text_with_digest
from radiotrain.config.deprecation import warn_renamed
from radiotrain.config.yaml_text import dump_yaml, load_yaml
from radiotrain.networks.registry import check_network_name

Precision = Literal["auto", "float32", "tf32", "bfloat16"]

# How the epoch that a run keeps is chosen.
Choose = Literal["last", "smoothed_loss", "smoothed_auc", "best_auc"]

_ModelT = TypeVar("_ModelT", bound=BaseModel)

_MAX_SHOWN = 200

# Where a run is kept and what it runs on do not change what it computes.
_NOT_IDENTITY = ("store", "split", "out", "device", "speed", "logging")

# Keys that were added after runs had been recorded, each with the value by which those runs were trained.
# A recorded configuration without the key is read with it, and it is no part of a run's identity: runs
# keep their digests, and are resumed and evaluated by their own rules.
ADDED_KEYS: Mapping[str, Any] = {
    "train.normalisation": "plain",
    "network.allow_covariates": [],
    "network.covariate_start": "zero",
    "train.class_weight_rule": "patients",
    "train.ema_bias_correction": False,
    "early_stopping.choose": "best_auc",
    # Means nothing to that rule.
    "early_stopping.window": 5,
    "averaging": "raw",
    # Of a sweep.
    "covariate_start": "zero",
}

# New name by old name. A user's file may have the old one for one release; recorded configurations are
# read with either, and a run's identity keeps the old names, so that digests stay the same.
RENAMED_KEYS: Mapping[str, str] = {
    "show": "logging",
    "network.weights": "network.pretrained",
    # Of a sweep.
    "samples": "num_samples",
    "searcher": "search_algorithm",
    "search.network.weights": "search.network.pretrained",
}
FIRST_NAMES: Mapping[str, str] = {new: old for old, new in RENAMED_KEYS.items()}
"""First name by present name of each renamed key, for what has to stay the same: digests and draws."""


class Section(BaseModel):
    """A part of a configuration: frozen, and refusing keys that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        # In YAML, a section with nothing under its name is null.
        return {} if value is None else value


class NetworkConfig(Section):
    """Which network is trained."""

    name: str = "ResNet18"
    """A name from ``radiotrain models``."""
    pretrained: str | None = None
    """File of published weights to begin with (a state dict, such as MedicalNet's): path or s3://…"""
    covariates: tuple[str, ...] = ()
    """Clinical covariates of the store that are read beside the images (late fusion), e.g. age."""
    allow_covariates: tuple[str, ...] = ()
    """Columns that may be used although their name or values tell a target; reports name them."""
    covariate_start: Literal["logistic", "zero"] = "logistic"
    """logistic: the covariates' weights start at a penalised logistic regression of the training patients,
    and the image network's logit at 0. zero: they start at 0."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_network_name(name)


class TrainConfig(Section):
    """How it is trained."""

    epochs: int = Field(default=60, ge=1)
    """Epochs; early stopping may end the run sooner."""
    batch_size: int = Field(default=16, ge=2)
    """Patients in one step over all workers together (the global batch)."""
    micro_batch_size: int | None = Field(default=None, ge=2)
    """Maximum patients in one forward and backward pass of a worker, with gradient accumulation; null:
    its whole share. Batch norm normalises within the pass."""
    lr: float = Field(default=3e-4, gt=0)
    """Peak learning rate of AdamW, reached after the warm-up."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """AdamW's decay of convolution and linear weights; biases and norms are not decayed."""
    warmup_epochs: float = Field(default=2.0, ge=0)
    """Epochs over which the learning rate rises from 0; then it falls along a cosine."""
    final_lr_fraction: float = Field(default=0.01, ge=0, le=1)
    """Learning rate at the last step, as a fraction of `lr`."""
    normalisation: Literal["plain", "robust"] = "robust"
    """Intensities that the network is given, in standard deviations from the pre-contrast mean of each
    patient. robust: voxels far beyond the tissue, such as spikes, are set to a limit and enter neither
    mean nor deviation; other patients are the same. plain: all voxels as stored."""
    gradient_clip: float | None = Field(default=5.0, gt=0)
    """Maximum norm of the gradient; null for no clipping."""
    class_weights: bool = True
    """Weight both classes equally in each target; see `class_weight_rule`."""
    class_weight_rule: Literal["draws", "patients"] = "draws"
    """draws: each class has half of a target's weight over what `sampling` draws, and a label weighs 1 on
    average. patients: positives weigh negatives / positives of the training fold."""
    loss: Literal["bce", "focal"] = "bce"
    """Binary cross-entropy, or the focal loss, which weighs easy patients less."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """Focusing parameter of the focal loss; 0 is cross-entropy. No effect with bce."""
    sampling: Literal["once", "balanced"] = "once"
    """once: every patient once an epoch. balanced: as many draws, positives and negatives of the first
    target equally often."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Validate and keep the moving average of the weights with this decay a step, e.g. 0.99. As the
    learning rate falls to nearly 0 by itself, it changes little where the last epoch is kept."""
    ema_bias_correction: bool = True
    """Correct the moving average for its start at the first weights, as Adam does its moments."""
    sync_batch_norm: bool = False
    """Normalise by the whole global batch, not by each worker's share."""

    @model_validator(mode="after")
    def _warmup_fits(self) -> TrainConfig:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g}, expected less than epochs"
                f" ({self.epochs}): lower it or train longer"
            )
        return self


class EarlyStoppingConfig(Section):
    """Which epoch's network is kept, and when a run ends before its last epoch."""

    choose: Choose = "last"
    """last: the last epoch of a run of fixed length, the same number for all folds. smoothed_loss,
    smoothed_auc: the epoch with the best mean validation loss or AUC over the `window` epochs that end
    with it, all after the warm-up. best_auc: the best single validation AUC, mostly luck on few patients."""
    window: int = Field(default=5, ge=1)
    """Epochs that smoothed_loss and smoothed_auc average."""
    patience: int | None = Field(default=None, ge=1)
    """Epochs without a better one before the run stops; null for never, as where the last one is kept.
    Where no validation AUC is defined, smoothed_auc goes by the loss."""
    min_delta: float = Field(default=0.0, ge=0, lt=1)
    """How much better than before the AUC or loss that `choose` goes by has to be to count."""

    @model_validator(mode="after")
    def _last_has_a_length(self) -> EarlyStoppingConfig:
        if self.choose == "last" and self.patience is not None:
            raise ValueError(
                f"patience is {self.patience} and choose is last, which trains all epochs: set patience to"
                " null, or choose to smoothed_loss, the rule that stops early and keeps the best networks"
                " of those that do"
            )
        return self


class AugmentConfig(Section):
    """Random changes of training images, made on the device; equal for all phases of a patient."""

    enabled: bool = True
    """Whether training images are changed at all."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a flip along each axis."""
    rotate_degrees: float = Field(default=15.0, ge=0, le=180)
    """Largest rotation in the plane of the slices, either way."""
    tilt_degrees: float = Field(default=0.0, ge=0, le=45)
    """Largest rotation out of that plane, about each of its axes."""
    zoom: float = Field(default=0.1, ge=0, lt=1)
    """Largest relative change of size."""
    shift_mm: float = Field(default=5.0, ge=0)
    """Largest shift along each axis."""
    intensity_gain: float = Field(default=0.1, ge=0, lt=1)
    """Largest relative change of contrast."""
    intensity_shift: float = Field(default=0.1, ge=0)
    """Largest change of brightness, in standard deviations of the pre-contrast image."""
    gamma: float = Field(default=0.1, ge=0, lt=1)
    """Largest relative change of the exponent that bends a patient's range of intensities."""
    enhancement: float = Field(default=0.1, ge=0, lt=1)
    """Largest relative change of what the contrast agent adds to the pre-contrast, growing or fading
    evenly over the phases, so that curves keep their order."""
    noise: float = Field(default=0.05, ge=0)
    """Largest standard deviation of added noise, in that of the pre-contrast image."""


class SpeedConfig(Section):
    """How a run uses its machine; it computes the same, up to rounding."""

    placement: Literal["auto", "device", "shared", "stream"] = "auto"
    """Where the patients are kept. device: the memory of what computes. shared: one copy in the host's
    shared memory, for all runs on it. stream: read anew each epoch. auto: the first that they fit."""
    prefetch_batches: int = Field(default=2, ge=1, le=64)
    """Batches prepared ahead when patients are not in the device's memory."""
    compile: bool = False
    """torch.compile: minutes at the start, then faster steps."""
    channels_last: bool = False
    """Keep voxels' channels together in memory; slower on a CPU, worth trying on a GPU."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    auto_batch: bool = False
    """Where memory does not suffice, halve the micro-batch until it does (``--auto-batch``)."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Maximum time between checkpoints; there is one after each epoch."""


class LoggingConfig(Section):
    """Where a run's progress is logged."""

    tensorboard: bool = True
    """Write TensorBoard events into the run folder."""
    image_epochs: int = Field(default=10, ge=0)
    """Log some inputs with their saliency every k-th epoch; 0 for never."""
    mlflow: str | None = None
    """Also track the run with MLflow at this address or folder; needs the package mlflow."""


class RunConfig(Section):
    """One training run."""

    store: str
    """Store made by ``radiotrain preprocess``: folder or s3://…"""
    split: str
    """Split made by ``radiotrain split``."""
    out: str
    """Run folder to make, or to resume: folder or s3://…"""
    targets: tuple[str, ...] = ("ER",)
    """One or several of the store's targets; several share one network."""
    fold: int | None = Field(default=0, ge=0)
    """Validation fold; the others train. null: no validation set, all development patients train, and
    the last epoch is kept."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random: weights, order, augmentation, dropout."""
    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    augment: AugmentConfig = AugmentConfig()
    speed: SpeedConfig = SpeedConfig()
    logging: LoggingConfig = LoggingConfig()
    averaging: Literal["calibrated", "raw"] = "calibrated"
    """How its probabilities enter the mean with other runs of its configuration (folds, seeds):
    calibrated on its own validation patients, so that all have one scale, or raw."""
    precision: Precision = "auto"
    """auto: bfloat16 autocast where the device is a GPU that has it, float32 elsewhere. float32 has all its
    digits; tf32 lets a GPU drop 13 of 23 binary ones in matrix products and convolutions."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU if there is one."""

    @field_validator("targets", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("targets")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError(f"targets is {list(value)}, expected one or several different names")
        return value

    @field_validator("store", "split", "out")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return files.absolute(value)

    @model_validator(mode="after")
    def _possible(self) -> RunConfig:
        if self.out in (self.store, self.split):
            raise ValueError(f"out is {self.out}, the same as the store or split: name a folder")
        if self.device == "cpu" and self.precision in ("bfloat16", "tf32"):
            raise ValueError(
                f"precision is {self.precision} and device is cpu, expected a GPU for {self.precision}:"
                " set precision to float32 or auto"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return all that decides what the run computes, as JSON values (no paths, no device)."""
        return _with_names(without_added_keys(self.full_identity()), FIRST_NAMES)

    def full_identity(self) -> dict[str, Any]:
        """Return the identity with the keys that were added and have their old values, to compare."""
        values = self.model_dump(mode="json")
        # It changes what may be asked for, and nothing that is computed.
        del values["network"]["allow_covariates"]
        network, train = values["network"], values["train"]
        # Keys without an effect: a run that was recorded before them can go on.
        if not network["covariates"]:
            del network["covariate_start"]
        if not train["class_weights"] and train["sampling"] == "once":
            del train["class_weight_rule"]
        if train["ema_decay"] is None:
            del train["ema_bias_correction"]
        return {k: v for k, v in values.items() if k not in _NOT_IDENTITY}

    def lineage(self) -> dict[str, Any]:
        """Return what of the identity stays the same however long a run is trained."""
        values = {k: v for k, v in self.identity().items() if k != "early_stopping"}
        values["train"] = {k: v for k, v in values["train"].items() if k != "epochs"}
        return values


def load_config(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's configuration.

    Parameters
    ----------
    path
        YAML file, on a folder or an object store.
    overrides
        ``section.key=value`` texts that win over the file; values are read as YAML.

    Returns
    -------
    The validated configuration.

    Raises
    ------
    MissingPathError
        If there is no such file.
    InputError
        If a key is unknown (the nearest valid one is named), or a value cannot be used.
    """
    return read_config(RunConfig, path, overrides)


def read_config(model: type[_ModelT], path: str, overrides: Sequence[str] = ()) -> _ModelT:
    """Read a YAML file into a configuration model; see `load_config`.

    A file that carries a checksum was recorded by radiotrain, in the folder of a run or a sweep: keys
    that were added since have the values by which that was trained.
    """
    text = _read_text(path)
    is_recorded = has_text_digest(text)
    values = with_new_names(model, _parse_yaml(text, path), path, warn=not is_recorded)
    values = apply_overrides(values, overrides, model)
    return (parse_recorded if is_recorded else parse_config)(model, values, path)


def parse_recorded(model: type[_ModelT], values: Mapping[str, Any], source: str) -> _ModelT:
    """Check a recorded configuration; keys of `ADDED_KEYS` that it lacks have their old values.

    It may have the old names of `RENAMED_KEYS`.

    Raises
    ------
    InputError
        As `parse_config`.
    """
    if not isinstance(values, Mapping):
        return parse_config(model, values, source)
    result = with_new_names(model, values, source, warn=False)
    for dotted, value in ADDED_KEYS.items():
        section, _, key = dotted.partition(".")
        if section not in model.model_fields:
            continue
        if not key:
            result.setdefault(section, value)
        elif isinstance(found := result.get(section) or {}, Mapping):
            result[section] = {key: value, **found}
    return parse_config(model, result, source)


def without_added_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's JSON values less the keys of `ADDED_KEYS` that have their old values."""
    result = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    for dotted, value in ADDED_KEYS.items():
        section, _, key = dotted.partition(".")
        place, name = (result.get(section), key) if key else (result, section)
        if isinstance(place, dict) and name in place and place[name] == value:
            del place[name]
    return result


def with_new_names(
    model: type[BaseModel], values: Mapping[str, Any], source: str, *, warn: bool = True
) -> dict[str, Any]:
    """Return a configuration's values with the old names of `RENAMED_KEYS` replaced.

    Parameters
    ----------
    warn
        Whether to warn about old names.

    Raises
    ------
    InputError
        If a key has both its names.
    """
    found: dict[str, str] = {}
    try:
        result = _with_names(values, _renamed_keys(model), found)
    except _TwoNamesError as error:
        raise InputError(
            f"{source} has both {error.old} and {error.new}, two names of one setting: remove {error.old}"
        ) from None
    if warn:
        warn_renamed(source, found)
    return result


class _TwoNamesError(Exception):
    """A key has both its old and its new name."""

    def __init__(self, old: str, new: str) -> None:
        super().__init__(old, new)
        self.old, self.new = old, new


def _renamed_keys(model: type[BaseModel]) -> dict[str, str]:
    """Return the entries of `RENAMED_KEYS` that concern a model."""
    if "sweep" in model.model_fields:
        return {f"sweep.{old}": f"sweep.{new}" for old, new in RENAMED_KEYS.items()}
    return {o: n for o, n in RENAMED_KEYS.items() if n.partition(".")[0] in model.model_fields}


def _with_names(
    values: Mapping[str, Any],
    names: Mapping[str, str],
    found: dict[str, str] | None = None,
    prefix: str = "",
) -> dict[str, Any]:
    """Return nested values with keys renamed, and add the renamed ones to `found`."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping) and any(old.startswith(f"{dotted}.") for old in names):
            value = _with_names(value, names, found, f"{dotted}.")
        if dotted not in names:
            result[key] = value
            continue
        name = names[dotted].removeprefix(prefix)
        if name in values:
            raise _TwoNamesError(dotted, names[dotted])
        result[name] = value
        if found is not None:
            found[dotted] = names[dotted]
    return result


def read_yaml(path: str) -> dict[str, Any]:
    """Return a YAML file's mapping; where the file carries a checksum, it has to match."""
    return _parse_yaml(_read_text(path), path)


def _read_text(path: str) -> str:
    place = Path(path)
    # /dev/zero has no end, and a pipe that nothing writes into lets wait for ever.
    if place.exists() and not (place.is_file() or place.is_dir()):
        raise InputError(f"{path} is a device or a pipe, expected a YAML file")
    try:
        text = files.read_text(files.absolute(path))
    except FileNotFoundError:
        raise MissingPathError(f"no configuration at {path}: name an existing YAML file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, expected a YAML file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text, expected a YAML file") from None
    if has_text_digest(text):
        check_text(text, path, "delete its last line if it was changed on purpose")
    return text


def _parse_yaml(text: str, path: str) -> dict[str, Any]:
    try:
        values = load_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise InputError(f"{path} cannot be read{where}: {problem}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {type(values).__name__}, expected 'key: value' lines")
    return values


def apply_overrides(
    values: Mapping[str, Any], overrides: Sequence[str], model: type[BaseModel]
) -> dict[str, Any]:
    """Return the values of a model with each ``section.key=value`` put in its place."""
    result: dict[str, Any] = json.loads(json.dumps(values, default=str))
    for text in overrides:
        dotted, equals, value = text.partition("=")
        if not equals or not dotted:
            raise InputError(f"--set {text}: expected section.key=value, e.g. train.lr=1e-3")
        *sections, key = _with_new_name(dotted.strip(), model).split(".")
        place = result
        for section in sections:
            # A section with nothing under its name is null in YAML.
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
            if not isinstance(place, dict):
                raise InputError(f"--set {text}: {section!r} is no section")
        try:
            place[key] = load_yaml(value)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or "not YAML"
            raise InputError(
                f"--set {text[:200]}: {value[:100]!r} is no YAML value: {problem}"
            ) from None
    return result


def _with_new_name(dotted: str, model: type[BaseModel]) -> str:
    """Return the new name of a key that is given to ``--set``, and warn about an old one."""
    for old, new in _renamed_keys(model).items():
        if dotted == old or dotted.startswith(f"{old}."):
            name = new + dotted.removeprefix(old)
            warn_renamed("--set", {dotted: name})
            return name
    return dotted


def parse_config(model: type[_ModelT], values: Mapping[str, Any], source: str) -> _ModelT:
    """Check plain values against a configuration model.

    Raises
    ------
    InputError
        One sentence about the first thing wrong, unknown keys before anything else.
    """
    _check_no_credentials(values, source)
    if isinstance(values, Mapping):
        values = with_new_names(model, values, source)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = error.errors()
        first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
        raise InputError(f"{source}: {_sentence(model, first)}") from None


def _check_no_credentials(values: Any, source: str, key: str = "") -> None:
    """Refuse a name or password in an address: configurations are kept, shown and tracked."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            _check_no_credentials(value, source, f"{key}.{name}" if key else str(name))
    elif isinstance(values, Sequence) and not isinstance(values, str):
        for value in values:
            _check_no_credentials(value, source, key)
    elif isinstance(values, str) and has_credentials(values):
        raise InputError(
            f"{source}: {key} is {without_credentials(values)!r}, an address with a name or password"
            " in it, which would be stored: give them by the environment (AWS_ACCESS_KEY_ID,"
            " AWS_SECRET_ACCESS_KEY; MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD)"
        )


def dump_config(config: BaseModel) -> str:
    """Return a configuration as YAML text that `load_config` reads back to the same."""
    return dump_yaml(config.model_dump(mode="json"))


def dump_checked_config(config: BaseModel) -> str:
    """Return what `dump_config` does, with a checksum: for folders that belong to radiotrain."""
    return text_with_digest(dump_config(config))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return plain values by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def digest(values: Mapping[str, Any]) -> str:
    """Return a short digest of JSON values, independent of the order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _sentence(model: type[BaseModel], detail: Any) -> str:
    dotted = _cut(".".join(str(part) for part in detail["loc"]), _MAX_SHOWN)
    kind = detail["type"]
    if kind == "extra_forbidden":
        return _unknown_key(dotted, list(_dotted_keys(model)))
    if kind == "missing":
        return f"key {dotted!r} is missing: add it, or give --set {dotted}=…"
    if kind == "value_error":
        text = _cut(str(detail["ctx"]["error"]), 4 * _MAX_SHOWN)
        return f"{dotted}: {text}" if dotted else text
    if kind == "model_type":
        # A sweep's search has sections below keys of the user's own: ``search.*.grid``.
        parts = (k.rpartition(".") for k in _dotted_keys(model))
        names = [name for section, _, name in parts if fnmatchcase(dotted, section)]
        like = f" like {dotted}.{names[0]}" if names else ""
        return f"{dotted} is {_shown(detail['input'])}, expected a section with keys{like}"
    message = str(detail["msg"])
    return f"{dotted} is {_shown(detail['input'])}: {message[0].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    """Return a value for a sentence, cut where it is long."""
    return _cut(repr(value), _MAX_SHOWN)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _unknown_key(dotted: str, known: list[str]) -> str:
    """Name the nearest valid key: first in the same section, then by its own name anywhere."""
    section, _, name = dotted.rpartition(".")
    sections = (section, f"{section.partition('.')[0]}.*")
    siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] in sections]
    meant = nearest(name, siblings)
    if meant is not None:
        meant = f"{section}.{meant}" if section else meant
    else:
        same_name = (k for k in known if k.rpartition(".")[2] == name)
        meant = next(same_name, None) or nearest(dotted, known)
    return f"unknown key {dotted!r}{hint(meant)}, expected one of {', '.join(siblings)}"


def _dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, info in model.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _dotted_keys(info.annotation, f"{prefix}{name}.")
        # A mapping to sections has them under keys of its own.
        for section in get_args(info.annotation):
            if isinstance(section, type) and issubclass(section, BaseModel):
                yield from _dotted_keys(section, f"{prefix}{name}.*.")
