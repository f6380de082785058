"""What a split knows of its patients: it stays valid for as long as they are what they were.

Other patients in the same store, and their order in it, decide nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from preprocessing.store.records import digest_settings

_MOST_NAMES = 5
_VALUES = {"0": "0", "1": "1", "?": "missing"}
_REMEDY = "name the store that the split was made from, or make a new split with 'radiotrain split'"


@dataclass(frozen=True)
class SplitPatients:
    """The patients of a split as they were when it was made.

    Parameters
    ----------
    targets
        Of the store, in the order of the labels in `contents`.
    settings
        Digest of the settings of preprocessing.
    contents
        Patient to labels and digests; see `preprocessing.store.records.describe_content`.
    """

    targets: tuple[str, ...]
    settings: str
    contents: Mapping[str, str] = field(hash=False)

    @classmethod
    def of(cls, store: Store, patient_ids: Iterable[str]) -> SplitPatients:
        """Return what a store holds of some of its usable patients."""
        contents = {patient_id: store.contents[patient_id] for patient_id in patient_ids}
        return cls(store.targets, _settings(store), contents)

    def only(self, patient_ids: Iterable[str]) -> SplitPatients:
        """Return what is known of some of the patients."""
        return replace(self, contents={i: self.contents[i] for i in patient_ids})

    @property
    def fingerprint(self) -> str:
        """Short digest over everything known of the patients, whatever their order."""
        known = [self.targets, self.settings, sorted(self.contents.items())]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]

    def check(self, store: Store, url: str) -> None:
        """Refuse a store in which one of the patients is changed or missing, by name.

        Parameters
        ----------
        url
            Of the split, for the message.

        Raises
        ------
        InputError
            If one is.
        """
        wrong = next(self._differences(store), None)
        if wrong is not None:
            raise InputError(f"split {url} does not fit store {store.url}, {wrong}: {_REMEDY}")

    def _differences(self, store: Store) -> Iterator[str]:
        found = store.contents
        missing = [i for i in self.contents if i not in found]
        if missing and len(missing) == len(self.contents):
            yield f"which has none of its {len(missing)} patients"
        if store.targets != self.targets:
            yield (
                f"whose targets are {', '.join(store.targets) or 'none'}, expected"
                f" {', '.join(self.targets) or 'none'}"
            )
        if self.settings != _settings(store):
            yield "which was preprocessed with other settings"
        changed = [i for i, text in self.contents.items() if found.get(i, text) != text]
        parts = []
        if missing:
            excluded = {r.patient_id: f" (excluded: {r.exclusion_code})" for r in store.excluded}
            named = _listed([f"{i}{excluded.get(i, ' (not in the store)')}" for i in missing])
            parts.append(f"{_count(missing, 'is', 'are')} missing there: {named}")
        if changed:
            named = _listed([f"{i} ({self._change(i, found[i])})" for i in changed])
            parts.append(f"{_count(changed, 'is', 'are')} changed there: {named}")
        if parts:
            yield "; ".join(parts)

    def _change(self, patient_id: str, now: str) -> str:
        """Say what of a patient differs from what the split knows."""
        before, after = self.contents[patient_id].split(" "), now.split(" ")
        words = [
            f"{target} {_VALUES[a]} → {_VALUES[b]}"
            for target, a, b in zip(self.targets, before[0], after[0], strict=True)
            if a != b
        ]
        names = ("voxels", "covariates or geometry")
        words += [n for n, a, b in zip(names, before[1:], after[1:], strict=True) if a != b]
        return ", ".join(words)


def was_made_of(store: Store, fingerprint: str, num_patients: int) -> bool:
    """Tell whether a store, or what it was before patients were appended, has a fingerprint.

    Splits of schema 1 know this of their patients and nothing else.

    Parameters
    ----------
    num_patients
        Of the split: the store had no fewer.
    """
    if store.fingerprint == fingerprint:
        return True
    records = sorted((*store.records, *store.excluded), key=lambda record: record.index)
    texts = [json.dumps((r.patient_id, r.status, r.checksums.get("images"))) for r in records]
    settings = json.dumps(dict(store.spec.settings), sort_keys=True)
    targets = json.dumps(store.targets)
    labels = [json.dumps(row) for row in store.spec.labels]
    for num in range(len(records) - 1, num_patients - 1, -1):
        attributes = (
            f'{{"labels": [{", ".join(labels[:num])}], "settings": {settings},'
            f' "targets": {targets}}}'
        )
        text = f"{attributes}\n[{', '.join(texts[:num])}]"
        if hashlib.sha256(text.encode()).hexdigest()[:16] == fingerprint:
            return True
    return False


def _settings(store: Store) -> str:
    return digest_settings(dict(store.spec.settings), store.spec.num_phases, store.spec.crop_shape)


def _count(patients: list[str], one: str, several: str) -> str:
    num = len(patients)
    return f"{num} patient{'' if num == 1 else 's'} of the split {one if num == 1 else several}"


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
