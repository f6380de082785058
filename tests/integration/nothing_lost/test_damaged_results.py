"""Files of results with a flipped bit, a hole or a wrong end, and files of two results in one folder.

Each is refused in one sentence by whatever reads it, or the values read are the right ones.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from preprocessing.common.errors import RadiotrainError
from tests.commands import attempt, call, the_sentence
from tests.integration.nothing_lost.damaged_results import (
    KINDS,
    Results,
    evaluate,
    export,
    make_results,
    predict,
    promote_sweep,
    readers,
    show_status,
)

pytestmark = pytest.mark.slow

NUM_FLIPS = 300
# These hold bytes that are no values: every change is refused.
ALL_REFUSED = {
    "best.pt", "safetensors", "predictions.parquet", "promoted predictions", "report predictions",
    "config.yaml", "sweep.yaml",
}  # fmt: skip
OF_A_RUN = (
    "config.yaml", "run.json", "metrics.jsonl", "inputs.json", "predictions.parquet",
    "checkpoints/best.pt",
)  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("results"))


def spoilt(content: bytes) -> Iterator[bytes]:
    """Yield a file's content cut short, with a hole, with more behind it, and empty."""
    generator = random.Random(0)
    for _ in range(20):
        yield content[: generator.randrange(len(content))]
        start = generator.randrange(len(content))
        length = generator.choice((1, 16, 512, 4096))
        yield content[:start] + bytes(length) + content[start + length :]
        yield content[:start] + content[start + length :]
    yield b""
    yield bytes(len(content))
    yield content + bytes(512)
    yield content + content


def flipped(content: bytes) -> Iterator[bytes]:
    generator = random.Random(1)
    for _ in range(NUM_FLIPS):
        bit, changed = generator.randrange(8 * len(content)), bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_refused_or_says_what_it_said(kind: str, results: Results) -> None:
    path, read = readers(results)[kind]
    content, before = path.read_bytes(), read()
    refused, tried = [], 0
    try:
        for changed in (*flipped(content), *spoilt(content)):
            if changed == content:
                continue
            tried += 1
            path.write_bytes(changed)
            try:
                assert read() == before
            except RadiotrainError as error:
                refused.append(str(error))
    finally:
        path.write_bytes(content)
    assert read() == before
    assert [s for s in refused if path.name not in s or "\n" in s] == []
    # The others turn a blank of the layout into another one, or the end of a file that has ended.
    assert len(refused) == tried if kind in ALL_REFUSED else len(refused) > 0.9 * tried


def test_every_kind_is_tried(results: Results) -> None:
    assert tuple(readers(results)) == KINDS


