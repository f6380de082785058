from __future__ import annotations

from dataclasses import replace

import pytest

from preprocessing.common.errors import SealedTestSetError
from preprocessing.store import Store
from radiotrain.data.patients import load_patients
from radiotrain.split.access_log import AccessRecord, read_access_log
from radiotrain.split.split import Split, save_split
from radiotrain.split.test_set_access import TestAccess, check_sealed, open_test_set


def test_test_patients_are_refused_without_access(store: Store, split: Split) -> None:
    with pytest.raises(SealedTestSetError, match="only 'radiotrain evaluate' opens it"):
        load_patients(store, split, [split.test_ids[0]], ["ER"], rule="plain")


def test_opening_gives_access_and_is_logged(store: Store, split: Split, tmp_path) -> None:
    url = str(tmp_path / "splits.json")
    save_split(split, url)
    assert read_access_log(url).records == ()
    made = {"a": "ER ResNet18, seed 0, fold 1, configuration 12ab"}
    access = open_test_set(url, "evaluation", ["a", "b"], made)
    open_test_set(url, "again", ["c"])
    patients = load_patients(store, split, split.test_ids, ["ER"], rule="plain", access=access)
    assert patients.ids == split.test_ids
    first, second = read_access_log(url).records
    assert (first.purpose, first.runs, second.purpose) == ("evaluation", ("a", "b"), "again")
    assert first.split_fingerprint == split.fingerprint
    assert (first.configurations, second.configurations) == (made, {})


def test_a_log_of_an_older_version_is_read(split: Split, tmp_path) -> None:
    url = str(tmp_path / "splits.json")
    save_split(split, url)
    line = '{"time": "t", "purpose": "old", "runs": ["a"], "split_fingerprint": "f"}'
    (tmp_path / "splits.json.openings.jsonl").write_text(f"{line}\n")
    open_test_set(url, "new", ["b"], {"b": "words"})
    old, new = read_access_log(url).records
    assert (old.runs, old.configurations) == (("a",), {})
    assert new.configurations == {"b": "words"}


def test_access_is_to_one_split_only(split: Split, tmp_path) -> None:
    url = str(tmp_path / "splits.json")
    save_split(split, url)
    access = open_test_set(url, "evaluation", [])
    with pytest.raises(SealedTestSetError, match="open the right one"):
        check_sealed(replace(split, seed=99), split.test_ids, access)


def test_access_cannot_be_made_by_hand(split: Split) -> None:
    with pytest.raises(SealedTestSetError):
        TestAccess(AccessRecord("now", "peek", (), split.fingerprint), object())


def test_openings_are_logged_on_an_object_store(split: Split) -> None:
    url = "memory://seal/splits.json"
    save_split(split, url)
    for purpose in ("one", "two"):
        open_test_set(url, purpose, [])
    assert [o.purpose for o in read_access_log(url).records] == ["one", "two"]
