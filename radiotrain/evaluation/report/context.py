"""What a report can say beyond the predictions table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radiotrain.evaluation.leaks.results import LeakCheck
    from radiotrain.evaluation.shortcuts.results import Shortcuts
    from radiotrain.seal import Opening


@dataclass(frozen=True)
class CohortFlow:
    """How many patients came in, who left and why, and where the others went.

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
    """

    num_patients: int
    excluded: tuple[tuple[str, str, str], ...]
    num_train: int
    num_validation: int
    num_test: int
    note: str = ""

    @property
    def excluded_by_code(self) -> tuple[tuple[str, int], ...]:
        """Finding codes and how many patients left for each, most first."""
        return tuple(Counter(code for _, code, _ in self.excluded).most_common())


@dataclass(frozen=True)
class ReportContext:
    """What the report can say beyond the predictions table. All of it may be left out.

    Parameters
    ----------
    openings
        The log of the test set's openings, oldest first.
    provenance
        What is needed to repeat it (fingerprints, seeds, versions, configuration), JSON values.
    warnings
        More sentences for the list of warnings.
    generated_at
        Date and time to print; none keeps the report the same for the same input.
    leak_checks
        What was looked for in the store; findings are said as warnings.
    shortcuts
        Whether the target may be read from the scanner.
    """

    flow: CohortFlow | None = None
    openings: tuple[Opening, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    generated_at: str = ""
    leak_checks: tuple[LeakCheck, ...] = ()
    shortcuts: Shortcuts | None = None
