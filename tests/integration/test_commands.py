"""What a person meets at the command line: mistakes, interruptions, empty folders."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import openpyxl
import pytest
import yaml

from tests.commands import attempt, call, every_command, name_of
from tests.unit.training.synthetic import write_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small phantom cohort, a store of another kind, a split of it."""
    folder = tmp_path_factory.mktemp("commands")
    call("phantom", folder / "cohort", "--patients", 8, "--matrix", 64, "--slices", 24)
    write_store(str(folder / "store"))
    call("split", folder / "store", "--out", folder / "splits.json")
    return folder


def mistake(*words):
    """Run a command that must fail; return its one sentence."""
    return attempt(*words).sentence


def run_yaml(folder, **changes):
    values = {
        "store": str(folder / "store"),
        "split": str(folder / "splits.json"),
        "out": str(folder / "run"),
        "targets": ["ER"],
        "network": {"name": "ResNet10-narrow"},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("cohort", "check", "nowhere"),
        ("preprocess", "nowhere", "store"),
        ("split", "nowhere"),
        ("train", "--config", "nowhere.yaml"),
        ("tune", "--config", "nowhere.yaml"),
        ("evaluate", "nowhere", "--out", "report"),
        ("evaluate", "--predictions", "nowhere.csv", "--out", "report"),
    ],
)
def test_missing_input_is_one_sentence_and_status_2(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    assert "nowhere" in mistake(*words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "command"),
    list(every_command().items()),
    ids=lambda value: " ".join(value) if type(value) is tuple else "",
)
def test_every_help_has_an_example_that_would_be_taken(path, command):
    out, _ = call(*path, "--help")
    assert "Example: " in out
    examples = re.findall(r"Example: `(.+?)`", f"{command.help}\n{command.epilog}", re.DOTALL)
    assert examples
    for example in examples:
        words = shlex.split(example[example.index("radiotrain ") :].rstrip("'"))
        assert tuple(words[1 : 1 + len(path)]) == path
        # Neither an option that is not there, nor a missing argument.
        named = name_of(words[1:])
        every_command()[named].make_context("radiotrain", words[1 + len(named) :]).close()


def test_an_object_store_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("RADIOTRAIN_STORAGE_PATIENCE_S", "0")
    sentence = mistake("train", "--config", "s3://bucket/run.yaml")
    assert "the object store did not answer" in sentence
    assert "127.0.0.1:9" in sentence


def test_empty_folder_is_no_cohort(tmp_path):
    assert "is not a recognised cohort" in mistake("cohort", "check", tmp_path)


def test_unknown_key_names_the_nearest(folder):
    path = run_yaml(folder, train={"learning_rat": 1e-3})
    assert "unknown key 'train.learning_rat'" in mistake("train", "--config", path)
    path = run_yaml(folder, train={"epoch": 3})
    assert "did you mean 'train.epochs'?" in mistake("train", "--config", path)


def test_unknown_network_names_the_nearest(folder):
    path = run_yaml(folder, network={"name": "SEResNet5"})
    assert "did you mean 'SEResNet50'?" in mistake("train", "--config", path)


def test_store_of_another_schema_is_refused(folder, tmp_path):
    shutil.copytree(folder / "store", tmp_path / "old")
    meta = tmp_path / "old" / "zarr.json"
    values = json.loads(meta.read_text())
    # As a version wrote it that had no checksums.
    values["attributes"]["schema_version"] = 2
    del values["attributes"]["sha256"]
    meta.write_text(json.dumps(values))
    path = run_yaml(folder, store=str(tmp_path / "old"))
    assert "has schema 2, expected 3" in mistake("train", "--config", path)


def test_workbook_without_er_is_refused(folder, tmp_path):
    shutil.copytree(folder / "cohort", tmp_path / "cohort", symlinks=True)
    path = tmp_path / "cohort" / "Clinical_and_Other_Features.xlsx"
    book = openpyxl.load_workbook(path)
    cell = next(c for row in book["Data"].iter_rows(max_row=3) for c in row if c.value == "ER")
    cell.value = "E.R."
    book.save(path)
    assert "no column 'ER'" in mistake("cohort", "check", tmp_path / "cohort")
    assert "no column 'ER'" in mistake("preprocess", tmp_path / "cohort", tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--bias-engine", "best", "settings: bias_engine is 'best'"),
        ("--shrink", "0", "settings: shrink is 0"),
        ("--shrink", "9", "settings: shrink is 9"),
    ],
)
def test_bad_options_of_preprocess_name_the_option(folder, tmp_path, option, value, words):
    out = tmp_path / "s"
    assert words in mistake("preprocess", folder / "cohort", out, option, value)
    assert not out.exists()


def test_a_folder_with_other_things_in_it_is_left_alone(folder, tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    assert "is no store" in mistake("preprocess", folder / "cohort", tmp_path)
    assert "holds no phantom" in mistake("phantom", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "words",
    [
        ("cohort", "check", "cohort", "--json", "file/check.json"),
        ("split", "store", "--out", "file/splits.json"),
        ("init", "run", "store", "--out", "file/run.yaml", "--network", "ResNet10-narrow"),
        ("doctor", "--no-ray", "--json", "file/found.json"),
    ],
)
def test_a_file_in_the_way_of_what_is_to_be_written(folder, monkeypatch, words):
    monkeypatch.chdir(folder)
    (folder / "file").write_text("in the way")
    sentence = mistake(*words)
    assert "cannot be used (" in sentence
    assert "file" in sentence
    assert (folder / "file").read_text() == "in the way"
