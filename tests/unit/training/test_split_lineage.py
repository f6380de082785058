"""How often each part of a test set was opened, under whichever split of a lineage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from preprocessing.common.errors import SealedTestSetError
from preprocessing.store import Store
from radiotrain.data.patients import load_patients
from radiotrain.split.extend import extend_split, find_lineage
from radiotrain.split.split import Split, load_split, make_split, save_split
from radiotrain.split.test_set_access import (
    count_accesses,
    open_test_set,
    read_test_log,
    save_extension,
)
from tests.growing import names, write_cohort


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store, Store]:
    """Thirty, forty-five and sixty patients."""
    folder = tmp_path_factory.mktemp("stores")
    return tuple(write_cohort(str(folder / str(n)), names(0, n)) for n in (30, 45, 60))


def _write(stores: tuple[Store, Store, Store], folder: str) -> tuple[list[str], list[Split]]:
    """Write a split, and two that extend one another."""
    urls = [f"{folder}/{name}.json" for name in "abc"]
    splits = [make_split(stores[0], seed=1, num_folds=3)]
    save_split(splits[0], urls[0])
    for k in (1, 2):
        made = extend_split(load_split(urls[k - 1], stores[k]), stores[k])
        splits.append(save_extension(made, urls[k], urls[k - 1]))
    return urls, splits


def _counts(url: str) -> list[int]:
    return [p.num_openings for p in count_accesses(load_split(url), read_test_log(url).records)]


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_each_part_is_counted_under_whichever_split_it_was_opened(
    stores: tuple[Store, Store, Store], tmp_path: Path, place: str
) -> None:
    folder = str(tmp_path) if place == "folder" else f"memory://{tmp_path.name}"
    urls, splits = _write(stores, folder)
    assert [s.extends for s in splits] == ["", "a.json", "b.json"]
    assert list(find_lineage(urls[2]).urls) == [urls[2], urls[1], urls[0]]
    open_test_set(urls[0], "of a", [])
    open_test_set(urls[2], "of c", [])
    open_test_set(urls[1], "of b", [])
    # A run of a, tested on the parts of b.
    open_test_set(urls[1], "of a in b", [], split=splits[1].for_runs_of(splits[0].fingerprint))
    assert _counts(urls[2]) == [4, 3, 1]
    # The logs of those that were extended know of all, too.
    assert _counts(urls[0]) == [4]
    assert _counts(urls[1]) == [4, 3]


def test_what_was_opened_before_an_extension_is_copied(
    stores: tuple[Store, Store, Store], tmp_path: Path
) -> None:
    a, b = str(tmp_path / "a.json"), str(tmp_path / "elsewhere" / "b.json")
    (tmp_path / "elsewhere").mkdir()
    save_split(make_split(stores[0], seed=1, num_folds=3), a)
    open_test_set(a, "before", [])
    save_extension(extend_split(load_split(a, stores[1]), stores[1]), b, a)
    assert load_split(b).extends == a
    assert _counts(b) == [1, 0]
    for path in tmp_path.glob("a.json*"):
        if path.is_file():
            path.unlink()
    assert find_lineage(b).missing == a
    assert _counts(b) == [1, 0]


def test_access_to_the_old_split_does_not_open_what_was_added(
    stores: tuple[Store, Store, Store], tmp_path: Path
) -> None:
    urls, splits = _write(stores, str(tmp_path))
    added = splits[1].test_parts[1]
    with pytest.raises(SealedTestSetError, match="only 'radiotrain evaluate' opens it"):
        load_patients(stores[1], splits[1], added, ["ER"], rule="plain")
    access = open_test_set(urls[0], "of a", [])
    with pytest.raises(SealedTestSetError, match="open the right one"):
        load_patients(stores[1], splits[1], added, ["ER"], rule="plain", access=access)
    of_runs = splits[1].for_runs_of(splits[0].fingerprint)
    access = open_test_set(urls[1], "of a in b", [], split=of_runs)
    assert (
        load_patients(stores[1], of_runs, added, ["ER"], rule="plain", access=access).ids == added
    )


def test_a_split_of_another_lineage_opens_nothing(
    stores: tuple[Store, Store, Store], tmp_path: Path
) -> None:
    urls, splits = _write(stores, str(tmp_path))
    strange = replace(splits[1], seed=9)
    with pytest.raises(SealedTestSetError, match="open its own"):
        open_test_set(urls[1], "strange", [], split=strange)


def test_runs_of_an_old_split_keep_its_folds_and_get_all_test_patients(
    stores: tuple[Store, Store, Store], tmp_path: Path
) -> None:
    _, (a, b, c) = _write(stores, str(tmp_path))
    for old in (a, b):
        split = c.for_runs_of(old.fingerprint)
        assert (split.folds, split.test_ids) == (old.folds, c.test_ids)
        assert not {*split.test_ids} & {*old.development_ids}
        assert split.is_of_run(old.fingerprint, old.patients_fingerprint)
        assert not split.is_of_run(c.fingerprint, c.patients_fingerprint)
    assert not c.is_of_run(a.fingerprint, a.patients_fingerprint)
    assert not b.for_runs_of(a.fingerprint).is_of_run(a.fingerprint, "another")
    assert c.for_runs_of("unknown") is c
