from __future__ import annotations

import pytest

from preprocessing.common.errors import InputError
from radiotrain.data.covariates import CovariateEncoder, check_covariate_name
from radiotrain.data.leaky_columns import (
    AFTER_TREATMENT,
    SAYS_RECEPTORS,
    readings,
    reason_to_refuse,
)
from radiotrain.evaluation.baselines.covariates import kind_of
from tests.unit.training.column_names import HARMLESS_NAMES, LEAKY_NAMES
from tests.unit.training.test_covariates import records


def test_names_that_tell_a_target_are_refused() -> None:
    missed = [name for name in LEAKY_NAMES if reason_to_refuse(name) is None]
    # AHT is arterial hypertension as often as antihormonal therapy, Verlauf any course.
    assert missed == ["AHT", "Verlauf"]


def test_harmless_names_are_taken() -> None:
    refused = {name: reason for name in HARMLESS_NAMES if (reason := reason_to_refuse(name))}
    assert len(refused) <= 0.02 * len(HARMLESS_NAMES), refused


@pytest.mark.parametrize("name", [n for n in LEAKY_NAMES if n.isascii()][::7])
@pytest.mark.parametrize(
    "write", [str.upper, str.lower, lambda n: f"x_{n}", lambda n: f"{n} (path)"]
)
def test_capitals_and_what_is_added_hide_nothing(name: str, write: object) -> None:
    assert callable(write)
    if name in ("AHT", "AI", "NAT", "Verlauf", "isTN", "LumABasal") or name.lower() in (
        "vital",
        "arm",
        "rp",
        "yt",
        "tod",
        "tot",
    ):
        pytest.skip("alone only")
    assert reason_to_refuse(str(write(name))) is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ERstatus", " er status "),
        ("erstatus", " er status "),
        ("ERStatus", " er status "),
        ("PatientAge", " patient age "),
        ("Östrogenrezeptor", " ostrogenrezeptor "),
        ("oestrogen", " ostrogen "),
        ("her2", " her 2 "),
        ("ypT0", " yp t 0 "),
    ],
)
def test_names_are_read_as_words(name: str, words: str) -> None:
    assert words in readings(name)


def test_a_refusal_says_why_and_how_to_allow() -> None:
    with pytest.raises(InputError) as caught:
        check_covariate_name("ERstatus", ["ERstatus"])
    sentence = str(caught.value)
    assert SAYS_RECEPTORS in sentence
    assert "network.allow_covariates to [ERstatus]" in sentence
    assert reason_to_refuse("pCR") == AFTER_TREATMENT


def test_an_allowed_name_is_taken_and_no_other() -> None:
    patients = records({"ERstatus": 1.0, "PR": 0.0}, {"ERstatus": 0.0, "PR": 1.0})
    assert CovariateEncoder.fit(patients, ["ERstatus"], ["ERstatus"]).num_columns == 1
    with pytest.raises(InputError, match="covariate 'PR' is refused"):
        CovariateEncoder.fit(patients, ["ERstatus", "PR"], ["ERstatus"])
    assert (kind_of("ERstatus"), kind_of("ERstatus", ["ERstatus"])) == ("refused", "clinical")
