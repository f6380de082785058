"""How often an object store is asked: each request costs time, and of a cloud money."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from preprocessing.store import Store
from tests.commands import attempt
from tests.s3.objects import CROP
from tests.s3.proxy import Proxy
from tests.unit.training.synthetic import write_store

NUM = 6
# images/c/3/0/0/0/0, records/000003.json
_OF_PATIENT = re.compile(r"/(?:c/(\d+)(?=[/?]|$)|records/(\d+)\.json)")


@pytest.fixture
def store(tmp_path: Path, bucket: Any, url: str) -> Store:
    write_store(str(tmp_path / "store"), num_patients=NUM)
    bucket.put(f"{tmp_path}/store/", f"{url.removeprefix('s3://')}/", recursive=True)
    return Store.open(url)


def of_patients(heard: list[str]) -> dict[int, list[str]]:
    """Return the requests for what is one patient's, by patient."""
    found: dict[int, list[str]] = {}
    for line in heard:
        if (match := _OF_PATIENT.search(line)) and "/labels/" not in line:
            found.setdefault(int(match[1] or match[2]), []).append(line)
    return found


def test_reading_a_patient_is_a_request_an_array(store: Store, proxy: Proxy) -> None:
    proxy.heard.clear()
    for i in range(NUM):
        store.read_images(i)
        store.read_region(i)
    heard = proxy.heard
    assert [len(lines) for _, lines in sorted(of_patients(heard).items())] == [2] * NUM
    # Each array's metadata, read once for its checksum and once by Zarr.
    others = Counter(line for line in heard if not _OF_PATIENT.search(line))
    assert sum(others.values()) <= 4, others
    assert all(line.startswith("GET ") for line in heard), heard


@pytest.mark.slow
def test_preprocessing_a_patient_is_six_requests(
    cohort: Path, url: str, proxy: Proxy, scheduler: str
) -> None:
    """One for each of four arrays, the record, and the record again for the list of all."""
    result = attempt("preprocess", cohort, url, *CROP, "--scheduler", scheduler)
    assert result.status == 0, result.error
    asked = of_patients(proxy.heard)
    assert len(asked) == 4
    for lines in asked.values():
        assert Counter(line.partition(" ")[0] for line in lines) == {"PUT": 5, "GET": 1}, lines
