"""Access log of an external cohort.

The log lies beside the cohort's store, ``STORE.external.openings/``, in the form that
`radiotrain.split.access_log` describes; each run that is tested keeps a copy, ``RUN/external/COHORT/``. Where the
store lies in a place that cannot be written, the log lies beside the report, and the report says so.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preprocessing.storage import files
from radiotrain.evaluation.external_results import CohortTarget
from radiotrain.external.cohort import Cohort, last_part
from radiotrain.split.access_log import AccessLog
from radiotrain.split.test_set_access import TestAccess, open_external_cohort, read_external_log


@dataclass(frozen=True)
class LoggedAccess:
    """Leave to read an external cohort, and the log that it is written in.

    Parameters
    ----------
    notes
        Sentences on where the log is, if that is not beside the store.
    """

    access: TestAccess
    log: AccessLog
    url: str
    notes: tuple[str, ...] = ()


def access_cohort(
    cohort: Cohort,
    purpose: str,
    runs: Sequence[str],
    configurations: Mapping[str, str],
    run_urls: Sequence[str],
    targets: Sequence[CohortTarget],
    out: str,
    phases: Sequence[int] = (),
    primary: Sequence[str] = (),
) -> LoggedAccess:
    """Write an access to a cohort down, and return leave to read it.

    Parameters
    ----------
    run_urls
        Run folders, each of which keeps a copy.
    out
        Of the report, beside which the log lies where the store cannot have it.
    phases
        Of the cohort that the networks read; empty: all.
    primary
        Results that are named as primary, ``RUN:TARGET`` each.
    """
    copies = [files.join(url, "external", cohort.fingerprint) for url in run_urls]
    about = {
        "cohort": cohort.fingerprint,
        "store": cohort.store.fingerprint,
        "patients": str(len(cohort.patient_ids)),
        **({"phases": ", ".join(map(str, phases))} if phases else {}),
        **{f"target {t.target}": _describe(t) for t in targets},
    }
    beside_store = f"{cohort.store.url}.external"
    beside_report = f"{files.absolute(out)}.external-{cohort.fingerprint}"
    notes: tuple[str, ...] = ()
    where = beside_store
    try:
        access = open_external_cohort(
            where, purpose, runs, configurations, copies, cohort.sealed, about, primary
        )
    except OSError as error:
        if not isinstance(error, PermissionError) and error.errno not in (
            errno.EROFS,
            errno.EACCES,
        ):
            raise
        where = beside_report
        access = open_external_cohort(
            where,
            purpose,
            runs,
            configurations,
            copies,
            cohort.sealed,
            about,
            primary,
            other_logs=[beside_store],
        )
        notes = (
            (
                f"The place of store {cohort.name} cannot be written, so this access was logged beside the"
                f" report, in {last_part(where)}.openings: accesses that were logged elsewhere are not counted here."
            ),
        )
    return LoggedAccess(access, read_external_log(where, copies), where, notes)


def _describe(target: CohortTarget) -> str:
    mapped = "" if target.label == target.target else f"label {target.label}, "
    return (
        f"{mapped}{target.num_positive} positive, {target.num_negative} negative,"
        f" {target.num_missing} missing"
    )
