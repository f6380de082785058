"""Access log of a test set.

====================================  ====================================================
``splits.json.openings/``             ``NUMBER-DIGEST.json``, one for each access
``splits.json.openings.head``         the names of the last ones
``splits.json.openings.jsonl``        what versions before this format wrote; still read
``RUN/test-accesses/``                in each run that was tested, copies of its accesses
====================================  ====================================================

An access under a split that extends others is written into the logs of all.

A file's name holds the SHA-256 of its content, and its content the names of those before that no other file
names. So no two writers share a file or a name: of accesses at the same time all are kept, on an object
store without conditional writes and a file system without locks, too. A file that was changed does not match
its name; one that was removed is missed by those after it, by the head and by the runs that were tested.
What is wrong is said in the report and written down with the next access. It refuses no evaluation: a log that
is not whole cannot be made whole by waiting.

It cannot be noticed if the last accesses are removed together with the head and all tested runs' copies,
or if the whole log is, or if a split is used without the log that lies beside it: a test set has no memory.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from preprocessing.common.json_values import dump_json
from preprocessing.storage import files

COPIES = "test-accesses"
_NAME = re.compile(r"(\d{6,})-([0-9a-f]{32})\.json")
_UNREADABLE = "unknown: what was written of this access cannot be read"
_MISSING = "unknown: what was written of this access is missing"


@dataclass(frozen=True)
class AccessRecord:
    """One access to a test set: when, what for, with which runs, of which split.

    Parameters
    ----------
    configurations
        Of runs, in words and with a digest that a changed setting changes; logs of older versions
        have none.
    parts
        Digests of the parts of the test set that were opened; logs of older versions have none.
    problems
        What was found wrong with the log at that time, and had not been found before.
    primary
        Results that were named as primary, ``RUN:TARGET`` each; logs of older versions have none.
    cohort
        Of an external cohort: its fingerprints, and the labels of each target that was tested.
    """

    time: str
    purpose: str
    runs: tuple[str, ...]
    split_fingerprint: str
    configurations: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    primary: tuple[str, ...] = ()
    cohort: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AccessLog:
    """All accesses to a test set, oldest first, and what is wrong with their log, in words.

    An access of which nothing but the fact is known counts as one.
    """

    records: tuple[AccessRecord, ...] = ()
    problems: tuple[str, ...] = ()


def read_access_log(split_urls: str | Sequence[str], run_urls: Sequence[str] = ()) -> AccessLog:
    """Return the accesses to a split's test set.

    Parameters
    ----------
    split_urls
        The split, and those that it extends: an access under a split is in the logs of these, too.
    run_urls
        Runs whose copies the log is compared with.
    """
    return _read(_several(split_urls), run_urls).log


def add_access(
    split_urls: str | Sequence[str], record: AccessRecord, run_urls: Sequence[str] = ()
) -> AccessRecord:
    """Write an access into the logs of a split and of those that it extends, and copies of it into runs.

    When this returns, it is on the disk. What a log had lost and others still have is put back.

    Returns
    -------
    What was written.
    """
    urls = _several(split_urls)
    found = _read(urls, run_urls)
    told = {problem for before in found.log.records for problem in before.problems}
    new = tuple(problem for problem in found.log.problems if problem not in told)
    record = replace(record, problems=new)
    values = {
        **asdict(record),
        "before": list(found.heads),
        "older_log": found.older.state,
        # Two accesses are two, were all else the same.
        "token": uuid.uuid4().hex,
    }
    content = dump_json(values).encode()
    name = f"{found.next_number:06d}-{_digest(content)}.json"
    # The split's own log comes last: what it says has been opened is in the others, too.
    for url in reversed(urls):
        _write_entries(url, {**found.whole, name: content})
    for url in run_urls:
        _keep_copy(files.join(url, COPIES, name), content)
    return record


@dataclass(frozen=True)
class _Entry:
    """A file of the log; `values` is None where it is damaged."""

    name: str
    values: dict[str, Any] | None

    @property
    def before(self) -> tuple[str, ...]:
        return () if self.values is None else tuple(self.values["before"])

    @property
    def record(self) -> AccessRecord:
        return _unknown(_UNREADABLE) if self.values is None else _record(self.values)


@dataclass(frozen=True)
class _OlderLog:
    """The log of an older version: a line an access."""

    content: bytes
    records: tuple[AccessRecord, ...]
    problems: tuple[str, ...]

    @property
    def state(self) -> list[Any]:
        """How long it is, and its digest."""
        return [len(self.content), _digest(self.content)]

    def is_changed(self, state: Sequence[Any]) -> bool:
        """Whether it is anything but what it was, and perhaps more lines."""
        length, digest = state
        return bool(_digest(self.content[:length]) != digest)


@dataclass(frozen=True)
class _Found:
    log: AccessLog
    heads: tuple[str, ...]
    next_number: int
    older: _OlderLog
    whole: Mapping[str, bytes]


def _keep_copy(url: str, content: bytes) -> None:
    """Write a copy into a run; one that may only be read is evaluated all the same."""
    try:
        files.write_bytes(url, content)
    except OSError as error:
        if not isinstance(error, PermissionError) and error.errno != errno.EROFS:
            raise


def copy_log(split_url: str, other_url: str) -> None:
    """Begin the log of a split that extends another with the log of that one."""
    older = _read_older(split_url).content
    if older:
        files.write_bytes(_older(other_url), older)
    entries = _read_entries(_folder(split_url))
    if entries:
        _write_entries(other_url, entries)


def _several(urls: str | Sequence[str]) -> tuple[str, ...]:
    return (urls,) if isinstance(urls, str) else tuple(urls)


def _write_entries(split_url: str, entries: Mapping[str, bytes]) -> None:
    """Write those that a log has not."""
    folder = _folder(split_url)
    there = _read_entries(folder)
    for name, content in sorted(entries.items()):
        if there.get(name) != content:
            files.write_bytes(files.join(folder, name), content)
    _write_head(split_url)


def _read(split_urls: Sequence[str], run_urls: Sequence[str]) -> _Found:
    # The heads first: what they name was written before them.
    head = [name for url in split_urls for name in _read_head(url)]
    contents: dict[str, bytes] = {}
    for url in split_urls:
        for name, content in _read_entries(_folder(url)).items():
            # Damaged in one log, it may be whole in another.
            if name not in contents or _parse(name, contents[name]).values is None:
                contents[name] = content
    copies = {name: content for url in run_urls for name, content in _read_entries(files.join(url, COPIES)).items()}  # fmt: skip
    entries = {name: _parse(name, content) for name, content in contents.items()}
    in_runs = {n: e for n, c in copies.items() if (e := _parse(n, c)).values is not None}
    lost = {n: e for n, e in in_runs.items() if n not in entries or entries[n].values is None}
    known = {**entries, **lost}
    older = max((_read_older(url) for url in split_urls), key=lambda log: len(log.content))
    named = {name for entry in known.values() for name in entry.before}
    missing = sorted((named | set(head)) - set(known))
    records = [(name, entry.record) for name, entry in known.items()]
    records += [(name, _unknown(_MISSING)) for name in missing]
    everything = (*older.records, *(record for _, record in sorted(records, key=_order)))
    problems = [*older.problems, *_problems(entries, lost, missing, older)]
    problems += [problem for record in everything for problem in record.problems]
    highest = max([len(older.records), *(_number(name) for name, _ in records)])
    return _Found(
        AccessLog(everything, tuple(dict.fromkeys(problems))),
        tuple(sorted((set(known) | set(missing)) - named)),
        highest + 1,
        older,
        {
            n: copies[n] if n in lost else contents[n]
            for n, e in known.items()
            if e.values is not None
        },
    )


def _problems(
    entries: Mapping[str, _Entry],
    lost: Mapping[str, _Entry],
    missing: Sequence[str],
    older: _OlderLog,
) -> Iterator[str]:
    """Say what is wrong with the log; in the same words whenever it is read."""
    uncertain = "how often the test set was opened, and for what, is not certain"
    for name in missing:
        yield f"access {name} is missing from the log of the test set: {uncertain}"
    for name in lost:
        yield (
            f"access {name} was missing from the log of the test set, and is known from a run that"
            " was tested: more may be missing"
        )
    for name, entry in entries.items():
        if entry.values is None and name not in lost:
            yield f"access {name} in the log of the test set is damaged: {uncertain}"
    states = [entry.values["older_log"] for entry in {**entries, **lost}.values() if entry.values]
    if any(older.is_changed(state) for state in states):
        yield (
            "the log of the test set that an older version wrote was changed or removed since:"
            f" {uncertain}"
        )


def _parse(name: str, content: bytes) -> _Entry:
    if _digest(content) != name.partition("-")[2].removesuffix(".json"):
        return _Entry(name, None)
    values = json.loads(content)
    is_ours = isinstance(values, dict) and {"time", "before", "older_log"} <= set(values)
    return _Entry(name, values if is_ours else None)


def _record(values: Mapping[str, Any]) -> AccessRecord:
    return AccessRecord(
        time=str(values["time"]),
        purpose=str(values["purpose"]),
        runs=tuple(values["runs"]),
        split_fingerprint=str(values["split_fingerprint"]),
        configurations=dict(values.get("configurations", {})),
        parts=tuple(values.get("parts", ())),
        problems=tuple(values.get("problems", ())),
        primary=tuple(values.get("primary", ())),
        cohort=dict(values.get("cohort", {})),
    )


def _unknown(why: str) -> AccessRecord:
    return AccessRecord(time="unknown", purpose=why, runs=(), split_fingerprint="unknown")


def _read_entries(folder: str) -> dict[str, bytes]:
    names = [name for name in files.list_names(folder) if _NAME.fullmatch(name)]
    return dict(zip(names, files.read_many([files.join(folder, n) for n in names]), strict=True))


def _read_older(split_url: str) -> _OlderLog:
    try:
        content = files.read_bytes(_older(split_url))
    except FileNotFoundError:
        return _OlderLog(b"", (), ())
    records, problems = [], []
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            records.append(_record(json.loads(line)))
        except (ValueError, TypeError, KeyError):
            records.append(_unknown(_UNREADABLE))
            problems.append(
                f"line {number} of the log of the test set that an older version wrote cannot be"
                " read, perhaps cut short by a crash: that access counts, its purpose is unknown"
            )
    return _OlderLog(content, tuple(records), tuple(problems))


def _read_head(split_url: str) -> tuple[str, ...]:
    try:
        content = files.read_bytes(_head(split_url))
    except FileNotFoundError:
        return ()
    return tuple(filter(_NAME.fullmatch, content.decode("utf-8", errors="replace").split()))


def _write_head(split_url: str) -> None:
    """Name the last accesses. Of writers at once the last one wins: what it names is in the log."""
    entries = {n: _parse(n, c) for n, c in _read_entries(_folder(split_url)).items()}
    named = {name for entry in entries.values() for name in entry.before}
    files.write_text(_head(split_url), "\n".join(sorted(set(entries) - named)) + "\n")


def _folder(split_url: str) -> str:
    return f"{files.absolute(split_url)}.openings"


def _older(split_url: str) -> str:
    return f"{files.absolute(split_url)}.openings.jsonl"


def _head(split_url: str) -> str:
    return f"{files.absolute(split_url)}.openings.head"


def _number(name: str) -> int:
    return int(name.partition("-")[0])


def _order(entry: tuple[str, AccessRecord]) -> tuple[int, str, str]:
    """Sort by number, then by time: those at once have the same number."""
    name, record = entry
    return _number(name), record.time, name


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
