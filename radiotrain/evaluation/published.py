"""Published results on the Duke cohort."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from radiotrain.statistics.auc import Interval

if TYPE_CHECKING:
    from preprocessing.store import Store

DUKE = "Duke-Breast-Cancer-MRI"

LEAK_SUSPECT_AUC = 0.75
"""Above this an AUC for ER or PR from breast MRI is likelier a leak than a discovery."""

LEAK_SUSPECT_TARGETS = ("ER", "PR")


@dataclass(frozen=True)
class PublishedResult:
    """One row of others, or a reference of the whole collection. None where there is no such value."""

    target: str
    method: str
    source: str
    auc: float
    auc_ci95: Interval
    sensitivity: float | None = None
    specificity: float | None = None


_SHIRI = "Shiri et al., Mol Imaging Biol 2025"
_SAHA = "Saha et al., Br J Cancer 119 (2018) 508-516"
# Not of a publication: computed when this project was planned, November 2026.
_REFERENCE = (
    "reference of this project, not a publication: 529 published features of the collection, all 922"
    " patients, 5-fold cross-validation, best of several classifiers"
)
_CLINICAL = (
    "reference of this project, not a publication: clinical table of the collection, all 922 patients,"
    " 5-fold cross-validation"
)

PUBLISHED: tuple[PublishedResult, ...] = (
    PublishedResult("ER", "SEResNet50", _SHIRI, 0.695, (0.610, 0.775), 0.564, 0.787),
    PublishedResult("PR", "ResNet34", _SHIRI, 0.658, (0.573, 0.741), 0.593, 0.734),
    PublishedResult("HER2", "SEResNext101", _SHIRI, 0.698, (0.560, 0.822), 0.750, 0.625),
    PublishedResult("ER", "Radiomics", _SAHA, 0.649, (0.591, 0.705)),
    PublishedResult("PR", "Radiomics", _SAHA, 0.622, (0.569, 0.674)),
    PublishedResult("ER", "Radiomics", _REFERENCE, 0.688, (0.648, 0.727)),
    PublishedResult("PR", "Radiomics", _REFERENCE, 0.670, (0.634, 0.705)),
    PublishedResult("HER2", "Radiomics", _REFERENCE, 0.584, (0.535, 0.629)),
    PublishedResult("HER2", "Age and menopause", _CLINICAL, 0.622, (0.578, 0.670)),
)


# Of the ids and the three labels of its 922 patients, as `collection_of` writes them: what
# the collection's clinical workbook says (686 ER, 598 PR and 163 HER2 positive).
_LABELS = {"590ff2debf8151ff52b024f3021176759ba76a7c7e5781aa5e6d58e89653380f": DUKE}
_TARGETS = ("ER", "PR", "HER2")


def collection_of(store: Store) -> str:
    """Return the collection that a store's patients are of, empty where that is not known.

    The layout does not tell: a phantom is written as the collection is shipped. The labels of all
    its patients do.
    """
    spec = store.spec
    if not set(_TARGETS) <= set(spec.targets):
        return ""
    columns = [spec.targets.index(target) for target in _TARGETS]
    rows = sorted(
        [patient, *(labels[column] for column in columns)]
        for patient, labels in zip(spec.patient_ids, spec.labels, strict=True)
    )
    return _LABELS.get(hashlib.sha256(json.dumps(rows).encode()).hexdigest(), "")


def published_for(target: str, cohort: str) -> tuple[PublishedResult, ...]:
    """Return the published rows of a target, however its name is written (``er``, ``ER``).

    Parameters
    ----------
    cohort
        Collection of the test patients; of any but Duke's there are none.
    """
    if cohort != DUKE:
        return ()
    return tuple(p for p in PUBLISHED if p.target == target.strip().upper())
