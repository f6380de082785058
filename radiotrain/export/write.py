"""Write an export folder, whole or not at all."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from preprocessing.common.errors import InputError, StorageFullError, is_disk_full
from preprocessing.storage import durable, files
from preprocessing.storage.folder_lock import exclusive_beside
from preprocessing.storage.lock_notes import is_lock
from radiotrain.evaluation.model import Model, open_models
from radiotrain.export.card import export_card, how_to_run
from radiotrain.export.describe import (
    TrainedModel,
    VoxelMeasures,
    describe_model,
    load_model,
    training_ids,
)
from radiotrain.export.description import (
    FILE_NAME,
    Format,
    ModelDescription,
    dump_description,
)
from radiotrain.export.packages import check_packages
from radiotrain.export.to_bundle import check_bundle, write_bundle
from radiotrain.export.to_onnx import write_onnx
from radiotrain.export.weights import write_weights
from radiotrain.runs.locations import open_inputs
from radiotrain.split.split import notes_on

# Tells whether a path in a folder is of a file that is written there.
IsOurs = Callable[[str], bool]


def check_new(url: str, last: str, is_ours: IsOurs) -> None:
    """Refuse a place that holds something else than an upload that was not finished.

    Parameters
    ----------
    last
        Name of the file that an object store gets last.

    Raises
    ------
    InputError
        If it is a file, or a folder that is not empty.
    """
    url = files.absolute(url)
    if files.is_local(url) and Path(url).is_file():
        raise InputError(f"{url} is a file, expected a new folder: name another --out")
    names = [name for name in files.list_names(url) if not is_lock(name)]
    if not names:
        return
    is_unfinished = not files.is_local(url) and last not in names
    if not (is_unfinished and all(map(is_ours, _paths_below(url)))):
        raise InputError(f"{url} is not empty, expected a new folder: name another --out")


@contextmanager
def new_folder(url: str, last: str, is_ours: IsOurs) -> Iterator[Path]:
    """Give a local folder to fill, which is at `url` when the block has ended, and nowhere if it fails.

    What a writer left behind that was killed is removed.

    Parameters
    ----------
    last
        Name of the file that an object store gets last: a folder without it is not whole.

    Raises
    ------
    InputError
        If the place holds something else, or another process is writing to it.
    StorageFullError
        If the disk is full.
    """
    url = files.absolute(url)
    with exclusive_beside(url, "export"):
        check_new(url, last, is_ours)
        try:
            with _beside(Path(url)) if files.is_local(url) else _uploaded(url, last) as folder:
                yield folder
        except OSError as error:
            if is_disk_full(error) and not isinstance(error, StorageFullError):
                raise StorageFullError(
                    f"disk full while writing {url}: free some space and run the same command again"
                ) from error
            raise


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    durable.make_folder(target.parent)
    # Its lock is held: no other writer lives.
    left = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}{re.escape(files.PARTIAL)}")
    for path in target.parent.iterdir():
        if left.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path)
    temporary = durable.partial_name(target)
    temporary.mkdir()
    try:
        yield temporary
        durable.move_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _uploaded(url: str, last: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="radiotrain-export-") as text:
        folder = Path(text)
        yield folder
        names = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
        for path in _paths_below(url):
            files.remove(files.join(url, path))
        done: list[str] = []
        try:
            for name in sorted(names, key=lambda name: (name == last, name)):
                done.append(files.join(url, name))
                files.write_bytes(done[-1], (folder / name).read_bytes())
        except BaseException:
            for place in done:
                files.remove(place)
            raise


def _paths_below(url: str) -> list[str]:
    fs, path = files.filesystem(url)
    fs.invalidate_cache()
    found = (str(name)[len(path) :].lstrip("/") for name in fs.find(path))
    # Some servers keep an empty object for a folder.
    return [name for name in found if name and not is_lock(name)]


Writer = Callable[[TrainedModel, ModelDescription, Path], ModelDescription]

_WRITERS: dict[Format, Writer] = {
    "bundle": write_bundle,
    "safetensors": write_weights,
    "onnx": write_onnx,
}
# Where MONAI's specification wants it, and beside model.json otherwise.
_CARDS: dict[Format, str] = {
    "bundle": "docs/README.md",
    "safetensors": "model-card.md",
    "onnx": "model-card.md",
}

# What may be there of an upload that was not finished.
_OURS = re.compile(
    r"model\.json|model\.onnx(?:\.data)?|model-card\.md|(?:models/)?network-\d+\.safetensors"
    r"|docs/README\.md|configs/(?:metadata|inference)\.json|scripts/(?:evaluator|mean|intensities)\.py"
)


class Exporter:
    """One model, its store and its split, opened and checked before anything is written.

    Parameters
    ----------
    url
        Run folder, or folder of a promoted model.
    store_url
        Where the store is now; None: where the run found it.
    split_url
        Where the split is now; None: where the run found it.
    measures
        Shared by exporters of several models, whose training patients are then read once.

    Raises
    ------
    InputError
        If the run is not finished, or belongs to another store or split; if `out` holds something;
        if the format cannot hold it, or its packages are not installed.
    """

    def __init__(
        self,
        url: str,
        form: Format,
        out: str,
        store_url: str | None = None,
        measures: VoxelMeasures | None = None,
        split_url: str | None = None,
    ) -> None:
        check_packages(form)
        check_new(out, FILE_NAME, is_ours)
        (self._model,) = open_models([url], [split_url] if split_url else [])
        config = self._model.config
        self._store, self._split = open_inputs(store_url or config.store, config.split)
        self._trained = load_model(self._model, self._store, self._split)
        if form == "bundle":
            check_bundle(self._trained)
        self._form: Format = form
        self._measures = measures or VoxelMeasures()
        self.out = out

    @property
    def model(self) -> Model:
        """What is exported."""
        return self._model

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on patients of the store that no network could be trained on."""
        return notes_on(self._split, self._store, self._model.config.split)

    @property
    def num_steps(self) -> int:
        """How often `write` calls `advance`."""
        return len(training_ids(self._model, self._split)) + 1

    def write(self, advance: Callable[[], None]) -> ModelDescription:
        """Write the folder; return what its ``model.json`` says."""
        trained, form = self._trained, self._form
        with new_folder(self.out, FILE_NAME, is_ours) as folder:
            found = describe_model(trained, self._store, self._split, form, self._measures, advance)
            found = _WRITERS[form](trained, found, folder)
            advance()
            card = folder / _CARDS[form]
            card.parent.mkdir(exist_ok=True)
            text = export_card(self._model, self._store, self._split, found, how_to_run(found))
            card.write_text(text, "utf-8")
            found = found.model_copy(update={"files": _digests(folder)})
            (folder / FILE_NAME).write_text(dump_description(found), "utf-8")
        return ModelDescription.model_validate_json(found.model_dump_json())


def is_ours(path: str) -> bool:
    """Tell whether a path in an export's folder is of a file that some format writes there."""
    return _OURS.fullmatch(path) is not None


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files, by their paths in the folder."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = digest
    return found
