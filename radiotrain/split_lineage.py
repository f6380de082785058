"""Splits that extend others: where the files of these are, and which test patients each had."""

from __future__ import annotations

from dataclasses import dataclass

from preprocessing.common.errors import MissingPathError, SchemaError
from preprocessing.storage import files
from radiotrain.split import Split, load_split


@dataclass(frozen=True)
class Lineage:
    """A split's file and those of the splits that it extends, as far as they are found.

    Parameters
    ----------
    urls, splits
        Newest first.
    missing
        The file that should come next and is not found, or holds another split; empty where all are
        found.
    """

    urls: tuple[str, ...]
    splits: tuple[Split, ...]
    missing: str = ""


def find_lineage(split_url: str) -> Lineage:
    """Find the file of each split that a split extends."""
    url = files.absolute(split_url)
    urls, splits = [url], [load_split(url)]
    while splits[-1].extends:
        newer = splits[-1]
        url = _resolve(urls[-1], newer.extends)
        try:
            found = load_split(url)
        except (MissingPathError, SchemaError):
            found = None
        # One that no patient was added to has the same fingerprint.
        known = {s.fingerprint for s in (newer, *newer.before[-1:])}
        if found is None or found.fingerprint not in known or url in urls:
            return Lineage(tuple(urls), tuple(splits), url)
        urls.append(url)
        splits.append(found)
    return Lineage(tuple(urls), tuple(splits))


def is_tested_on(split: Split, of_runs: Split) -> bool:
    """Tell whether `of_runs` is a split, or what `Split.for_runs_of` makes of it for one it extends."""
    known = (split, *(split.for_runs_of(before.fingerprint) for before in split.before))
    return of_runs.fingerprint in {one.fingerprint for one in known}


def file_of_extended(split_url: str, extended_url: str) -> str:
    """Return what `Split.extends` says: the name of a file beside, or where it is."""
    folder, _, name = files.absolute(extended_url).rpartition("/")
    is_beside = folder == files.absolute(split_url).rpartition("/")[0]
    return name if is_beside else files.absolute(extended_url)


def _resolve(split_url: str, extends: str) -> str:
    is_name = "/" not in extends
    return files.join(split_url.rpartition("/")[0], extends) if is_name else extends
