"""Splits of a cross-validated test: who is tested when, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from preprocessing.common.errors import DamagedFileError, InputError, SchemaError
from preprocessing.store import Store
from radiotrain.split.extend import extend_split
from radiotrain.split.outer_folds import (
    check_division,
    check_outer_index,
    listed_splits,
    make_outer_splits,
    read_outer_index,
    save_outer_splits,
)
from radiotrain.split.split import load_split, make_split, save_split
from radiotrain.verify import verify
from tests.commands import call
from tests.unit.training.synthetic import write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(str(tmp_path_factory.mktemp("outer") / "store"))


@pytest.mark.parametrize(("num_parts", "num_repeats"), [(2, 1), (3, 2), (5, 1)])
def test_every_patient_is_tested_once_a_repeat(
    store: Store, num_parts: int, num_repeats: int
) -> None:
    made = make_outer_splits(store, num_parts=num_parts, num_repeats=num_repeats, num_folds=2)
    for repeat in range(1, num_repeats + 1):
        splits = [s for s in made.splits if s.outer is not None and s.outer.repeat == repeat]
        times = Counter(i for split in splits for i in split.test_ids)
        assert times == Counter(store.patient_ids)
    for split in made.splits:
        assert sorted(split.patient_ids) == sorted(store.patient_ids)
    assert check_division(made.splits) == ()
    numbers = [s.outer.number for s in made.splits if s.outer is not None]
    assert numbers == list(range(1, num_parts * num_repeats + 1))


def test_each_combination_of_labels_is_within_one_patient_in_all_parts(store: Store) -> None:
    made = make_outer_splits(store, num_parts=4, num_folds=3, seed=3)
    rows = {i: tuple(store.labels[store.index_of(i)].tolist()) for i in store.patient_ids}
    for combination in set(rows.values()):
        counts = [sum(rows[i] == combination for i in s.test_ids) for s in made.splits]
        assert max(counts) - min(counts) <= 1
        for split in made.splits:
            inner = [sum(rows[i] == combination for i in fold) for fold in split.folds]
            assert max(inner) - min(inner) <= 1


def test_the_same_seed_gives_the_same_splits_and_repeats_differ(store: Store) -> None:
    first, again, other = (
        make_outer_splits(store, num_parts=3, num_repeats=2, seed=seed, num_folds=2)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first.splits[0].test_ids != other.splits[0].test_ids
    assert {s.test_ids for s in first.splits[:3]} != {s.test_ids for s in first.splits[3:]}


def test_splits_are_read_back_and_listed(store: Store, tmp_path: Path) -> None:
    made = make_outer_splits(store, num_parts=3, num_folds=2)
    index = str(tmp_path / "outer.json")
    urls = save_outer_splits(made, index)
    assert [Path(url).name for url in urls] == [f"outer-{k}-of-3.json" for k in (1, 2, 3)]
    assert read_outer_index(index) == urls == listed_splits([index])
    assert tuple(load_split(url, store) for url in urls) == made.splits
    assert len({load_split(url).fingerprint for url in urls}) == 3
    check_outer_index(index)
    save_outer_splits(made, index)  # the same again is no other split


def test_a_split_without_outer_parts_has_the_fingerprint_and_file_that_it_had(
    store: Store, tmp_path: Path
) -> None:
    split = make_split(store, num_folds=2)
    save_split(split, str(tmp_path / "splits.json"))
    assert "outer" not in json.loads((tmp_path / "splits.json").read_text())
    outer = make_outer_splits(store, num_parts=3, num_folds=2).splits[0]
    assert replace(outer, outer=None).fingerprint != outer.fingerprint


def test_nothing_is_written_over_other_splits(store: Store, tmp_path: Path) -> None:
    index = str(tmp_path / "outer.json")
    save_outer_splits(make_outer_splits(store, num_parts=3, num_folds=2), index)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(InputError, match="holds something else than these 4 splits"):
        save_outer_splits(make_outer_splits(store, num_parts=4, num_folds=2), index)
    (tmp_path / "outer.json").unlink()
    with pytest.raises(InputError, match="holds another split"):
        save_outer_splits(make_outer_splits(store, num_parts=3, num_folds=2, seed=1), index)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} | {
        "outer.json": before["outer.json"]
    } == before


def test_the_list_is_no_split_and_a_damaged_one_is_named(store: Store, tmp_path: Path) -> None:
    index = tmp_path / "outer.json"
    urls = save_outer_splits(make_outer_splits(store, num_parts=3, num_folds=2), str(index))
    with pytest.raises(InputError, match=r"lists the splits.*name outer-1-of-3\.json"):
        load_split(str(index))
    assert read_outer_index(urls[0]) is None
    text = index.read_text()
    index.write_text(text.replace('"part": 1', '"part": 2', 1))
    with pytest.raises(DamagedFileError):
        read_outer_index(str(index))
    index.write_text(text)
    other = make_outer_splits(store, num_parts=3, num_folds=2, seed=5).splits[1]
    Path(urls[1]).unlink()
    save_split(other, urls[1])
    with pytest.raises(InputError, match="is another split than"):
        check_outer_index(str(index))
    problems = [r for r in verify(str(tmp_path), lambda url: []) if r.problems]
    assert [(r.kind, Path(r.url).name) for r in problems] == [("splits", "outer.json")]


def test_parts_that_are_missing_or_of_another_division_are_named(store: Store) -> None:
    made = make_outer_splits(store, num_parts=3, num_repeats=2, num_folds=2)
    with pytest.raises(InputError, match=r"no model was given for parts 2, 3 of repeat 2"):
        check_division(made.splits[:4])
    (note,) = check_division(made.splits[:3])
    assert "Of 2 repeats of the cross-validated test 1 were evaluated" in note
    other = make_outer_splits(store, num_parts=3, num_repeats=2, num_folds=2, seed=9)
    forged = [replace(o, outer=s.outer) for s, o in zip(made.splits, other.splits, strict=True)]
    with pytest.raises(InputError, match="are not those of the division"):
        check_division(forged)
    mixed = [*made.splits[:2], forged[2], *made.splits[3:]]
    with pytest.raises(InputError, match=r"is in [02] outer test parts of repeat 1, expected one"):
        check_division(mixed)


def test_a_part_cannot_be_extended(tmp_path: Path) -> None:
    small = write_store(str(tmp_path / "store"))
    split = make_outer_splits(small, num_parts=3, num_folds=2).splits[0]
    with pytest.raises(InputError, match="outer part 1 of 3 of a cross-validated test"):
        extend_split(split, small)


@pytest.mark.parametrize(
    "change",
    [{"part": 0}, {"part": 4}, {"repeat": 2}, {"part": True}, {"part": "1"}, {"division": 3}],
)
def test_a_part_that_cannot_be_is_a_damaged_split(
    store: Store, tmp_path: Path, change: dict[str, object]
) -> None:
    split = make_outer_splits(store, num_parts=3, num_folds=2).splits[0]
    assert split.outer is not None
    changed = replace(split, outer=replace(split.outer, **change))  # type: ignore[arg-type]
    save_split(changed, str(tmp_path / "s.json"))
    with pytest.raises(SchemaError, match="is damaged"):
        load_split(str(tmp_path / "s.json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--outer", 1], "number of outer parts is 1, expected 2 or more"),
        (["--outer", 3, "--repeats", 0], "number of repeats is 0, expected 1 or more"),
        (["--repeats", 2], "got --repeats without --outer"),
        (["--outer", 3, "--test-fraction", 0.2], "got --test-fraction with --outer"),
        (["--outer", 3, "--folds-by", "manufacturer"], "got --folds-by with --outer"),
        (["--outer", 3, "--extend", "x.json"], "got --extend with --outer"),
        (["--outer", 30], "expected 60 or more for 30 outer parts"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    store: Store, tmp_path: Path, options: list[object], message: str
) -> None:
    _, error = call("split", store.url, "--out", tmp_path / "o.json", *options, status=2)
    assert message in error
    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_splits(store: Store, tmp_path: Path) -> None:
    out, _ = call("split", store.url, "--out", tmp_path / "o.json", "--outer", 4, "--folds", 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *(f"o-{k}-of-4.json" for k in (1, 2, 3, 4)),
        "o.json",
    ]
    assert "each of 40 patients is a test patient once" in out
    assert np.sum([len(load_split(str(p)).test_ids) for p in tmp_path.glob("o-*")]) == 40
