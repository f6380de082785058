"""Verify results on disk.

A folder is taken for what its files' names say, and its subfolders are looked into as well. Each
problem is the sentence with which the commands that read the file refuse it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from preprocessing.common.errors import (
    DamagedFileError,
    InputError,
    MissingPathError,
    RadiotrainError,
)
from preprocessing.storage import files
from preprocessing.storage.digests import has_text_digest
from preprocessing.store.verify import check_metadata, check_voxels
from radiotrain.evaluation.compare.compare_results import SCHEMA_VERSION as COMPARISON_SCHEMA
from radiotrain.evaluation.compare.report_folder import read_report
from radiotrain.evaluation.model import open_model
from radiotrain.export.description import read_description
from radiotrain.inference.prediction import SCHEMA_VERSION as PREDICTION_SCHEMA
from radiotrain.runs.checked_files import check_parquet, read_json
from radiotrain.runs.checkpoint import damaged_checkpoints, read_weights
from radiotrain.runs.predict_run import check_best
from radiotrain.runs.promoted import read_promoted
from radiotrain.runs.provenance import keeps_inputs, read_inputs
from radiotrain.runs.run_folder import REMEDY, PredictedBy, RunFolder, RunRecord
from radiotrain.split.outer_folds import check_outer_index
from radiotrain.split.split import OUTER_KEY, load_split

Check = Callable[[str], list[str]]

# Nothing of ours that decides lies in these.
_NOT_ENTERED = {"checkpoints", "tensorboard", "ray", "plots", "mlruns"}
# What tells a split, whatever its name is.
_OF_SPLITS = (b'"test_ids"', b'"test_fraction"', b'"folds_by"')


@dataclass(frozen=True)
class Result:
    """One result that was checked.

    Parameters
    ----------
    kind
        Store, run, sweep, model, export, split, splits (a file that lists some), report, comparison or
        prediction.
    problems
        A sentence each; none where it is whole.
    """

    kind: str
    url: str
    problems: tuple[str, ...]


def verify(url: str, check_sweep: Check) -> Iterator[Result]:
    """Check a result, or all results in a folder.

    Parameters
    ----------
    url
        Of a folder or a file.
    check_sweep
        Returns what is wrong with the files of a sweep's own, in its folder.

    Raises
    ------
    MissingPathError
        If there is nothing at `url`.
    """
    url = files.absolute(url)
    folders, names = _list(url)
    if not folders and not names:
        if not files.exists(url):
            raise MissingPathError(f"there is nothing at {url}: name a folder or a file")
        parent, _, name = url.rpartition("/")
        yield from _of_file(url, name) or _of_folder(parent, {name}, check_sweep)
        return
    yield from _below(url, folders, names, check_sweep)


def _below(
    url: str, folders: Collection[str], names: Collection[str], check_sweep: Check
) -> Iterator[Result]:
    found = list(_of_folder(url, names, check_sweep))
    yield from found
    if any(result.kind == "store" for result in found):
        return
    for name in folders:
        if not name.startswith(".") and name not in _NOT_ENTERED:
            below = files.join(url, name)
            yield from _below(below, *_list(below), check_sweep)


def _list(url: str) -> tuple[list[str], list[str]]:
    """Return the names of a folder's folders and of its files."""
    fs, path = files.filesystem(url)
    fs.invalidate_cache()
    try:
        entries = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    found: dict[str, list[str]] = {"directory": [], "file": []}
    for entry in entries:
        place = str(entry["name"]).rstrip("/")
        # What is listed of a file is the file itself.
        if place != path.rstrip("/"):
            found.setdefault(entry["type"], []).append(place.rpartition("/")[2])
    return sorted(found["directory"]), sorted(found["file"])


def _of_folder(url: str, names: Collection[str], check_sweep: Check) -> Iterator[Result]:
    """Check what a folder's files are, subfolders left out."""
    if {"zarr.json", "attributes.json"} & {*names}:
        yield from _of_store(url)
        return
    kinds: Mapping[str, tuple[Check, bool]] = {
        "sweep": (check_sweep, _is_sweep(url, names)),
        "model": (_check_promoted, "promoted.json" in names),
        "run": (_check_run, _is_run(url, names)),
        "export": (_check_export, "model.json" in names),
        "report": (_check_report, "metrics.json" in names),
        "comparison": (_check_comparison, "comparison.json" in names),
        "prediction": (_check_prediction, "prediction.json" in names),
    }
    for kind, (check, is_there) in kinds.items():
        if is_there:
            yield Result(kind, url, tuple(check(url)))
    for name in names:
        if name.endswith(".json"):
            content = files.read_bytes(files.join(url, name))
            if any(key in content for key in _OF_SPLITS):
                yield from _one("split", files.join(url, name), load_split)
            elif f'"{OUTER_KEY}"'.encode() in content:
                yield from _one("splits", files.join(url, name), check_outer_index)


