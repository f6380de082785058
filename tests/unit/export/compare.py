"""An independent road from a store to images, and what a model itself says of its test patients."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from preprocessing.store import REGION_PADDING, PatientRecord, Store
from radiotrain.data.storage import NormalisationRule, read_voxels
from radiotrain.evaluation.model import open_models
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import open_test_set

DOCS = Path(__file__).parents[3] / "docs/export.md"

# Of probabilities, as docs/export.md states them.
SAME_IMAGES = 1e-5
OWN_IMAGES = 1e-3


@dataclass(frozen=True)
class Said:
    """A model's probabilities (N, T) of the test patients, and their images by two roads.

    Parameters
    ----------
    same_images
        float32 (N, P, R, C, S) as the loop has them.
    crops
        float32 (N, P, R, C, S) as read by zarr, NaN where there is padding.
    """

    probabilities: NDArray[np.float64]
    same_images: NDArray[np.float32]
    crops: NDArray[np.float32]
    records: list[PatientRecord]
    rule: NormalisationRule

    @property
    def own_images(self) -> NDArray[np.float32]:
        return np.stack([normalise_as_documented(crop, self.rule) for crop in self.crops])


def ask(url: str, store: Store, split: Split) -> Said:
    """Predict the test patients as `radiotrain evaluate` does."""
    (model,) = open_models([url])
    access = open_test_set(model.config.split, "a test", [model.name])
    table = model.test(store, split, access)
    # The mean over a model's networks.
    wide = table.groupby(["patient_id", "target"])["probability"].mean().unstack("target")
    indices = [store.index_of(str(i)) for i in wide.index]
    rule = model.config.train.normalisation
    return Said(
        wide[list(model.config.targets)].to_numpy(),
        np.stack([loop_image(store, i, rule) for i in indices]),
        np.stack([_crop(store, i) for i in indices]),
        [store.records[i] for i in indices],
        rule,
    )


def normalise_as_documented(
    voxels: NDArray[np.float32], rule: NormalisationRule
) -> NDArray[np.float32]:
    """Run the code of docs/export.md."""
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
        if "pre =" in block and ("def normalise" in block) == (rule == "robust")
    )
    names = {"voxels": voxels}
    exec(code, names)  # noqa: S102
    return names["images"]


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def loop_image(store: Store, index: int, rule: NormalisationRule) -> NDArray[np.float32]:
    patient = read_voxels(store, index, rule)
    return np.float32(patient.voxels * patient.gain + patient.offset)


def _crop(store: Store, index: int) -> NDArray[np.float32]:
    group = zarr.open_group(store.url, mode="r", zarr_format=3)
    row = store.records[index].index
    crop = np.asarray(group["images"][row], dtype=np.float32)
    crop[:, (np.asarray(group["region"][row]) & REGION_PADDING) != 0] = np.nan
    return crop
