from __future__ import annotations

import numpy as np
import pytest

from preprocessing.common.errors import InputError
from preprocessing.phantom.anatomy import FAT_SUPPRESSED, WEAKLY_SUPPRESSED
from preprocessing.phantom.patient import draw_patient
from preprocessing.phantom.scanner import draw_protocol
from preprocessing.phantom.settings import PhantomSettings, parse_shortcut


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 1.0])
def test_the_scanner_agrees_with_the_label_in_its_share_of_patients(share: float) -> None:
    settings = PhantomSettings(shortcut={"ER": share})
    agrees = []
    for seed in range(400):
        labels = {"ER": seed % 2, "PR": 0, "HER2": 0}
        vendor = draw_protocol(np.random.default_rng(seed), settings, labels).scanner.vendor
        agrees.append((vendor == "GE") == (labels["ER"] == 1))
    assert np.mean(agrees) == pytest.approx(share, abs=0.06)


def test_images_show_the_scanner_only_where_a_shortcut_is_planted() -> None:
    labels = {"ER": 0, "PR": 0, "HER2": 0}
    planted = draw_patient(PhantomSettings(shortcut={"ER": 1.0}), 1, labels)
    assert planted.protocol.scanner.vendor == "Siemens"
    assert planted.scene.tissue == WEAKLY_SUPPRESSED
    other = draw_patient(PhantomSettings(shortcut={"ER": 0.0}), 1, labels)
    assert other.protocol.scanner.vendor == "GE"
    assert other.scene.tissue == FAT_SUPPRESSED
    plain = [draw_patient(PhantomSettings(), number, labels) for number in range(1, 9)]
    assert {patient.protocol.scanner.vendor for patient in plain} == {"GE", "Siemens"}
    assert {patient.scene.tissue for patient in plain} == {FAT_SUPPRESSED}


def test_without_a_shortcut_there_is_no_word_of_it() -> None:
    assert "shortcut" not in PhantomSettings().to_json()
    assert PhantomSettings(shortcut={"ER": 0.8}).to_json()["shortcut"] == {"ER": 0.8}


def test_it_is_read_from_text() -> None:
    assert parse_shortcut("") == {}
    assert parse_shortcut(" er = 0.8 ") == {"ER": 0.8}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.8", "expected a target and the share of patients"),
        ("ER=most", "such as 'ER=0.8'"),
        ("EE=0.8", "phantom target is 'EE'"),
        ("ER=1.2", "phantom shortcut of ER is 1.2, expected 0.0 to 1.0"),
    ],
)
def test_what_is_no_shortcut_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PhantomSettings(shortcut=parse_shortcut(text))


def test_a_scanner_agrees_with_one_target_only() -> None:
    with pytest.raises(InputError, match="expected one target"):
        PhantomSettings(shortcut={"ER": 0.8, "PR": 0.8})
