from __future__ import annotations

import json
import pickletools
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.storage.lock_notes import is_lock
from preprocessing.store import Store
from radiotrain.export import packages, write
from radiotrain.export.load import load_export
from radiotrain.runs.promoted import read_promoted, write_promoted
from radiotrain.runs.run_folder import RunFolder
from tests.commands import attempt, call
from tests.unit.export.exporting import export, file_names

FORMATS = ("safetensors", "onnx", "bundle")


def holds_a_pickle(content: bytes) -> bool:
    try:
        for _ in pickletools.genops(content):
            pass
    except (ValueError, IndexError, UnicodeDecodeError):
        return False
    return True


@pytest.mark.parametrize("form", FORMATS)
def test_no_file_is_a_pickle(models, tmp_path, form) -> None:
    export(models["several"], form, tmp_path / "out")
    checkpoint = Path(RunFolder(models["several"]).best_weights)
    # The check sees what it is for.
    assert zipfile.is_zipfile(checkpoint)
    with zipfile.ZipFile(checkpoint) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith(".pkl"))
        assert holds_a_pickle(archive.read(pickled))
    for name in file_names(tmp_path / "out"):
        path = tmp_path / "out" / name
        assert not zipfile.is_zipfile(path), name
        assert not holds_a_pickle(path.read_bytes()), name
        assert path.stat().st_mode & 0o044, name


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(models, tmp_path) -> None:
    for form in FORMATS:
        first = export(models["ensemble"], form, tmp_path / form / "a")
        second = export(models["ensemble"], form, tmp_path / form / "b")
        assert first == second


