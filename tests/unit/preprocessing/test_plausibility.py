"""Phases that no scanner acquired are named, and honest ones are left alone.

The patients are made here: smooth tissue, air, a tumour that takes up contrast, noise of each phase.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from preprocessing.cohort.cohort import Finding
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.common.errors import InputError
from preprocessing.images import plausibility
from preprocessing.images.plausibility import CODES, Acquired
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.store import BIAS_STEP, REGION_PADDING, REGION_TUMOUR
from radiotrain.inference.prepare import UnusablePatientError, prepare

SHAPE = (40, 44, 20)
TUMOUR = (slice(14, 22), slice(16, 25), slice(7, 12))
UPTAKE = (0.0, 0.9, 0.8, 0.7)
NOISE = 8.0

Spoil = Callable[[np.ndarray], np.ndarray]


def patient(seed: int = 0, num_phases: int = 4, noise: float = NOISE) -> np.ndarray:
    """Return float32 (P, R, C, S): whole numbers, as a scanner stores them."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.standard_normal(SHAPE), 2.5)
    tissue = 300 + 120 * smooth / smooth.std()
    air = np.zeros(SHAPE, dtype=bool)
    air[:6] = True
    phases = []
    for p in range(num_phases):
        clean = np.where(air, 0, tissue.clip(80) * (1 + 0.02 * p))
        clean[TUMOUR] *= 1 + UPTAKE[p % 4]
        phases.append(np.abs(clean + noise * rng.standard_normal(SHAPE)).round())
    return np.stack(phases).astype(np.float32)


def region() -> np.ndarray:
    bits = np.zeros(SHAPE, dtype=np.uint8)
    bits[TUMOUR] = REGION_TUMOUR
    return bits


def log_field() -> np.ndarray:
    """Return a smooth log field of every voxel of the crop."""
    r, c, s = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return (0.12 * r - 0.08 * c * c + 0.06 * s).astype(np.float32)


