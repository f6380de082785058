"""Networks, their training and their images in words, for the model card and the checklists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from radiotrain.evaluation.report.facts import DataFacts, ModelFacts


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
