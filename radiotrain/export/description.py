"""``model.json``: the description of an exported model.

``docs/export.md`` lists the keys. Nothing here tells a patient: ranges are quantiles, categories of few
patients are counted together.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.storage import files
from preprocessing.storage.digests import dump_with_digest
from radiotrain.config.run_config import AugmentConfig, Precision
from radiotrain.runs.checked_files import read_json

FILE_NAME = "model.json"
SCHEMA_VERSION: Literal[3] = 3

YOUDEN = "Youden"
"""Rule of the threshold that a call rests on."""
OTHER = "other"
"""What the values of fewer than five patients are counted as."""

Format = Literal["bundle", "safetensors", "onnx"]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class MonaiNetwork(_Part):
    """The call of MONAI that builds one of the networks."""

    function: str
    """A class or function of ``monai.networks.nets``."""
    arguments: dict[str, Any]
    """Its arguments, by name."""


class Network(_Part):
    """The architecture; the same for all members."""

    name: str
    """As ``radiotrain models`` lists it."""
    monai: MonaiNetwork
    num_parameters: int
    """Of one member."""


class Training(_Part):
    """What training one network has to do with predicting by it."""

    num_patients: int
    """That it was trained on."""
    num_epochs: int
    precision: Precision
    """As the run's configuration has it."""
    augment: AugmentConfig
    """How its training images were changed; a new patient's are, to see how far answers spread."""


class Scale(_Part):
    """Calibration of one network before the mean: probability = sigmoid(slope × logit + intercept)."""

    slope: float = Field(ge=0)
    """0: the network gives all patients the same probability, and the others decide."""
    intercept: float
    source: Literal["own patients", "other members", "equal spread", "as predicted"]
    """Which validation patients the slope is fitted to."""
    num_patients: int = Field(ge=0)
    """Validation patients of this network with a known label."""
    num_positive: int = Field(ge=0)
    reason: str = ""
    """Why the slope is not that of its own patients, or 0."""


class Member(_Part):
    """One trained network; several are averaged."""

    weights: str | None
    """File of its weights in this folder, its tensors named as MONAI does; null of format onnx."""
    fold: int | None
    """That validated it; null where none did."""
    seed: int
    covariates: dict[str, Any] | None
    """How clinical columns become numbers, learnt from its training patients; null where it reads none."""
    training: Training
    scales: dict[str, Scale] | None = None
    """By target, by which its probabilities are calibrated before the mean; null: averaged as
    predicted."""


class Normalisation(_Part):
    """What the network's input is, in terms of the stored crop."""

    kind: Literal["plain", "robust"] = "plain"
    """``train.normalisation`` of the runs; exports of earlier versions, which do not name it, are plain."""
    rule: str
    """In words; ``docs/export.md`` has it as code."""
    reference_phase: int = 0
    """Whose voxels give mean and deviation, for all phases."""
    degrees_of_freedom: int = 0
    """Of the deviation: 0, the population's."""
    padding: float = 0.0
    """What voxels outside the image become."""


class Input(_Part):
    """The crop that a network reads."""

    axes: tuple[str, ...] = ("patient", "phase", "row", "column", "slice")
    orientation: tuple[str, str, str] = ("to the back", "to the left", "to the head")
    """Where rows, columns and slices go."""
    num_phases: int
    phase_names: tuple[str, ...]
    """As most training patients have them; empty where no five have the same."""
    crop_shape: tuple[int, int, int]
    """Rows, columns and slices."""
    dtype: Literal["float32"] = "float32"
    normalisation: Normalisation
    preprocessing: dict[str, Any]
    """The store's settings: `preprocessing.common.config.PreprocessConfig`."""
    layout: str
    """Of the training cohort on disk, e.g. duke."""


class Output(_Part):
    """What comes out, in words."""

    logits: str
    probability: str


class Isotonic(_Part):
    """A step function: linear between its points, constant beyond them."""

    x: tuple[float, ...]
    """Probabilities as predicted, rising."""
    y: tuple[float, ...]
    """What they become."""


class Platt(_Part):
    """Probability = sigmoid(slope × logit + intercept), of the mean probability's logit."""

    slope: float = Field(gt=0)
    intercept: float


class Calibration(_Part):
    """How a target's probabilities are put right, learnt from validation patients alone."""

    source: str
    num_patients: int = Field(ge=0)
    num_positive: int = Field(ge=0)
    platt: Platt | None
    """What `radiotrain predict` uses; null where there is none."""
    temperature: float | None
    """By which logits are divided; null where there is none."""
    isotonic: Isotonic | None
    reasons: dict[str, str] = Field(default_factory=dict)
    """Why there is none, by what is missing."""

    @model_validator(mode="after")
    def _adds_up(self) -> Calibration:
        if self.num_positive > self.num_patients:
            raise ValueError("more positive patients than patients")
        return self


