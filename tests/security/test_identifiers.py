"""Nothing that identifies a patient leaves the images: store, pages, runs, reports, output."""

from __future__ import annotations

import pytest

from preprocessing.store import Store
from tests.security.conftest import NUM_PATIENTS, Chain
from tests.security.planted import IDENTIFIERS, UID_ROOT, decoded_voxels, found_in

pytestmark = pytest.mark.slow


def test_the_words_are_in_what_was_read(chain: Chain) -> None:
    files = sorted((chain.cohort / "Duke-Breast-Cancer-MRI" / "Breast_MRI_001").rglob("*.dcm"))
    content = files[0].read_bytes()
    for word in (*IDENTIFIERS, UID_ROOT):
        assert word.encode() in content or word == "1997-08-14", word


def test_no_identifier_is_in_anything_written_or_said(chain: Chain) -> None:
    assert found_in(chain.places, (*IDENTIFIERS, UID_ROOT)) == []


def test_no_identifier_is_in_decompressed_chunks(chain: Chain) -> None:
    words = [w.encode() for w in (*IDENTIFIERS, UID_ROOT)]
    chunks = [*decoded_voxels(Store.open(str(chain.store)))]
    assert any(any(chunk) for chunk in chunks)
    assert not any(word in chunk for word in words for chunk in chunks)


def test_what_is_wrong_is_still_told(chain: Chain) -> None:
    store = Store.open(str(chain.store))
    assert len(store.patient_ids) >= NUM_PATIENTS - 3
    told = {
        r.patient_id: [f.message for f in r.findings] for r in (*store.records, *store.excluded)
    }
    assert any("003.dcm is damaged: its pixels are cut short" in m for m in told["Breast_MRI_002"])
    assert any("is damaged" in m for m in told["Breast_MRI_003"])
    assert any("PR is a text of" in m for m in told["Breast_MRI_005"])


def test_phases_keep_the_technical_part_of_their_names(chain: Chain) -> None:
    store = Store.open(str(chain.store))
    names = {name for record in store.records for name in record.phase_names}
    assert any("dyn" in name.lower() for name in names)
    assert all("…" in name for name in names)
    makers = {record.covariates["manufacturer"] for record in store.records}
    assert makers <= {
        "GE MEDICAL SYSTEMS",
        "SIEMENS",
        "GE MEDICAL SYSTEMS …",
        "SIEMENS …",
        "GE",
        "Siemens",
        "other maker",
    }
    assert "other maker" in makers


def test_no_day_or_time_of_day_is_kept(chain: Chain) -> None:
    records = Store.open(str(chain.store)).records
    assert len(records) >= NUM_PATIENTS - 3
    for record in records:
        assert record.phase_times_s[0] in (0.0, None)
        assert not any("date" in key.lower() for key in record.covariates)
