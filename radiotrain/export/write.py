"""From a trained model to its folder, whole or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from radiotrain.evaluation.model import Model, open_models
from radiotrain.export.card import export_card
from radiotrain.export.cohort_ranges import VoxelMeasures
from radiotrain.export.describe import TrainedModel, describe_model, load_model, training_ids
from radiotrain.export.description import (
    FILE_NAME,
    Format,
    ModelDescription,
    dump_description,
)
from radiotrain.export.how_to_run import how_to_run
from radiotrain.export.new_folder import check_new, new_folder
from radiotrain.export.packages import check_packages
from radiotrain.export.to_bundle import check_bundle, write_bundle
from radiotrain.export.to_onnx import write_onnx
from radiotrain.export.weights import write_weights
from radiotrain.places import open_inputs
from radiotrain.split import notes_on

Writer = Callable[[TrainedModel, ModelDescription, Path], ModelDescription]

_WRITERS: dict[Format, Writer] = {
    "bundle": write_bundle,
    "safetensors": write_weights,
    "onnx": write_onnx,
}
# Where MONAI's specification wants it, and beside model.json otherwise.
_CARDS: dict[Format, str] = {
    "bundle": "docs/README.md",
    "safetensors": "model-card.md",
    "onnx": "model-card.md",
}

# What may be there of an upload that was not finished.
_OURS = re.compile(
    r"model\.json|model\.onnx(?:\.data)?|model-card\.md|(?:models/)?network-\d+\.safetensors"
    r"|docs/README\.md|configs/(?:metadata|inference)\.json|scripts/(?:evaluator|mean|intensities)\.py"
)


class Exporter:
    """One model, its store and its split, opened and checked before anything is written.

    Parameters
    ----------
    url
        Run folder, or folder of a promoted model.
    store_url
        Where the store is now; None: where the run found it.
    split_url
        Where the split is now; None: where the run found it.
    measures
        Shared by exporters of several models, whose training patients are then read once.

    Raises
    ------
    InputError
        If the run is not finished, or belongs to another store or split; if `out` holds something;
        if the format cannot hold it, or its packages are not installed.
    """

    def __init__(
        self,
        url: str,
        form: Format,
        out: str,
        store_url: str | None = None,
        measures: VoxelMeasures | None = None,
        split_url: str | None = None,
    ) -> None:
        check_packages(form)
        check_new(out, FILE_NAME, is_ours)
        (self._model,) = open_models([url], [split_url] if split_url else [])
        config = self._model.config
        self._store, self._split = open_inputs(store_url or config.store, config.split)
        self._trained = load_model(self._model, self._store, self._split)
        if form == "bundle":
            check_bundle(self._trained)
        self._form: Format = form
        self._measures = measures or VoxelMeasures()
        self.out = out

    @property
    def model(self) -> Model:
        """What is exported."""
        return self._model

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on patients of the store that no network could be trained on."""
        return notes_on(self._split, self._store, self._model.config.split)

    @property
    def num_steps(self) -> int:
        """How often `write` calls `advance`."""
        return len(training_ids(self._model, self._split)) + 1

    def write(self, advance: Callable[[], None]) -> ModelDescription:
        """Write the folder; return what its ``model.json`` says."""
        trained, form = self._trained, self._form
        with new_folder(self.out, FILE_NAME, is_ours) as folder:
            found = describe_model(trained, self._store, self._split, form, self._measures, advance)
            found = _WRITERS[form](trained, found, folder)
            advance()
            card = folder / _CARDS[form]
            card.parent.mkdir(exist_ok=True)
            text = export_card(self._model, self._store, self._split, found, how_to_run(found))
            card.write_text(text, "utf-8")
            found = found.model_copy(update={"files": _digests(folder)})
            (folder / FILE_NAME).write_text(dump_description(found), "utf-8")
        return ModelDescription.model_validate_json(found.model_dump_json())


def is_ours(path: str) -> bool:
    """Tell whether a path in an export's folder is of a file that some format writes there."""
    return _OURS.fullmatch(path) is not None


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files, by their paths in the folder."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = digest
    return found
