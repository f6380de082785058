"""Which label of the other cohort a model's target is tested on; pure decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import InputError, nearest_hint
from radiotrain.evaluation.external.results import CohortTarget


@dataclass(frozen=True)
class MappedTargets:
    """Targets that are tested, and sentences on those that are not.

    Parameters
    ----------
    tested
        In the order of the models.
    """

    tested: tuple[CohortTarget, ...]
    left_out: tuple[str, ...]

    @property
    def label_of(self) -> dict[str, str]:
        """Target of the models to label of the cohort."""
        return {found.target: found.label for found in self.tested}


def parse_targets(texts: Sequence[str]) -> dict[str, str]:
    """Return target to label from ``ER=HR`` or ``ER``, several of them separated by commas too.

    Raises
    ------
    InputError
        If one is no such text, or a target is named twice.
    """
    found: dict[str, str] = {}
    for text in (part for texts_ in texts for part in texts_.split(",")):
        target, equals, label = (part.strip() for part in text.partition("="))
        if not target or (equals and not label):
            raise InputError(
                f"--targets is {text!r}, expected TARGET=LABEL, the models' target and the cohort's label,"
                " e.g. ER=HR"
            )
        if target in found:
            raise InputError(f"--targets names {target} twice, expected one label for it")
        found[target] = label or target
    return found


def map_targets(
    targets: Sequence[str],
    labels: NDArray[np.int8],
    names: Sequence[str],
    given: Mapping[str, str],
    store: str,
) -> MappedTargets:
    """Find the cohort's label for each target of the models.

    Parameters
    ----------
    targets
        Of the models.
    labels
        int8 (N, T) of the cohort, of 0, 1 or -1.
    names
        Of its T labels.
    given
        Target to label as the user named them; others are looked for under their own name.

    Raises
    ------
    InputError
        If a name is neither the models' nor the cohort's, or no target can be tested.
    """
    for target, label in given.items():
        if target not in targets:
            raise InputError(
                f"--targets names {target}{nearest_hint(target, targets)}, but the models predict"
                f" {', '.join(targets)}: name the models' target before the ="
            )
        if label not in names:
            raise InputError(
                f"--targets wants label {label} for {target}{nearest_hint(label, names)}, but store {store}"
                f" has {', '.join(names) or 'no labels'}: name one of these after the ="
            )
    tested, left_out = [], []
    for target in targets:
        label = given.get(target, target)
        if label not in names:
            left_out.append(
                f"{target} is not tested: the cohort has no label of that name, but"
                f" {', '.join(names) or 'none'}; name its label with --targets {target}=LABEL"
            )
            continue
        counts = Counter(labels[:, list(names).index(label)].tolist())
        found = CohortTarget(target, label, counts[1], counts[0], counts[MISSING_LABEL])
        if why := _why_not(found):
            left_out.append(f"{target} is not tested: {why}")
        else:
            tested.append(found)
    if not tested:
        raise InputError(
            f"store {store} can test none of the models' targets: {'; '.join(left_out)}"
        )
    return MappedTargets(tuple(tested), tuple(left_out))


def _why_not(found: CohortTarget) -> str:
    known = found.num_positive + found.num_negative
    if not known:
        return f"the label {found.label} is missing in all {found.num_missing} patients"
    if not found.num_positive or not found.num_negative:
        kind = "positive" if found.num_positive else "negative"
        return f"the label {found.label} is {kind} in all {known} patients in which it is known"
    return ""
