"""The access log of a test set on an object store."""

from __future__ import annotations

import pytest

from preprocessing.storage import files
from radiotrain.split.access_log import read_access_log
from radiotrain.split.split import Split, SplitPatients, save_split
from radiotrain.split.test_set_access import open_test_set
from tests.commands import end, start
from tests.s3.proxy import FAIR, Weather

NUM = 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "weather",
    [FAIR, Weather(delay_s=(0.0, 0.1), lost=0.1), Weather(unconditional=True)],
    ids=["fair", "answers are lost", "no conditional writes"],
)
def test_accesses_at_once_are_all_kept(url, proxy, weather):
    split_url = f"{url.partition('[')[0]}-{weather.lost}-{weather.unconditional}/splits.json"
    split = Split(
        0,
        ("ER",),
        0.2,
        ("a",),
        (("b",), ("c",)),
        SplitPatients(("ER",), {}, dict.fromkeys("abc", "0")),
    )
    save_split(split, split_url)
    proxy.set(weather)
    end(start(split_url, NUM, program=("-m", "tests.accesses_at_once")))
    proxy.set(FAIR)
    log = read_access_log(split_url)
    assert sorted(record.purpose for record in log.records) == sorted(f"look {n}" for n in range(NUM))  # fmt: skip
    assert log.problems == ()
    gone = min(files.list_names(f"{split_url}.openings"))
    open_test_set(split_url, "after", [])
    files.remove(files.join(f"{split_url}.openings", gone))
    log = read_access_log(split_url)
    assert len(log.records) == NUM + 1
    assert gone in log.problems[0]