def test_all_that_is_whole_is_called_whole(results: Results) -> None:
    said, _ = call("verify", results.folder)
    assert said == (
        "whole: 1 comparison, 1 export, 1 model, 2 reports, 8 runs, 1 split, 1 store, 1 sweep\n"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_verify_names_the_file_that_is_damaged(kind: str, results: Results) -> None:
    path, _ = readers(results)[kind]
    content = path.read_bytes()
    middle = len(content) // 2
    try:
        path.write_bytes(content[:middle] + bytes(8) + content[middle + 8 :])
        said, _ = call("verify", results.folder, status=1)
    finally:
        path.write_bytes(content)
    *lines, last = said.splitlines()
    assert any(str(path) in line for line in lines)
    assert " of 16 damaged (" in last


def test_what_is_not_ours_is_not_verified(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: 1\n")
    (tmp_path / "notes.json").write_text("{")
    assert "is what radiotrain writes" in attempt("verify", tmp_path).sentence
    assert "there is nothing at" in attempt("verify", tmp_path / "none").sentence


def mixed(into: Path, other: Path, names: tuple[str, ...], run: Path) -> bool:
    """Copy a run, some files of it from another run; tell whether it is another folder then."""
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(run, into)
    for name in names:
        shutil.copyfile(other / name, into / name)
    of_run = {(run / name).read_bytes() == (into / name).read_bytes() for name in OF_A_RUN}
    of_other = {(other / name).read_bytes() == (into / name).read_bytes() for name in OF_A_RUN}
    return False in of_run and False in of_other


@pytest.mark.parametrize("other", ["fold", "target", "seed", "network", "weights"])
def test_no_mixture_of_two_runs_is_used(results: Results, other: str, tmp_path: Path) -> None:
    source, into = results.others[other], tmp_path / "mixed"
    num_mixed = 0
    for num in range(1, len(OF_A_RUN)):
        for names in combinations(OF_A_RUN, num):
            if other == "weights" and "config.yaml" in names:
                continue  # the same but for the name of the folder
            if not mixed(into, source, names, results.run):
                continue
            num_mixed += 1
            for use in (evaluate, export, predict):
                with pytest.raises(RadiotrainError, match=r"^[^\n]+$"):
                    use(into)
            assert call("verify", into, status=1)[0].count("\n") >= 2
    assert num_mixed >= 2 ** (len(OF_A_RUN) - 2) - 2


def test_commands_refuse_a_mixture_in_one_sentence(results: Results, tmp_path: Path) -> None:
    into = tmp_path / "mixed"
    mixed(into, results.others["target"], ("checkpoints/best.pt",), results.run)
    log = results.folder / "splits.json.openings.jsonl"
    for words in (
        ("evaluate", into, "--out", tmp_path / "report", "--purpose", "test"),
        ("export", into, "--format", "safetensors", "--out", tmp_path / "exported"),
    ):
        _, error = call(*words, status=2)
        assert "holds the weights of another run" in the_sentence(error)
    # Nothing was written, and the test set was not opened.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mixed"]
    assert not log.exists()


@pytest.mark.parametrize("name", OF_A_RUN)
@pytest.mark.parametrize("other", ["target", "seed", "weights"])
def test_promote_and_status_use_no_mixture(
    results: Results, other: str, name: str, tmp_path: Path
) -> None:
    source, place = results.others[other] / name, results.run / name
    before = place.read_bytes()
    if source.read_bytes() == before or (other, name) == ("weights", "config.yaml"):
        pytest.skip("the same")
    try:
        shutil.copyfile(source, place)
        # What its images were like is copied only, and checked then.
        if name != "inputs.json":
            with pytest.raises(RadiotrainError, match=r"^[^\n]+$"):
                promote_sweep(results.sweep)
        if name in ("run.json", "metrics.jsonl"):
            with pytest.raises(RadiotrainError, match=r"^[^\n]+$"):
                show_status(results.sweep)
    finally:
        place.write_bytes(before)


@pytest.mark.parametrize("part", ["record", "predictions.parquet", "members"])
def test_no_mixture_of_two_models_is_used(results: Results, part: str, tmp_path: Path) -> None:
    model, member = tmp_path / "ER", results.promoted / "members"
    shutil.copytree(results.promoted, model)
    first, second = sorted(p.name for p in member.iterdir())
    if part == "members":
        # One of its networks was trained elsewhere.
        shutil.rmtree(model / "members" / first)
        shutil.copytree(results.others["weights"], model / "members" / first)
    elif part == "predictions.parquet":
        shutil.copyfile(member / second / part, model / part)
    else:
        shutil.copyfile(member / second / "run.json", model / "members" / first / "run.json")
    for use in (evaluate, export, predict):
        with pytest.raises(RadiotrainError, match=r"^[^\n]+$"):
            use(model)
    call("verify", model, status=1)


def test_numbers_and_table_of_two_reports_are_not_compared(
    results: Results, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    shutil.copytree(results.reports[0], report)
    shutil.copyfile(results.reports[1] / "predictions.parquet", report / "predictions.parquet")
    for place in (report, report / "predictions.parquet", report / "metrics.json"):
        _, error = call("compare", place, results.reports[1], status=2)
        assert "is not the table that metrics.json beside it" in the_sentence(error)