def corrected_phases(scanner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return phases with the bias field divided out, and the field as it is stored."""
    field = log_field()
    return (scanner * np.exp(-field)).astype(np.float32), field[
        ::BIAS_STEP, ::BIAS_STEP, ::BIAS_STEP
    ]


def find_implausible(
    images: np.ndarray, bits: np.ndarray, field: np.ndarray | None = None
) -> tuple[Finding, ...]:
    """Judge phases that are all of their images."""
    scanner = images if field is None else (images * np.exp(log_field())).round(2)
    acquired = Acquired(
        lambda p: scanner[p][bits & REGION_PADDING == 0],
        lambda a, b: np.array_equal(scanner[a], scanner[b]),
    )
    return plausibility.find_implausible(images, bits, field, acquired)


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [f.code for f in findings]


def put(phase: int, made: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    def spoil(images: np.ndarray) -> np.ndarray:
        spoilt = images.copy()
        spoilt[phase] = made(images)
        return spoilt

    return spoil


def _mixed(images: np.ndarray) -> np.ndarray:
    return np.concatenate([images[2][..., :6], images[1][..., 6:]], axis=2)


def _blank(images: np.ndarray) -> np.ndarray:
    phase = images[1].copy()
    phase[..., 9] = 0
    return phase


def _few_signal(images: np.ndarray) -> np.ndarray:
    phase = images[2].copy()
    phase[:, 15:] = 0
    return phase


def _without_uptake(images: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(9)
    noise = rng.normal(0, NOISE, images.shape).round().astype(np.float32)
    noise[0] = 0
    return images[:1] + noise


SPOILT: list[tuple[str, Spoil, str, str]] = [
    ("constant", put(2, lambda x: x[2] * 0 + 7), "phase-constant", "phase 2 has the value 7"),
    ("zero", put(0, lambda x: x[0] * 0), "phase-constant", "the pre-contrast has the value 0"),
    ("mostly zero", put(2, _few_signal), "phase-mostly-zero", "where another phase has signal"),
    ("copied pre", put(1, lambda x: x[0]), "phases-equal", "the pre-contrast and phase 1"),
    ("copied post", put(3, lambda x: x[1]), "phases-equal", "phase 1 and phase 3"),
    ("rescaled", put(1, lambda x: x[0] * 2.5), "phases-rescaled", "phase 1 is the pre-contrast × 2.5,"),
    (
        "rescaled and rounded",
        put(2, lambda x: (x[1] * 0.6 + 30).round()),
        "phases-rescaled",
        "phase 2 is phase 1 × 0.",
    ),
    ("moved up", put(1, lambda x: x[0] + 500), "phases-rescaled", "× 1 +500"),
    ("swapped", lambda x: x[[1, 0, 2, 3]], "enhancement-reversed", "phase 1 is darker"),
    ("reversed", lambda x: x[::-1], "enhancement-reversed", "phase 3 is darker"),
    ("no uptake", _without_uptake, "no-enhancement", "no contrast in any phase"),
    ("subtraction", put(3, lambda x: x[1] - x[0]), "phase-subtraction", "phase 3 has"),
    (
        "subtraction without negatives",
        put(2, lambda x: (x[1] - x[0]).clip(1)),
        "phase-subtraction",
        "phase 2 has",
    ),
    ("all subtractions", lambda x: np.concatenate([x[:1], x[1:] - x[:1]]), "phase-subtraction", "phase 3"),
    ("rows mirrored", put(1, lambda x: x[1][::-1]), "phase-mirrored", "its rows are reversed"),
    ("columns mirrored", put(2, lambda x: x[2][:, ::-1]), "phase-mirrored", "its columns are reversed"),
    ("turned", put(2, lambda x: x[2][::-1, ::-1]), "phase-mirrored", "rows and columns are reversed"),
    ("slices reversed", put(3, lambda x: x[3][..., ::-1]), "phase-mirrored", "its slices are reversed"),
    ("displaced", put(1, lambda x: np.roll(x[1], 8, 1)), "phase-displaced", "about 8 columns"),
    ("slices displaced", put(2, lambda x: np.roll(x[2], 2, 2)), "phase-displaced", "about 2 slices"),
    ("other patient", put(2, lambda x: np.roll(patient(11)[2], 9, 0)), "phase-unlike", "phase 2 does not show"),
    ("gain", put(2, lambda x: x[2] * 2), "gain-differs", "phase 2 has 2"),
    ("half gain", put(1, lambda x: x[1] / 2), "gain-differs", "phase 1 has 0.51"),
    ("pre's gain", put(0, lambda x: x[0] / 10), "gain-differs", "times the signal of the pre-contrast"),
    ("mixed slices", put(1, _mixed), "slices-equal", "6 slices of phase 1 are those of phase 2"),
    ("blank slice", put(1, _blank), "slices-blank", "1 slices of phase 1"),
    (
        "saturated",
        put(2, lambda x: x[2].clip(None, np.percentile(x[2], 95))),
        "phase-saturated",
        "of phase 2 have its largest value",
    ),
]  # fmt: skip


@pytest.mark.parametrize("corrected", [False, True], ids=["scanner", "bias"])
@pytest.mark.parametrize(
    ("spoil", "code", "words"), [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT]
)
def test_what_no_examination_shows_is_named(
    spoil: Spoil, code: str, words: str, corrected: bool
) -> None:
    images = patient()
    if corrected:
        images, field = corrected_phases(spoil((images * np.exp(log_field())).round()))
        found = find_implausible(images, region(), field)
    else:
        found = find_implausible(spoil(images), region())
    (finding,) = (f for f in found if f.code == code)
    assert words in finding.message
    assert finding.excludes == (code in CODES[:3])
    assert set(codes(found)) <= set(CODES)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("num_phases", [1, 2, 4, 8])
def test_honest_phases_are_left_alone(seed: int, num_phases: int) -> None:
    images = patient(seed, num_phases, noise=(2.0, NOISE, 20.0)[seed % 3])
    assert find_implausible(images, region()) == ()
    corrected, field = corrected_phases((images * np.exp(log_field())).round())
    assert find_implausible(corrected, region(), field) == ()


@pytest.mark.parametrize("factor", [1e-30, 1e-4, 1e6, 1e30])
def test_the_unit_of_intensities_does_not_matter(factor: float) -> None:
    images = patient() * np.float32(factor)
    assert find_implausible(images, region()) == ()
    assert "enhancement-reversed" in codes(find_implausible(images[[1, 0, 2, 3]], region()))


def test_weak_or_local_uptake_is_uptake() -> None:
    weak = patient(noise=4.0)
    flat = patient(noise=4.0, num_phases=1)[0]
    rng = np.random.default_rng(3)
    for p in (1, 2, 3):
        weak[p] = flat + rng.normal(0, 4, SHAPE)
    rim = weak.copy()
    weak[1:, *TUMOUR] *= 1.08
    rim[1:, 14:22, 16:18, 7:12] *= 1.3
    assert find_implausible(weak, region()) == ()
    assert find_implausible(rim, region()) == ()


def test_tissue_that_takes_up_contrast_is_no_other_gain() -> None:
    images = patient()
    images[1:, 6:] *= np.linspace(1.0, 1.8, SHAPE[1], dtype=np.float32)[:, None]
    assert find_implausible(images, region()) == ()


def test_padding_is_not_judged() -> None:
    images, bits = patient(), region()
    bits[26:] = REGION_PADDING
    images[:, 26:] = 0
    assert find_implausible(images, bits) == ()
    assert find_implausible(images, np.full(SHAPE, REGION_PADDING, np.uint8)) == ()
    images[2, :26] = 5
    assert codes(find_implausible(images, bits)) == ["phase-constant"]


def test_noise_free_phases_share_slices_without_uptake() -> None:
    """Of one anatomy and no noise: near the tumour slices are equal in part."""
    clean = patient(num_phases=1, noise=0.0)[0]
    post = clean.copy()
    post[TUMOUR] *= 2
    assert find_implausible(np.stack([clean, post]), region()) == ()


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 40, 20), (6, 7, 5), (40, 1, 1), (3, 3, 3), (9, 8, 1)]
)
@pytest.mark.parametrize("num_phases", [1, 2, 3])
def test_any_size_of_crop(shape: tuple[int, int, int], num_phases: int) -> None:
    rng = np.random.default_rng(1)
    images = rng.uniform(50, 900, (num_phases, *shape)).astype(np.float32)
    bits = np.zeros(shape, dtype=np.uint8)
    bits[0, 0, 0] = REGION_TUMOUR
    assert not any(f.excludes for f in find_implausible(images, bits))


def test_many_phases_are_told_in_few_words() -> None:
    images = np.stack([patient(num_phases=1)[0] * (1 + p) for p in range(8)])
    (finding,) = (f for f in find_implausible(images, region()) if f.code == "phases-rescaled")
    assert finding.message.count(";") == 4
    assert finding.message.endswith("; and 3 more")


# --- through the pipeline ---------------------------------------------------------------------

CONFIG = PreprocessConfig(crop_shape=(24, 24, 12), num_phases=3, n4_iterations=(3, 3))


def cohort_of(folder: Path, images: np.ndarray) -> Path:
    """Write a manifest of one patient, from arrays (row, column, slice)."""
    row: dict[str, object] = {"patient_id": "p", "ER": 1}
    for p, phase in enumerate(images):
        voxels = np.ascontiguousarray(phase.transpose(1, 0, 2).astype(np.int16))
        nibabel.save(
            nibabel.Nifti1Image(voxels, np.diag([-0.8, -0.7, 2.0, 1.0])), folder / f"{p}.nii"
        )
        row[f"phase_{p}"] = f"{p}.nii"
    for name, span in zip(("row", "col", "slice"), TUMOUR, strict=True):
        row |= {f"box_{name}_start": span.start, f"box_{name}_stop": span.stop}
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return folder / "manifest.csv"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias_engine": "none"},
        {"motion": "rigid"},
        {"resample_mm": (1.0, 1.0, 2.0), "intensity": "tissue"},
    ],
    ids=str,
)
def test_a_copy_is_excluded_whatever_is_done_to_voxels(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    images = patient(num_phases=3)
    config = PreprocessConfig.model_validate({**CONFIG.model_dump(), **settings})
    for spoilt, code in (
        (images, None),
        (images[[0, 1, 0]], "phases-equal"),
        (images[[0, 1, 1]], "phases-equal"),
        (np.stack([*images[:2], images[2] * 0 + 90]), "phase-constant"),
    ):
        (one,) = read_cohort(cohort_of(tmp_path, spoilt)).patients
        record, tensor = process_patient(one, 0, config)
        found = [f.code for f in record.findings if f.code in CODES]
        assert found == ([] if code is None else [code])
        assert (tensor is None, record.status) == (
            (False, "stored") if code is None else (True, "excluded")
        )


def test_phases_that_differ_outside_of_the_crop_are_no_copies(tmp_path: Path) -> None:
    images = patient(num_phases=1)[[0, 0]]
    images[1, :3, :3, :3] += 9
    (one,) = read_cohort(cohort_of(tmp_path, images)).patients
    record, tensor = process_patient(one, 0, CONFIG.model_copy(update={"num_phases": 2}))
    assert tensor is not None
    assert "in the crop, though not elsewhere" in record.findings[0].message
    assert [f.code for f in record.findings] == ["phases-equal", "no-enhancement"]


@pytest.mark.parametrize("implausible", ["mark", "exclude"])
def test_the_setting_decides_what_a_mark_does(tmp_path: Path, implausible: str) -> None:
    (one,) = read_cohort(cohort_of(tmp_path, patient(num_phases=3)[[1, 0, 2]])).patients
    config = CONFIG.model_copy(update={"implausible": implausible})
    record, tensor = process_patient(one, 0, config)
    (finding,) = record.findings
    assert finding.code == "enhancement-reversed"
    assert finding.excludes == (implausible == "exclude") == (tensor is None)
    assert record.status == ("stored" if implausible == "mark" else "excluded")


def test_a_new_patient_is_refused_or_warned_of(tmp_path: Path) -> None:
    images = patient(num_phases=3)
    (copied,) = read_cohort(cohort_of(tmp_path, images[[0, 1, 1]])).patients
    with pytest.raises(
        UnusablePatientError, match=r"phases-equal\): give each phase once"
    ) as refused:
        prepare(copied, CONFIG)
    assert isinstance(refused.value, InputError)
    (swapped,) = read_cohort(cohort_of(tmp_path, images[[1, 0, 2]])).patients
    assert codes(prepare(swapped, CONFIG).record.findings) == ["enhancement-reversed"]
