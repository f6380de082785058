"""Context of a report beyond the predictions table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from radiotrain.evaluation.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

    from radiotrain.evaluation.external_results import External
    from radiotrain.evaluation.family import TestPlan
    from radiotrain.evaluation.leak_checks import LeakCheck
    from radiotrain.evaluation.report.characteristics import Characteristics
    from radiotrain.evaluation.saliency.saliency_results import Saliency
    from radiotrain.evaluation.shortcuts.shortcut_results import Shortcuts
    from radiotrain.evaluation.subgroups.subgroup_results import Subgroups
    from radiotrain.split.access_log import AccessRecord
    from radiotrain.split.test_set_access import TestPart


@dataclass(frozen=True)
class ModelFacts:
    """One network, or several of one configuration whose probabilities are averaged.

    Parameters
    ----------
    run
        Its name in the predictions table.
    network
        Name of the architecture.
    num_networks
        1 but for an ensemble.
    num_parameters
        Of one network.
    initial_weights
        File that it began with; None: random numbers.
    epochs, best_epoch
        Epochs trained, and the one whose weights are used (from 1); None where it is not known.
    config
        The resolved configuration, JSON values.
    about
        How it was made, where it was promoted from a sweep.
    """

    run: str
    network: str
    targets: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    num_networks: int = 1
    num_parameters: int | None = None
    initial_weights: str | None = None
    seed: int | None = None
    fold: int | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    device: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""


@dataclass(frozen=True)
class DataFacts:
    """The store and the split.

    Parameters
    ----------
    layout
        How the cohort lay on disk, e.g. ``duke``.
    num_phases, crop_shape
        Of the networks' input: phases, and (rows, columns, slices).
    spacing_mm
        Lowest, median and highest of the development patients' voxels, each of (rows, columns,
        slices); empty where it is not known.
    preprocessing
        Settings of the store, JSON values.
    acquisition
        (covariate, value, development patients) of what is known about the scanners.
    covariates
        Names of all covariates that the store keeps.
    stratified_over, num_folds, split_seed
        Of the split.
    """

    layout: str
    num_phases: int
    crop_shape: tuple[int, int, int]
    spacing_mm: tuple[tuple[float, ...], ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    acquisition: tuple[tuple[str, str, int], ...] = ()
    covariates: tuple[str, ...] = ()
    stratified_over: tuple[str, ...] = ()
    num_folds: int = 0
    split_seed: int | None = None

    @property
    def input_text(self) -> str:
        """The networks' input in words."""
        rows, columns, slices = self.crop_shape
        return f"{self.num_phases} phases of {rows} × {columns} × {slices} voxels"

    @property
    def spacing_text(self) -> str:
        """The spacing of voxels in words; empty where it is not known."""
        if not self.spacing_mm:
            return ""
        low, middle, high = (" × ".join(f"{v:.2f}" for v in s) for s in self.spacing_mm)
        return f"{middle} mm" if low == high else f"median {middle} mm ({low} to {high} mm)"


@dataclass(frozen=True)
class RunFacts:
    """Networks, data and software."""

    models: tuple[ModelFacts, ...]
    data: DataFacts
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FoldCounts:
    """Development patients of one fold: for training and for validation."""

    fold: int
    num_train: int
    num_validation: int


@dataclass(frozen=True)
class LabelCounts:
    """Labels of one target in one part, ``development`` or ``test``."""

    target: str
    part: str
    num_positive: int
    num_negative: int
    num_missing: int

    @property
    def num_patients(self) -> int:
        """Patients of the part."""
        return self.num_positive + self.num_negative + self.num_missing


@dataclass(frozen=True)
class OuterCounts:
    """Patients of one outer part of a cross-validated test, and those that its models learnt from.

    Parameters
    ----------
    number
        ``outer`` in the predictions table.
    name
        In words.
    """

    number: int
    name: str
    num_test: int
    num_development: int


