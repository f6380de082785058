"""What a report can say beyond the predictions table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from radiotrain.evaluation.report.facts import RunFacts
from radiotrain.evaluation.spreadsheet import as_text

if TYPE_CHECKING:
    import pandas as pd

    from radiotrain.access_log import AccessRecord
    from radiotrain.evaluation.external.results import External
    from radiotrain.evaluation.family import TestPlan
    from radiotrain.evaluation.leaks.results import LeakCheck
    from radiotrain.evaluation.report.characteristics import Characteristics
    from radiotrain.evaluation.saliency.results import Saliency
    from radiotrain.evaluation.shortcuts.results import Shortcuts
    from radiotrain.evaluation.subgroups.results import Subgroups
    from radiotrain.seal import TestPart


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