def _of_file(url: str, name: str) -> list[Result]:
    """Check a file that is named by itself; nothing where its folder has to tell."""
    if name.endswith(".pt"):
        return _one("weights", url, lambda u: read_weights(files.read_bytes(u), u, REMEDY))
    if name.endswith(".parquet"):
        again = "make it again, or restore it from a copy"
        return _one("table", url, lambda u: check_parquet(files.read_bytes(u), u, again))
    return []


def _one(kind: str, url: str, read: Callable[[str], object]) -> list[Result]:
    return [Result(kind, url, tuple(_problems(lambda: read(url))))]


def _problems(read: Callable[[], object]) -> list[str]:
    try:
        read()
    except RadiotrainError as error:
        return [str(error)]
    return []


def _of_store(url: str) -> Iterator[Result]:
    try:
        check = check_voxels(check_metadata(url))
    except DamagedFileError as error:
        yield Result("store", url, (str(error),))
    except (InputError, MissingPathError):
        # Zarr's, but not ours, or not made yet.
        return
    else:
        yield Result("store", url, tuple(f"{url}  {line}" for line in check.problems()))


def _is_sweep(url: str, names: Collection[str]) -> bool:
    """Tell a sweep's folder from one with a configuration of the user's."""
    if {"timeline.json", "suggested.json"} & {*names}:
        return True
    return "sweep.yaml" in names and _has_digest(files.join(url, "sweep.yaml"))


def _is_run(url: str, names: Collection[str]) -> bool:
    """Tell a run's folder from one with a configuration of the user's."""
    if {"run.json", "metrics.jsonl"} & {*names}:
        return True
    return "config.yaml" in names and _has_digest(files.join(url, "config.yaml"))


def _has_digest(url: str) -> bool:
    return has_text_digest(files.read_bytes(url).decode("utf-8", errors="replace"))


def _check_run(url: str) -> list[str]:
    folder = RunFolder(url)
    names = {*files.list_names(url)}
    problems = [
        f"{name} is damaged, it does not match the checksum in its name: remove it"
        for name in damaged_checkpoints(folder.checkpoints)
    ]
    try:
        record = folder.read_record()
    except RadiotrainError as error:
        return [*problems, str(error)]
    if record is None:
        problems += _problems(folder.read_config)
        return [*problems, f"{files.join(url, 'run.json')} is missing: {REMEDY}"]
    problems += _problems(lambda: _check_config(folder, record))
    problems += _problems(
        lambda: folder.read_history(record) if record.has_ended else folder.read_metrics()
    )
    weights = folder.best_weights
    if files.exists(weights):
        problems += _problems(lambda: _check_weights(folder, record))
    # Of a retrained model, others made them.
    if record.fold is not None and not (
        record.weights_digest is None and "predictions.parquet" not in names
    ):
        made_by = PredictedBy.of(record) if record.has_ended else PredictedBy(record.run_digest)
        problems += _problems(lambda: folder.read_predictions(made_by))
    if keeps_inputs(url):
        problems += _problems(lambda: read_inputs(url, record))
    return problems


def _check_config(folder: RunFolder, record: RunRecord) -> None:
    config = folder.read_config()
    if config is not None:
        folder.check_origin(config, record)
    elif record.num_epochs:
        raise MissingPathError(f"{files.join(folder.url, 'config.yaml')} is missing: {REMEDY}")


def _check_weights(folder: RunFolder, record: RunRecord) -> None:
    content, url = files.read_bytes(folder.best_weights), folder.best_weights
    if record.has_ended:
        check_best(content, url, record)
    else:
        # They are newer than the record while an epoch is being written.
        read_weights(content, url, REMEDY)


def _check_promoted(url: str) -> list[str]:
    try:
        promoted = read_promoted(url)
        if promoted is not None and promoted.status == "finished":
            open_model(url).kept_predictions()
    except RadiotrainError as error:
        return [str(error)]
    return []


def _check_export(url: str) -> list[str]:
    try:
        description = read_description(url)
    except RadiotrainError as error:
        return [str(error)]
    problems = []
    for name, digest in description.files.items():
        where = files.join(url, name)
        try:
            content = files.read_bytes(where)
        except FileNotFoundError:
            problems.append(f"{where} is missing: copy the whole exported folder")
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            problems.append(f"{where} is not the file that was exported: copy the folder again")
    return problems


def _check_report(url: str) -> list[str]:
    return _problems(lambda: read_report(url))


def _check_comparison(url: str) -> list[str]:
    where = files.join(url, "comparison.json")
    return _problems(lambda: read_json(where, COMPARISON_SCHEMA, "compare again"))


def _check_prediction(url: str) -> list[str]:
    where = files.join(url, "prediction.json")
    return _problems(lambda: read_json(where, PREDICTION_SCHEMA, "predict again"))
