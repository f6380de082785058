"""What others have published on the same cohort, to stand beside our rows."""

from __future__ import annotations

from dataclasses import dataclass

from radiotrain.evaluation.statistics.auc import Interval

LEAK_SUSPECT_AUC = 0.75
"""Above this an ER or PR AUC on the Duke cohort is likelier a leak than a discovery."""

LEAK_SUSPECT_TARGETS = ("ER", "PR")


@dataclass(frozen=True)
class PublishedResult:
    """One published row. None where the publication gives no such value."""

    target: str
    method: str
    source: str
    auc: float
    auc_ci95: Interval
    sensitivity: float | None = None
    specificity: float | None = None


_SHIRI = "Shiri et al., Mol Imaging Biol 2025"
_SAHA = "Saha et al., Br J Cancer 119 (2018) 508-516"

PUBLISHED: tuple[PublishedResult, ...] = (
    PublishedResult("ER", "SEResNet50", _SHIRI, 0.695, (0.610, 0.775), 0.564, 0.787),
    PublishedResult("PR", "ResNet34", _SHIRI, 0.658, (0.573, 0.741), 0.593, 0.734),
    PublishedResult("HER2", "SEResNext101", _SHIRI, 0.698, (0.560, 0.822), 0.750, 0.625),
    PublishedResult("ER", "Radiomics", _SAHA, 0.649, (0.591, 0.705)),
    PublishedResult("PR", "Radiomics", _SAHA, 0.622, (0.569, 0.674)),
)


def published_for(target: str) -> tuple[PublishedResult, ...]:
    """Return the published rows of a target, however its name is written (``er``, ``ER``)."""
    return tuple(p for p in PUBLISHED if p.target == target.strip().upper())
