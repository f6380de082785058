"""One patient looked at: measured, drawn, and reduced to what the pages need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocessing.qc.folder import picture_path
from preprocessing.qc.measures import (
    Measures,
    box_of,
    from_record,
    range_percent,
    relative_enhancement,
    tissue_mask,
)
from preprocessing.qc.pictures import Pictures, draw
from preprocessing.qc.reading import DamagedVoxelsError, Voxels, read_voxels
from preprocessing.storage import files
from preprocessing.store import Store

# Shares of the tissue's voxels, from darkest to brightest.
QUANTILE_SHARES = tuple(float(q) for q in np.linspace(0, 1, 65))


@dataclass(frozen=True)
class Study:
    """What is known of a patient after looking at the voxels; small, to cross processes.

    Parameters
    ----------
    problem
        What is wrong with the stored voxels; then there is nothing below.
    tumour, tissue
        Relative enhancement of each phase, of the tumour and of the other tissue.
    tissue_quantiles
        Pre-contrast intensities at `QUANTILE_SHARES` of the tissue's voxels.
    tumour_voxels
        Marked as tumour.
    tumour_in_padding
        Fraction of them that lies in the padding, where there is no image.
    """

    measures: Measures
    problem: str | None = None
    pictures: Pictures | None = None
    tumour: tuple[float, ...] | None = None
    tissue: tuple[float, ...] | None = None
    tissue_quantiles: tuple[float, ...] = ()
    tumour_voxels: int = 0
    tumour_in_padding: float = 0.0


def study(store: Store, folder: Path, name: str) -> Study:
    """Look at the only patient of `store` and write the pictures under `name`."""
    record = store.records[0]
    known = from_record(record, store.spec)
    try:
        voxels = read_voxels(store, 0)
    except DamagedVoxelsError as error:
        return Study(known, problem=str(error))
    pre = voxels.images[0]
    tissue = tissue_mask(pre, voxels.padding)
    field_percent = range_percent(voxels.field, tissue)
    pictures, grey, field = draw(voxels, box_of(record), record.spacing_mm, field_percent)
    for kind, png in (("grey", grey), ("field", field)):
        if png is not None:
            files.write_bytes(str(picture_path(folder, name, kind)), png)
    intensities = pre[tissue]
    quantiles = np.quantile(intensities, QUANTILE_SHARES) * voxels.scale if intensities.size else ()
    tumour = relative_enhancement(voxels.images, voxels.tumour & ~voxels.padding)
    in_padding = int((voxels.tumour & voxels.padding).sum())
    num_tumour = int(voxels.tumour.sum())
    return Study(
        measures={
            **known,
            **_from_voxels(voxels, tumour, field_percent),
            "tissue": float(quantiles[len(quantiles) // 2]) if len(quantiles) else math.nan,
        },
        pictures=pictures,
        tumour=tumour,
        tissue=relative_enhancement(voxels.images, tissue & ~voxels.tumour),
        tissue_quantiles=tuple(float(q) for q in quantiles),
        tumour_voxels=num_tumour,
        tumour_in_padding=in_padding / num_tumour if num_tumour else 0.0,
    )


def _from_voxels(
    voxels: Voxels,
    tumour: tuple[float, ...] | None,
    field_percent: tuple[float, float] | None,
) -> dict[str, float]:
    low, high = field_percent or (0.0, 0.0)
    return {
        "peak": 100 * max(tumour[1:]) if tumour is not None and tumour[1:] else math.nan,
        "field": high - low,
        "padding": 100 * float(voxels.padding.mean()),
    }