@dataclass(frozen=True)
class CohortFlow:
    """How many patients came in, how many left and why, and where the others went.

    Parameters
    ----------
    num_patients
        In the cohort, before anything was left out.
    excluded
        (patient id, finding code, message) of each one left out.
    num_train, num_validation, num_test
        Patients in each split; of one fold where there are several.
    note
        A sentence to print below, e.g. how the folds are made.
    folds
        Training and validation patients of each fold; empty where that is not known.
    labels
        Known and missing labels of each target and part; empty where that is not known.
    outer
        Of a cross-validated test: its parts. Each patient is a test patient in one part of a repeat, and
        trains or validates in the others, so that none is counted as development above.
    """

    num_patients: int
    excluded: tuple[tuple[str, str, str], ...]
    num_train: int
    num_validation: int
    num_test: int
    note: str = ""
    folds: tuple[FoldCounts, ...] = ()
    labels: tuple[LabelCounts, ...] = ()
    outer: tuple[OuterCounts, ...] = ()

    @property
    def divided(self) -> str:
        """How the patients were divided, in words."""
        if self.outer:
            return (
                f"{self.num_test} patients in a cross-validated test with {len(self.outer)} outer parts, all"
                " but its test patients being each part's development patients"
            )
        return f"{self.num_development} development patients, {self.num_test} sealed test patients"

    @property
    def num_included(self) -> int:
        """Patients who were not left out."""
        return self.num_patients - len(self.excluded)

    @property
    def num_development(self) -> int:
        """Patients for training or validation."""
        return self.num_train + self.num_validation

    @property
    def mismatches(self) -> tuple[str, ...]:
        """What does not add up, a sentence each; empty where all of it does."""
        return tuple(_mismatches(self))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; patients who were left out are in ``excluded.csv`` only."""
        return {**asdict(self), "excluded": [list(pair) for pair in self.excluded_by_code]}

    def excluded_csv(self) -> str:
        """Return a table with a line for each patient who was left out."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(("patient_id", "code", "message"))
        writer.writerows(tuple(map(as_text, row)) for row in self.excluded)
        return buffer.getvalue()

    @property
    def excluded_by_code(self) -> tuple[tuple[str, int], ...]:
        """Finding codes and how many patients left for each, most first."""
        return tuple(Counter(code for _, code, _ in self.excluded).most_common())


def _mismatches(flow: CohortFlow) -> Iterator[str]:
    parted = flow.num_development + flow.num_test
    if parted != flow.num_included:
        yield (
            f"{flow.num_included} patients were included, but {parted} are in the split's parts."
        )
    for fold in flow.folds:
        found = fold.num_train + fold.num_validation
        if found != flow.num_development:
            yield (
                f"Fold {fold.fold} has {found} patients, but {flow.num_development} are in"
                " development."
            )
    of_part = {"development": flow.num_development, "test": flow.num_test}
    for counts in flow.labels:
        if counts.num_patients != of_part.get(counts.part):
            yield (
                f"{counts.target} has {counts.num_patients} labels, known or missing, in"
                f" {counts.part}, but {of_part.get(counts.part, 0)} patients are there."
            )


