"""The access log of a test set loses nothing, and says what was taken from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from radiotrain.split.access_log import read_access_log
from radiotrain.split.split import Split, save_split
from radiotrain.split.test_set_access import open_test_set
from tests.commands import end, start

NUM = 20
OLD = {"time": "t", "purpose": "old", "runs": ["a"], "split_fingerprint": "f"}


@pytest.fixture
def url(split: Split, tmp_path: Path) -> str:
    save_split(split, str(tmp_path / "splits.json"))
    return str(tmp_path / "splits.json")


@pytest.fixture
def run(tmp_path: Path) -> str:
    (tmp_path / "run").mkdir()
    return str(tmp_path / "run")


def entries(url: str) -> list[Path]:
    return sorted(Path(f"{url}.openings").glob("*.json"))


def purposes(url: str, *runs: str) -> list[str]:
    return [record.purpose for record in read_access_log(url, runs).records]


def test_accesses_at_once_are_all_kept(url: str) -> None:
    end(start(url, NUM, program=("-m", "tests.accesses_at_once")))
    assert sorted(purposes(url)) == sorted(f"look {number}" for number in range(NUM))
    open_test_set(url, "after", [])
    log = read_access_log(url)
    assert (len(log.records), log.records[-1].purpose, log.problems) == (NUM + 1, "after", ())


@pytest.mark.parametrize("removed", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_removed_access_is_missed_and_counted(url: str, removed: int) -> None:
    for purpose in ("one", "two", "three"):
        open_test_set(url, purpose, ["a"])
    gone = entries(url)[removed]
    gone.unlink()
    log = read_access_log(url)
    assert len(log.records) == 3
    assert "missing" in log.records[removed].purpose
    (problem,) = log.problems
    assert gone.name in problem
    # It stands in the log for good, and is said once.
    for purpose in ("four", "five"):
        open_test_set(url, purpose, ["a"])
    after = read_access_log(url)
    assert (len(after.records), after.problems) == (5, (problem,))
    assert [len(record.problems) for record in after.records] == [0, 0, 0, 1, 0]


def test_several_accesses_and_the_head_removed_are_known_from_a_run(url: str, run: str) -> None:
    open_test_set(url, "one", ["run"], run_urls=[run])
    open_test_set(url, "two", ["run"], run_urls=[run])
    shutil.rmtree(f"{url}.openings")
    Path(f"{url}.openings.head").unlink()
    assert purposes(url) == []
    log = read_access_log(url, [run])
    assert [record.purpose for record in log.records] == ["one", "two"]
    assert len(log.problems) == 2
    open_test_set(url, "three", ["run"], run_urls=[run])
    # Put back, and said even where the run is not at hand.
    assert purposes(url) == ["one", "two", "three"]
    assert read_access_log(url).problems == log.problems


def test_an_access_of_a_split_elsewhere_is_known_from_a_run(
    url: str, run: str, tmp_path: Path
) -> None:
    open_test_set(url, "one", ["run"], run_urls=[run])
    copy = str(tmp_path / "copy.json")
    shutil.copy(url, copy)
    open_test_set(copy, "two", ["run"], run_urls=[run])
    assert purposes(copy) == ["one", "two"]
    assert len(read_access_log(copy).problems) == 1


@pytest.mark.parametrize("change", ["cut", "empty", "changed", "zeros"])
def test_a_damaged_access_is_named_and_stops_no_other(url: str, change: str) -> None:
    open_test_set(url, "one", ["a"])
    open_test_set(url, "two", ["a"])
    last = entries(url)[-1]
    content = last.read_bytes()
    damaged = {
        "cut": content[:-30],
        "empty": b"",
        "changed": content.replace(b"two", b"one"),
        "zeros": bytes(len(content)),
    }
    last.write_bytes(damaged[change])
    open_test_set(url, "three", ["a"])
    log = read_access_log(url)
    assert [record.purpose for record in log.records][::2] == ["one", "three"]
    assert "cannot be read" in log.records[1].purpose
    assert any(last.name in problem and "damaged" in problem for problem in log.problems)


def test_an_access_with_a_name_of_its_own_making_is_missed_too(url: str) -> None:
    """Changed, and given the name of its new content."""
    open_test_set(url, "one", ["a"])
    open_test_set(url, "two", ["a"])
    first = entries(url)[0]
    other = first.with_name("000001-" + "0" * 32 + ".json")
    first.rename(other)
    (missing, damaged) = sorted(read_access_log(url).problems, key=lambda text: "damaged" in text)
    assert first.name in missing
    assert other.name in damaged


@pytest.mark.parametrize("cut", [1, 30], ids=["its end", "half of it"])
def test_a_torn_last_line_of_an_older_log_is_named_and_stops_no_access(url: str, cut: int) -> None:
    line = json.dumps(OLD)
    Path(f"{url}.openings.jsonl").write_text(f"{line}\n{line[:-cut]}")
    open_test_set(url, "new", ["b"])
    log = read_access_log(url)
    assert [record.purpose for record in log.records][::2] == ["old", "new"]
    assert "cannot be read" in log.records[1].purpose
    (problem,) = log.problems
    assert problem.startswith("line 2 ")


def test_an_older_log_may_grow_but_not_change(url: str) -> None:
    older = Path(f"{url}.openings.jsonl")
    line = json.dumps(OLD) + "\n"
    older.write_text(line)
    open_test_set(url, "new", ["b"])
    older.write_text(line * 2)
    assert read_access_log(url).problems == ()
    assert purposes(url) == ["old", "old", "new"]
    older.write_text(line.replace("old", "odd"))
    assert len(read_access_log(url).problems) == 1
    older.unlink()
    (problem,) = read_access_log(url).problems
    assert "changed or removed" in problem


def test_other_files_in_the_log_are_no_accesses(url: str) -> None:
    open_test_set(url, "one", ["a"])
    folder = Path(f"{url}.openings")
    (folder / ".000002-abc.json.1234.partial").write_bytes(b"{")
    (folder / ".DS_Store").write_bytes(b"\0")
    open_test_set(url, "two", ["a"])
    assert (purposes(url), read_access_log(url).problems) == (["one", "two"], ())


def test_a_run_that_may_only_be_read_is_evaluated(url: str) -> None:
    # Where root, too, may make nothing.
    open_test_set(url, "one", ["run"], run_urls=["/sys/kernel/run"])
    assert purposes(url) == ["one"]
