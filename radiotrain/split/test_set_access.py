"""Open the sealed test set, with a record in the access log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from preprocessing.common.errors import SealedTestSetError
from preprocessing.storage import files
from radiotrain.split.access_log import (
    AccessLog,
    AccessRecord,
    add_access,
    copy_log,
    read_access_log,
)
from radiotrain.split.extend import file_of_extended, find_lineage, is_tested_on
from radiotrain.split.split import Split, named_parts, save_split

_OPENED_HERE = object()


class TestAccess:
    """Leave to read the test patients of one split; only `open_test_set` gives it."""

    def __init__(
        self, record: AccessRecord, key: object, others: Iterable[AccessRecord] = ()
    ) -> None:
        if key is not _OPENED_HERE:
            raise SealedTestSetError("test access is given by open_test_set only")
        self.record = record
        self.others = tuple(others)


def open_test_set(
    split_url: str,
    purpose: str,
    runs: Sequence[str],
    configurations: Mapping[str, str] | None = None,
    run_urls: Sequence[str] = (),
    split: Split | None = None,
    primary: Sequence[str] = (),
) -> TestAccess:
    """Open the test set of a split, on record: in its log, and in those of the splits that it extends.

    Parameters
    ----------
    purpose
        One sentence, e.g. ``evaluation``.
    runs
        Names of the runs that will be tested.
    configurations
        What is known of how each was made; see `AccessRecord`.
    run_urls
        Where those that lie in a folder are: each keeps a copy of the record.
    split
        From `Split.for_runs_of`, where the runs were trained on one that this split extends.
    primary
        Results that are named as primary, ``RUN:TARGET`` each.

    Returns
    -------
    The access, with the other accesses to the same test patients in `others`.
    """
    lineage = find_lineage(split_url)
    split = split or lineage.splits[0]
    if not is_tested_on(lineage.splits[0], split):
        raise SealedTestSetError(
            f"split {split.fingerprint} is not that of {split_url}: open its own"
        )
    record = AccessRecord(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        purpose=purpose,
        runs=tuple(runs),
        split_fingerprint=split.fingerprint,
        configurations=dict(configurations or {}),
        parts=tuple(_digest_part(ids) for _, ids in named_parts(split)),
        primary=tuple(primary),
    )
    written = add_access(lineage.urls, record, run_urls)
    return TestAccess(written, _OPENED_HERE, _others(lineage.urls, written, run_urls))


def _others(
    split_urls: Sequence[str], own: AccessRecord, run_urls: Sequence[str]
) -> Iterator[AccessRecord]:
    """Yield the other accesses to these test patients.

    They are read after an access was written, so that of two at the same time each sees the other.
    Those of older versions do not say which patients they read: they may have been these.
    """
    records = list(read_access_log(split_urls, run_urls).records)
    records.remove(own)
    yield from (r for r in records if not r.parts or {*r.parts} & {*own.parts})


def read_test_log(split_url: str, run_urls: Sequence[str] = ()) -> AccessLog:
    """Return all accesses to a split's test patients, under it and under the splits that it extends.

    Parameters
    ----------
    run_urls
        Runs whose copies the log is compared with.
    """
    return read_access_log(find_lineage(split_url).urls, run_urls)


def open_external_cohort(
    log_url: str,
    purpose: str,
    runs: Sequence[str],
    configurations: Mapping[str, str],
    copies: Sequence[str],
    sealed: Split,
    cohort: Mapping[str, str],
    primary: Sequence[str] = (),
    other_logs: Sequence[str] = (),
) -> TestAccess:
    """Open a cohort that no run was trained on, on record in a log of its own.

    Parameters
    ----------
    log_url
        What the log's files are named after.
    purpose, runs, configurations
        See `open_test_set`.
    copies
        Folders that keep a copy of the record each.
    sealed
        The cohort's patients as the test patients of a split.
    cohort
        See `AccessRecord`.
    primary
        Results that are named as primary, ``RUN:TARGET`` each.
    other_logs
        Logs of the same cohort that are read but not written, for `others`.

    Returns
    -------
    The access, with the other accesses to the same patients in `others`.
    """
    record = AccessRecord(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        purpose=purpose,
        runs=tuple(runs),
        split_fingerprint=sealed.fingerprint,
        configurations=dict(configurations),
        parts=(_digest_part(sealed.test_ids),),
        cohort=dict(cohort),
        primary=tuple(primary),
    )
    written = add_access(log_url, record, copies)
    others = [*_others([log_url], written, copies)]
    for url in other_logs:
        others += [r for r in read_access_log(url).records if r not in others]
    return TestAccess(written, _OPENED_HERE, others)


def read_external_log(log_url: str, copies: Sequence[str] = ()) -> AccessLog:
    """Return all accesses to an external cohort; see `open_external_cohort`."""
    return read_access_log(log_url, copies)


def save_extension(split: Split, url: str, extended_url: str) -> Split:
    """Write an extended split with the accesses to the test patients that it had before.

    Returns
    -------
    The split as it is written, with the name of the file that it extends.
    """
    split = replace(split, extends=file_of_extended(url, extended_url))
    # First, so that there is never a split whose history is missing.
    if not files.exists(url):
        copy_log(extended_url, url)
    save_split(split, url)
    return split


@dataclass(frozen=True)
class TestPart:
    """Test patients that were sealed together.

    Parameters
    ----------
    part
        Counted from 1, oldest first.
    num_openings
        How often they were opened so far.
    """

    part: int
    patient_ids: tuple[str, ...]
    num_openings: int


def count_accesses(split: Split, records: Sequence[AccessRecord]) -> tuple[TestPart, ...]:
    """Return the parts of a test set and how often each was opened.

    An access that was logged by an older version counts for the first part: there was no other then.
    """
    parts = {n: (ids, _digest_part(ids)) for n, ids in named_parts(split)}
    return tuple(
        TestPart(n, ids, sum(part in r.parts if r.parts else n == 1 for r in records))
        for n, (ids, part) in parts.items()
    )


def _digest_part(patient_ids: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(patient_ids)).encode()).hexdigest()[:12]


def check_sealed(split: Split, patient_ids: Iterable[str], access: TestAccess | None) -> None:
    """Refuse test patients to a reader without access to this very split.

    Raises
    ------
    SealedTestSetError
        If one of the patients is sealed.
    """
    sealed = sorted({*split.test_ids} & {*patient_ids})
    if not sealed:
        return
    if access is None:
        raise SealedTestSetError(
            f"patient {sealed[0]!r} is in the sealed test set: only 'radiotrain evaluate' opens it"
        )
    if access.record.split_fingerprint != split.fingerprint:
        raise SealedTestSetError(
            f"patient {sealed[0]!r} is in the test set of split {split.fingerprint}, but the"
            f" access is to split {access.record.split_fingerprint}: open the right one"
        )
