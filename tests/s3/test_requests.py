"""How often an object store is asked: each request of a training costs time, and of a cloud money."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from preprocessing.store import Store
from tests.commands import attempt
from tests.s3.objects import CROP
from tests.s3.proxy import Proxy
from tests.unit.training.synthetic import write_store

NUM = 6


@pytest.fixture
def store(tmp_path: Path, bucket: Any, url: str) -> Store:
    write_store(str(tmp_path / "store"), num_patients=NUM)
    bucket.put(f"{tmp_path}/store/", f"{url.removeprefix('s3://')}/", recursive=True)
    return Store.open(url)


def below(heard: list[str], name: str) -> Counter[str]:
    """Return how often each object below a folder was asked for, and how."""
    return Counter(line for line in heard if f"/{name}/" in line)


def test_a_patient_is_two_requests(store: Store, proxy: Proxy) -> None:
    store.read_images(0)
    store.read_region(0)
    before = len(proxy.heard)
    for i in range(1, NUM):
        store.read_images(i)
        store.read_region(i)
    heard = proxy.heard[before:]
    assert len(heard) == 2 * (NUM - 1), heard
    assert all(line.startswith("GET ") for line in heard)


@pytest.mark.slow
def test_what_preprocessing_asks(
    cohort: Path, cohort_url: str, local_store: Path, url: str, proxy: Proxy, scheduler: str
) -> None:
    """The requests of four patients, those of the whole run apart."""
    result = attempt("preprocess", cohort, url, *CROP, "--scheduler", scheduler)
    assert result.status == 0, result.error
    heard = proxy.heard
    for line, num in sorted(
        Counter(
            x.split("?")[0]
            for x in heard
            if x[:4] in ("GET ", "PUT ", "HEAD", "POST", "DELE") and len(x) < 300
        ).items()
    ):
        print(num, line)
    print(len(heard))
