"""Runs whose store gets more patients: nothing about them changes, and new ones can be tested, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from preprocessing.store import Store
from radiotrain.config.run_config import dump_config
from radiotrain.split.split import Split, load_split
from radiotrain.split.test_set_access import read_test_log
from radiotrain.training.loop import train
from tests.commands import call, the_sentence
from tests.growing import names, write_cohort
from tests.unit.training.synthetic import run_config
from tests.unit.training.test_loop import newest_weights

pytestmark = pytest.mark.slow

CROP = (24, 24, 12)
EVALUATE = ("--no-baselines", "--saliency", 0, "--resamples", 100)


@dataclass(frozen=True)
class Grown:
    """A folder with a run of the first forty patients, whose store has fifty-five now."""

    folder: Path
    before: dict[str, bytes]

    @property
    def store(self) -> Store:
        return Store.open(str(self.folder / "store"))

    def split(self, name: str = "splits.json") -> Split:
        return load_split(str(self.folder / name), self.store)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    folder = tmp_path_factory.mktemp("grown")
    store = write_cohort(str(folder / "store"), names(0, 40), crop_shape=CROP)
    call("split", folder / "store", "--out", folder / "splits.json", "--seed", 3, "--folds", 4)
    split_url = str(folder / "splits.json")
    for name, epochs in (("run", None), ("paused", 2), ("undisturbed", None)):
        config = run_config(store, split_url, folder / name)
        (folder / f"{name}.yaml").write_text(dump_config(config))
        train(config, reporter=lambda _: None, until_epoch=epochs)
    call("evaluate", folder / "run", "--out", folder / "report", "--purpose", "first", *EVALUATE)
    call("export", folder / "run", "--format", "safetensors", "--out", folder / "exported")
    before = {p.name: p.read_bytes() for p in (folder / "run").iterdir() if p.is_file()}
    write_cohort(str(folder / "store"), names(0, 55), crop_shape=CROP)
    return Grown(folder, before)


@pytest.fixture(scope="module")
def extended(grown: Grown) -> Grown:
    """The same with an extended split."""
    out, _ = call(
        "split", grown.folder / "store", "--extend", grown.folder / "splits.json",
        "--out", grown.folder / "splits-2.json",
    )  # fmt: skip
    assert "added 15 patient(s), 3 of them to the test set and 12 to the folds" in out
    assert "the other 40 are where they were" in out
    num = len(read_test_log(str(grown.folder / "splits.json")).records)
    assert f"test set, part 1: 8 patients, opened {num} time" in out
    assert "test set, part 2: 3 patients, opened 0 times so far" in out
    return grown


def _table(report: Path) -> pd.DataFrame:
    return pd.read_parquet(report / "predictions.parquet")


def _metrics(report: Path) -> dict:
    return json.loads((report / "metrics.json").read_text("utf-8"))


def test_a_finished_run_is_found_finished(grown: Grown) -> None:
    out, _ = call("train", "--config", grown.folder / "run.yaml")
    assert "finished: epoch" in out
    run = grown.folder / "run"
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == grown.before


def test_a_run_goes_on_and_ends_with_the_same_bits(grown: Grown) -> None:
    out, err = call("train", "--config", grown.folder / "paused.yaml")
    assert "note: 15 patients are in store" in out + err
    ours, theirs = (newest_weights(str(grown.folder / n)) for n in ("paused", "undisturbed"))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_evaluation_gives_the_same_numbers_and_a_note(grown: Grown, tmp_path: Path) -> None:
    out, _ = call("evaluate", grown.folder / "run", "--out", tmp_path / "again", *EVALUATE)
    assert "note: 15 patients are in store" in " ".join(out.split())
    pd.testing.assert_frame_equal(_table(tmp_path / "again"), _table(grown.folder / "report"))
    before, after = _metrics(grown.folder / "report"), _metrics(tmp_path / "again")
    assert after["runs"] == before["runs"]
    assert after["flow"]["excluded"] == [["not_in_split", 15]]
    page = (tmp_path / "again" / "report.html").read_text("utf-8")
    assert "patients were included, but" not in page
    assert after["provenance"]["store"] == before["provenance"]["store"]


def test_an_export_is_the_same_byte_for_byte(grown: Grown, tmp_path: Path) -> None:
    _, err = call(
        "export", grown.folder / "run", "--format", "safetensors", "--out", tmp_path / "exported"
    )
    assert "note: 15 patients are in store" in err
    before = {p.name: p.read_bytes() for p in (grown.folder / "exported").rglob("*") if p.is_file()}
    after = {p.name: p.read_bytes() for p in (tmp_path / "exported").rglob("*") if p.is_file()}
    assert after == before


def test_runs_of_the_old_split_are_tested_on_the_new_patients_too(
    extended: Grown, tmp_path: Path
) -> None:
    folder = extended.folder
    out, _ = call(
        "evaluate", folder / "run", "--split", folder / "splits-2.json", "--out", tmp_path / "r",
        "--purpose", "new ones", *EVALUATE,
    )  # fmt: skip
    assert "trained before split" in " ".join(out.split())
    old, new = extended.split(), extended.split("splits-2.json")
    ours, before = _table(tmp_path / "r"), _table(folder / "report")
    tested = ours[ours["split"] == "test"]
    assert set(tested["patient_id"]) == {*new.test_ids}
    assert {*new.test_ids} - {*old.test_ids} <= {*names(40, 55)}
    # The others have the same probabilities; those that validate are the same.
    both = before.merge(ours, on=["patient_id", "target", "split"], suffixes=("", "_now"))
    assert len(both) == len(before)
    assert (both["probability"] - both["probability_now"]).abs().max() < 1e-6
    assert set(ours[ours["split"] == "validation"]["patient_id"]) == set(old.folds[0])
    metrics = _metrics(tmp_path / "r")
    first, second = metrics["test_parts"]
    assert first["num_patients"] == len(old.test_ids)
    assert second["num_patients"] == len(new.test_ids) - len(old.test_ids)
    assert second["num_openings"] == 1
    assert first["num_openings"] == len(metrics["openings"]) >= 2
    assert metrics["flow"]["num_train"] == len(old.train_ids(0))
    page = (tmp_path / "r" / "report.html").read_text("utf-8")
    assert "part 2 with 3 patients, 1 access." in page
    # The log of the split that was extended knows of it, too.
    assert [o.purpose for o in read_test_log(str(folder / "splits.json")).records][-1] == "new ones"
    assert metrics["openings"][0]["purpose"] == "first"


def test_a_run_of_the_extended_split_is_tested_on_all_parts(
    extended: Grown, tmp_path: Path
) -> None:
    folder, store = extended.folder, extended.store
    train(
        run_config(store, str(folder / "splits-2.json"), tmp_path / "two"), reporter=lambda _: None
    )
    call("evaluate", tmp_path / "two", "--out", tmp_path / "r", *EVALUATE)
    tested = _table(tmp_path / "r").query("split == 'test'")
    assert set(tested["patient_id"]) == {*extended.split("splits-2.json").test_ids}
    _, err = call(
        "evaluate", tmp_path / "two", folder / "run", "--split", folder / "splits-2.json", "--out",
        tmp_path / "no", *EVALUATE, status=2,
    )  # fmt: skip
    assert "were trained on different splits, expected one" in the_sentence(err)
    # Of the other split's run, a test patient is in training: no way to test it there.
    _, err = call(
        "evaluate", tmp_path / "two", "--split", folder / "splits.json", "--out", tmp_path / "no",
        *EVALUATE, status=2,
    )  # fmt: skip
    assert "two was trained on split" in the_sentence(err)


@pytest.fixture
def replaced(extended: Grown) -> Iterator[Path]:
    """The folder while the extended split has the place of the one that the run was trained with."""
    folder = extended.folder
    (folder / "splits.json").rename(folder / "kept.json")
    shutil.copy(folder / "splits-2.json", folder / "splits.json")
    yield folder
    (folder / "kept.json").replace(folder / "splits.json")


def test_only_a_test_goes_without_the_split_that_was_extended(
    replaced: Path, tmp_path: Path
) -> None:
    _, err = call("train", "--config", replaced / "run.yaml", status=2)
    assert f"holds a run of a split that {replaced / 'splits.json'} extends" in the_sentence(err)
    _, err = call(
        "export", replaced / "run", "--format", "safetensors", "--out", tmp_path / "no", status=2
    )
    assert "extends: name the split that was extended" in the_sentence(err)
    out, _ = call("evaluate", replaced / "run", "--out", tmp_path / "r", *EVALUATE)
    tested = _table(tmp_path / "r").query("split == 'test'")
    assert len(set(tested["patient_id"])) == 11
    # The file that it extends holds another split now: itself.
    assert "which is not there or holds another one" in " ".join(out.split())


def test_options_that_would_move_patients_are_refused_with_extend(grown: Grown) -> None:
    extend = ("--extend", grown.folder / "splits.json", "--out", grown.folder / "no.json")
    _, err = call("split", grown.folder / "store", *extend, "--seed", 3, "--folds", 4, status=2)
    assert "got --seed and --folds with --extend" in the_sentence(err)
    assert not (grown.folder / "no.json").exists()


def test_extending_onto_itself_and_without_new_patients_is_refused(extended: Grown) -> None:
    folder = extended.folder
    before = (folder / "splits.json").read_bytes()
    here = ("split", folder / "store", "--extend", folder / "splits.json", "--out")
    _, err = call(*here, folder / "splits.json", status=2)
    assert "holds another split" in the_sentence(err)
    assert (folder / "splits.json").read_bytes() == before
    call(*here, folder / "splits-2.json")  # once more: the same
    none = ("split", folder / "store", "--extend", folder / "splits-2.json", "--out")
    _, err = call(*none, folder / "splits-3.json", status=2)
    assert "no usable patient that split" in the_sentence(err)


def test_the_log_of_a_split_that_is_gone_is_kept_and_its_end_is_noted(
    extended: Grown, tmp_path: Path
) -> None:
    folder = extended.folder
    shutil.copy(folder / "splits.json", tmp_path / "splits.json")
    shutil.copytree(folder / "splits.json.openings", tmp_path / "splits.json.openings")
    call(
        "split",
        folder / "store",
        "--extend",
        tmp_path / "splits.json",
        "--out",
        tmp_path / "2.json",
    )
    num = len(read_test_log(str(tmp_path / "2.json")).records)
    assert num == len(read_test_log(str(tmp_path / "splits.json")).records) >= 1
    (tmp_path / "splits.json").unlink()
    shutil.rmtree(tmp_path / "splits.json.openings")
    assert len(read_test_log(str(tmp_path / "2.json")).records) == num
    out, _ = call(
        "evaluate",
        folder / "run",
        "--split",
        tmp_path / "2.json",
        "--out",
        tmp_path / "r",
        *EVALUATE,
    )
    assert "which is not there or holds another one" in " ".join(out.split())