def test_what_fails_leaves_nothing(models, tmp_path, monkeypatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "export_card", stop)
    with pytest.raises(KeyboardInterrupt):
        export(models["single"], "safetensors", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


HALF = """
import os, signal, sys
from radiotrain.export.write import new_folder
with new_folder(sys.argv[1], "model.json", lambda _: True) as folder:
    (folder / "network-0.safetensors").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_export_left_is_removed_by_the_next(models, tmp_path) -> None:
    killed = subprocess.run([sys.executable, "-c", HALF, str(tmp_path / "out")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert {path.name[:5] for path in tmp_path.iterdir()} == {".out."}
    (tmp_path / ".other.01234567.partial").mkdir()
    export(models["single"], "safetensors", tmp_path / "out")
    load_export(str(tmp_path / "out"))
    assert {path.name for path in tmp_path.iterdir()} == {"out", ".other.01234567.partial"}


def test_an_upload_that_was_killed_is_replaced_and_nothing_else(models) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/killed/er/network-7.safetensors", b"half")
    fs.pipe_file("/killed/er/docs/README.md", b"of another format")
    description = export(models["single"], "safetensors", "memory://killed/er")
    found = {path.removeprefix("/killed/er/") for path in fs.find("/killed/er")}
    assert found == {*description.files, "model.json"}
    fs.rm_file("/killed/er/model.json")
    fs.pipe_file("/killed/er/notes.txt", b"the user's")
    with pytest.raises(InputError, match="is not empty"):
        export(models["single"], "safetensors", "memory://killed/er")
    fs.rm("/killed", recursive=True)


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_knows_the_names_of_its_files(models, tmp_path, form) -> None:
    for model in ("single", "ensemble"):
        export(models[model], form, tmp_path / model)
        assert all(map(write.is_ours, file_names(tmp_path / model)))


def test_an_object_store_gets_model_json_last(models, monkeypatch) -> None:
    url = "memory://bucket/er"
    fs = fsspec.filesystem("memory")
    put: list[str] = []
    pipe = type(fs).pipe_file
    monkeypatch.setattr(
        type(fs),
        "pipe_file",
        lambda self, path, *a, **k: (
            put.append(path.rsplit("/", 1)[-1]),
            pipe(self, path, *a, **k),
        )[1],
    )
    export(models["single"], "bundle", url)
    put = [name for name in put if not is_lock(name)]
    assert put[-1] == "model.json"
    assert sorted(put) == sorted({*put})
    with pytest.raises(InputError, match="is not empty"):
        export(models["single"], "bundle", url)
    fs.rm("/bucket", recursive=True)


def test_an_interrupted_upload_leaves_nothing(models, monkeypatch) -> None:
    fs = fsspec.filesystem("memory")
    pipe = type(fs).pipe_file

    def fail(self: object, path: str, *more: object, **named: object) -> object:
        if path.endswith("network-0.safetensors"):
            raise KeyboardInterrupt
        return pipe(self, path, *more, **named)

    monkeypatch.setattr(type(fs), "pipe_file", fail)
    with pytest.raises(KeyboardInterrupt):
        export(models["single"], "safetensors", "memory://other/er")
    assert fs.find("/other") == []


def test_an_export_is_read_from_an_object_store(models) -> None:
    export(models["single"], "safetensors", "memory://third/er")
    assert load_export("memory://third/er").description.name == "single"
    fsspec.filesystem("memory").rm("/third", recursive=True)


def test_without_its_packages_a_format_says_what_to_install(models, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    for form, words in (
        ("onnx", "packages onnx, onnxruntime, onnxscript, which are not installed"),
        ("bundle", "package safetensors, which is not installed"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            export(models["single"], form, tmp_path / "out")
        assert "pip install 'radiotrain[export]'" in str(caught.value)


@pytest.mark.parametrize("status", ["running", "paused", "failed"])
def test_a_run_that_is_not_finished_is_refused(models, tmp_path, status) -> None:
    shutil.copytree(models["single"], tmp_path / "run")
    folder = RunFolder(str(tmp_path / "run"))
    folder.write_record(replace(folder.read_record(), status=status))
    with pytest.raises(InputError, match=f"is {status}, expected a finished one"):
        export(folder.url, "safetensors", tmp_path / "out")


def test_a_model_that_is_not_finished_is_refused(models, tmp_path) -> None:
    shutil.copytree(models["ensemble"], tmp_path / "model")
    write_promoted(
        str(tmp_path / "model"), replace(read_promoted(models["ensemble"]), status="running")
    )
    with pytest.raises(InputError, match="run 'radiotrain promote' again"):
        export(str(tmp_path / "model"), "safetensors", tmp_path / "out")


def test_weights_that_are_gone_are_refused(models, tmp_path) -> None:
    shutil.copytree(models["single"], tmp_path / "run")
    (tmp_path / "run/checkpoints/best.pt").unlink()
    with pytest.raises(MissingPathError, match="no weights at"):
        export(str(tmp_path / "run"), "safetensors", tmp_path / "out")


def test_the_command_exports_one_run_or_several(models, tmp_path) -> None:
    single, ensemble = models["single"], models["ensemble"]
    said, _ = call("export", single, "--format", "safetensors", "--out", tmp_path / "one")
    assert said == f"{tmp_path / 'one'}: ResNet10-narrow for ER, 3 files\n"
    call("export", single, ensemble, "--format", "safetensors", "--out", tmp_path / "two")
    for name in ("single", "ensemble"):
        assert json.loads((tmp_path / "two" / name / "model.json").read_text())["name"] == name


def test_of_several_runs_each_patient_is_read_once(models, tmp_path, monkeypatch) -> None:
    """And each folder is what it is alone."""
    read: Counter[int] = Counter()
    read_images = Store.read_images

    def counted(store: Store, index: int) -> tuple[NDArray[np.int16], float]:
        read[index] += 1
        return read_images(store, index)

    monkeypatch.setattr(Store, "read_images", counted)
    kinds = ("single", "several", "ensemble")
    runs = [models[kind] for kind in kinds]
    call("export", *runs, "--format", "safetensors", "--out", tmp_path / "all")
    assert set(read.values()) == {1}
    for kind in kinds:
        export(models[kind], "safetensors", tmp_path / kind)
        for name in file_names(tmp_path / kind):
            alone = (tmp_path / kind / name).read_bytes()
            assert (tmp_path / "all" / kind / name).read_bytes() == alone, name
    assert set(read.values()) != {1}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{tmp}"], "no run at {tmp}: make one with 'radiotrain train'"),
        (["{single}", "{tmp}/none"], "no run at {tmp}/none"),
        (["{single}", "{single}"], "two runs are both named 'single'"),
        (["{single}", "--out", "{tmp}/full"], "{tmp}/full is not empty"),
        (["{single}", "--out", "{tmp}/full/file"], "{tmp}/full/file is a file"),
        (["{single}", "--store", "{tmp}/none"], "no store at {tmp}/none"),
        (["{single}", "--format", "pickle"], "'pickle' is not one of"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(models, tmp_path, words, sentence) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("kept")
    places = {"tmp": str(tmp_path), "single": models["single"]}
    typed = [word.format(**places) for word in words]
    typed += [] if "--out" in typed else ["--out", str(tmp_path / "out")]
    typed += [] if "--format" in typed else ["--format", "safetensors"]
    done = attempt("export", *typed)
    assert done.status == 2
    assert sentence.format(**places) in done.error
    assert "Traceback" not in done.error
    assert file_names(tmp_path) == {"full/file"}


def test_help_has_an_example() -> None:
    said, _ = call("export", "--help")
    assert "radiotrain export sweep/promoted/ER --format onnx --out er-onnx" in " ".join(
        said.split()
    )