class OperatingPoint(_Part):
    """A threshold on the probability as predicted, at or above which a patient is called positive."""

    rule: str
    source: str
    threshold: float | None = Field(ge=0, le=1)
    sensitivity: float | None = Field(ge=0, le=1)
    """On the patients it was chosen on, so too good."""
    specificity: float | None = Field(ge=0, le=1)
    """On the patients it was chosen on, so too good."""
    reason: str = ""
    """Why there is none."""

    @model_validator(mode="after")
    def _is_whole(self) -> OperatingPoint:
        if len({v is None for v in (self.threshold, self.sensitivity, self.specificity)}) > 1:
            raise ValueError("threshold, sensitivity and specificity go together")
        return self


class Range(_Part):
    """Where 98 % of the training patients lie."""

    num_patients: int
    """Of whom it is known."""
    low: float
    """The 1 % quantile."""
    median: float
    high: float
    """The 99 % quantile."""


class LabelCounts(_Part):
    """Training patients of a target."""

    positive: int
    negative: int
    missing: int


class Images(_Part):
    """How the training patients were imaged, as ``radiotrain predict`` compares a new patient."""

    numbers: dict[str, Range]
    """`radiotrain.runs.provenance.numbers_of`."""
    properties: dict[str, dict[str, int]]
    """`radiotrain.runs.provenance.properties_of`, patients of each value; what fewer than five have is counted
    as 'other'."""


class Cohort(_Part):
    """The training patients in numbers; nothing is known of the test patients."""

    num_patients: int
    labels: dict[str, LabelCounts]
    spacing_mm: dict[str, Range]
    """Of voxels, along row, column and slice."""
    phase_times_s: tuple[Range | None, ...]
    """Of each phase, as the store has it."""
    voxels: dict[str, Range]
    """Of the stored intensities: see ``docs/export.md``."""
    numbers: dict[str, Range]
    """Covariates that are numbers: those of the acquisition, and those that the network reads."""
    categories: dict[str, dict[str, int]]
    """The others of them, patients of each; what fewer than five have is counted as 'other'."""
    images: Images


class Origin(_Part):
    """Where the model comes from."""

    run: str
    made: str
    """What a promoted model was made of, in words; empty of a run."""
    store_fingerprint: str
    split_fingerprint: str
    configuration: dict[str, Any]
    """All that decides what was trained, without paths."""
    software: dict[str, str]
    """Versions it was trained with."""
    exported_with: dict[str, str]
    """Versions it was exported with."""


class ModelDescription(_Part):
    """All of ``model.json``."""

    schema_version: Literal[3] = SCHEMA_VERSION
    notice: str = "Research use only. Not a medical device."
    name: str
    format: Format
    targets: tuple[str, ...]
    """In the order of the outputs."""
    network: Network
    members: tuple[Member, ...]
    """Their mean probability is the model's."""
    input: Input
    output: Output
    calibration: dict[str, Calibration]
    """By target."""
    operating_points: dict[str, tuple[OperatingPoint, ...]]
    """By target."""
    cohort: Cohort
    origin: Origin
    details: dict[str, Any] = Field(default_factory=dict)
    """Of the format: ONNX's opset and names, for instance."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each other file, by its path in the folder."""

    @model_validator(mode="after")
    def _hangs_together(self) -> ModelDescription:
        for name in ("calibration", "operating_points"):
            missing = set(self.targets) - set(getattr(self, name))
            if missing:
                raise ValueError(f"{name} lacks {min(missing)}")
        if not self.members:
            raise ValueError("there are no members")
        scaled = {None if m.scales is None else frozenset(m.scales) for m in self.members}
        if scaled not in ({None}, {frozenset(self.targets)}):
            raise ValueError("scales are not those of all targets of all members")
        return self


def dump_description(description: ModelDescription) -> str:
    """Return the text of ``model.json``."""
    return dump_with_digest(description.model_dump(mode="json"), in_order=True)


def read_description(url: str) -> ModelDescription:
    """Read ``model.json`` of an exported folder.

    Raises
    ------
    MissingPathError
        If there is none.
    SchemaError, DamagedFileError
        If another version wrote it, or it is not what was written.
    InputError
        If it cannot be understood.
    """
    where = files.join(files.absolute(url), FILE_NAME)
    try:
        values = read_json(where, SCHEMA_VERSION, "export the run again, or copy the folder again")
    except (FileNotFoundError, NotADirectoryError):
        raise MissingPathError(
            f"no exported model at {url}, which has no {FILE_NAME}: make one with 'radiotrain export'"
        ) from None
    try:
        return ModelDescription.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise InputError(
            f"{where} is not what radiotrain wrote ({what}): export the run again"
        ) from None
