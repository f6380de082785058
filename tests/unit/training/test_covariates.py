from __future__ import annotations

import json

import numpy as np
import pytest

from preprocessing.common.errors import InputError
from preprocessing.store import PatientRecord
from radiotrain.data.covariates import CovariateEncoder


def records(*covariates: dict[str, str | float | None]) -> list[PatientRecord]:
    return [
        PatientRecord(index=i, patient_id=f"P{i}", status="stored", covariates=values)
        for i, values in enumerate(covariates)
    ]


TRAINING = records(
    {"age_years": 40.0, "menopause": "pre", "field_strength_t": "1.5"},
    {"age_years": 60.0, "menopause": "post", "field_strength_t": "3"},
    {"age_years": None, "menopause": "post", "field_strength_t": 3.0},
    {"menopause": None, "field_strength_t": 1.5},
)


def test_numbers_are_standardised_and_missing_ones_are_the_training_mean() -> None:
    encoder = CovariateEncoder.fit(TRAINING, ["age_years"])
    assert encoder.column_names == ("age_years", "age_years missing")
    np.testing.assert_array_equal(
        encoder.transform(TRAINING), np.float32([[-1, 0], [1, 0], [0, 1], [0, 1]])
    )
    assert encoder.transform(TRAINING).dtype == np.float32


def test_imputation_knows_training_patients_only() -> None:
    encoder = CovariateEncoder.fit(TRAINING, ["age_years", "menopause"])
    others = records(
        {"age_years": 1000.0, "menopause": "unheard of"},
        {"age_years": None, "menopause": "pre"},
    )
    together = encoder.transform([*TRAINING, *others])
    np.testing.assert_array_equal(together[:4], encoder.transform(TRAINING))
    np.testing.assert_array_equal(encoder.transform(others[1:])[0, :2], [0, 1])
    assert together[4, 0] == pytest.approx(95)


def test_texts_are_one_column_a_category_and_the_unknown_is_in_none() -> None:
    encoder = CovariateEncoder.fit(TRAINING, ["menopause"])
    assert encoder.column_names == ("menopause=post", "menopause=pre", "menopause missing")
    unheard = records({"menopause": "peri"}, {"menopause": " pre "})
    np.testing.assert_array_equal(encoder.transform(unheard), [[0, 0, 1], [0, 1, 0]])


def test_numbers_in_texts_are_numbers() -> None:
    encoder = CovariateEncoder.fit(TRAINING, ["field_strength_t"])
    assert encoder.column_names == ("field_strength_t",)
    np.testing.assert_allclose(encoder.transform(TRAINING)[:, 0], [-1, 1, 1, -1])


def test_mixed_codes_and_texts_are_categories() -> None:
    training = records(*({"grade": value} for value in ("1", 1.0, "high", "high")))
    assert CovariateEncoder.fit(training, ["grade"]).column_names == ("grade=1", "grade=high")


def test_json_round_trip() -> None:
    encoder = CovariateEncoder.fit(TRAINING, ["age_years", "menopause", "field_strength_t"])
    again = CovariateEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    assert again.num_columns == 6


def test_no_covariates_are_no_columns() -> None:
    assert CovariateEncoder.fit(TRAINING, []).transform(TRAINING).shape == (4, 0)


@pytest.mark.parametrize(
    "name",
    [
        "ER", "pr", "HER2", "hr", "tumor_subtype", "Mol Subtype", "Oncotype score", "er_status",
        "endocrine_therapy", "anti_her2_neu_therapy", "chemotherapy", "pcr", "days_to_death",
        "Days to Surgery (from the date of diagnosis)", "Recurrence event(s)", "survival_months",
        "Pathologic Response to Neoadjuvant Therapy", "mastectomy_post_nac",
        "Known Ovarian Status", "luminal_type", "triple_negative", "Age at last contact",
        "Neoadjuvant Anti-Her2 Neu Therapy", "FISH",
    ],
)  # fmt: skip
def test_what_tells_the_receptors_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"is refused, as it is .*expected what is known"):
        CovariateEncoder.fit(records({name: 1.0}, {name: 0.0}), [name])


@pytest.mark.parametrize(
    "name",
    [
        "age_years", "menopause", "race", "manufacturer", "model", "field_strength_t", "bilateral",
        "slice_thickness_mm", "side", "dataset", "view", "num_phases", "ethnicity", "weight",
        "multifocal_cancer", "nottingham_grade", "Breast Density", "family_history_ovarian_cancer",
        "tumor_size_cm", "bmi_group_at_diagnosis", "repetition_time", "acquisition_times",
    ],
)  # fmt: skip
def test_what_is_known_beforehand_is_taken(name: str) -> None:
    assert CovariateEncoder.fit(records({name: 1.0}, {name: 0.0}), [name]).num_columns == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["age_year"], r"no covariate 'age_year' \(did you mean 'age_years'\?\)"),
        (["side"], "no covariate 'side', expected some of age_years, field_strength_t, menopause"),
        (["age_years", "age_years"], "'age_years' is named twice"),
    ],
)
def test_wrong_names_are_one_sentence(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CovariateEncoder.fit(TRAINING, names)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1.0, "1", None), "the single value '1'"),
        ((None, "", None), "no value"),
        (tuple("abcdef"), "6 different texts in 6 training patients"),
    ],
)
def test_what_says_nothing_is_refused(values: tuple[str | float | None, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CovariateEncoder.fit(records(*({"x": v} for v in values)), ["x"])