@dataclass(frozen=True)
class ReportContext:
    """What the report can say beyond the predictions table. All of it may be left out.

    Parameters
    ----------
    openings
        The test set's access log, oldest first.
    log_problems
        What is wrong with that log.
    test_parts
        Test patients that were sealed together, and how often each were opened; empty where that is not
        known.
    provenance
        What is needed to repeat it (fingerprints, seeds, versions, configuration), JSON values.
    warnings
        More sentences for the list of warnings.
    facts
        What is known of the networks and their data: the model card and the checklists need it.
    generated_at
        Date and time to print; none keeps the report the same for the same input.
    leak_checks
        What was looked for in the store; findings are said as warnings.
    shortcuts
        Whether the target may be read from the scanner.
    saliency
        Where the networks look, on some test patients.
    subgroups
        How well the runs do in groups of test patients.
    draws
        Probabilities of randomly changed images, where predictions are means over such.
    plan
        Which results were named as primary, and whether before the test; None: none.
    cohort
        Collection of the patients, where it is known; see `published.collection_of`.
    external
        Of a test on another cohort than the networks': what the report says of that cohort.
    characteristics
        What is known of the patients of each partition.
    """

    flow: CohortFlow | None = None
    facts: RunFacts | None = None
    openings: tuple[AccessRecord, ...] = ()
    log_problems: tuple[str, ...] = ()
    test_parts: tuple[TestPart, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    generated_at: str = ""
    leak_checks: tuple[LeakCheck, ...] = ()
    shortcuts: Shortcuts | None = None
    saliency: Saliency | None = None
    subgroups: Subgroups | None = None
    draws: pd.DataFrame | None = None
    plan: TestPlan | None = None
    cohort: str = ""
    external: External | None = None
    characteristics: Characteristics | None = None


def each(models: Sequence[ModelFacts], describe: Callable[[ModelFacts], str]) -> str:
    """Return the description of each model; one that several share stands once."""
    said: dict[str, list[str]] = {}
    for model in models:
        said.setdefault(describe(model), []).append(model.run)
    if len(said) == 1:
        return _sentence(next(iter(said)))
    return " ".join(f"{', '.join(runs)}: {_sentence(text, False)}" for text, runs in said.items())


def describe_network(model: ModelFacts) -> str:
    """Say which architecture it is, how large, and for what."""
    size = "" if model.num_parameters is None else f", {model.num_parameters:,} parameters"
    many = "" if model.num_networks == 1 else f", mean of {model.num_networks} networks"
    beside = f", reading {', '.join(model.covariates)} beside images" if model.covariates else ""
    return f"{model.network} (3D){size}, for {', '.join(model.targets)}{many}{beside}"


def describe_initialisation(model: ModelFacts) -> str:
    """Say what its weights were before training."""
    seed = "" if model.seed is None else f", seed {model.seed}"
    if model.initial_weights:
        return f"published weights from {model.initial_weights}{seed}"
    return f"random weights{seed}"


def describe_training(model: ModelFacts) -> str:
    """Say how it was trained."""
    train = model.config.get("train", {})
    names = ("epochs", "batch_size", "lr", "weight_decay", "warmup_epochs", "loss", "sampling")
    settings = ", ".join(f"{name} {train[name]}" for name in names if name in train)
    changed = "with random augmentation" if _augments(model) else "no augmentation"
    return f"AdamW with warm-up and cosine ({settings}), {changed}"


def describe_final(model: ModelFacts) -> str:
    """Say which of its weights are used for prediction."""
    if model.about:
        return model.about
    if model.fold is None:
        return f"the weights after the last of {model.epochs} epochs; no validation set"
    return (
        f"the epoch that training chose to keep (fold {model.fold} validates): {model.best_epoch} of"
        f" {model.epochs} trained"
    )


def describe_preprocessing(data: DataFacts) -> str:
    """Say how images became the networks' input."""
    parts = [
        f"crop around the tumour{_region(data.preprocessing)}",
        _resampling(data.preprocessing, data.spacing_text),
        _motion(data.preprocessing),
        _bias(data.preprocessing),
        "normalised by each patient's pre-contrast image",
    ]
    return f"{', '.join(part for part in parts if part)}."


def _region(settings: Mapping[str, Any]) -> str:
    if settings.get("region") is None:
        return ""
    what = "its box" if settings["region"] == "box" else "its mask where there is one, else its box"
    return f" ({what})"


def _motion(settings: Mapping[str, Any]) -> str:
    motion = settings.get("motion")
    if motion is None:
        return ""
    return "motion not corrected" if motion == "none" else f"motion corrected ({motion})"


def _bias(settings: Mapping[str, Any]) -> str:
    engine = settings.get("bias_engine")
    if engine is None:
        return ""
    return (
        "bias field not corrected" if engine == "none" else f"bias field corrected by N4 ({engine})"
    )


def _resampling(settings: Mapping[str, Any], spacing: str) -> str:
    if settings.get("resample_mm") is not None:
        return f"resampled to {spacing}" if spacing else "resampled"
    return f"voxels as acquired ({spacing})" if spacing else "voxels as acquired"


def _augments(model: ModelFacts) -> bool:
    return bool(model.config.get("augment", {}).get("enabled"))


def _sentence(text: str, capital: bool = True) -> str:
    first = text[:1].upper() if capital else text[:1]
    return f"{first}{text[1:]}".removesuffix(".") + "."
