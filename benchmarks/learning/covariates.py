"""What late fusion makes of covariates, and how much of a joint loss each target has.

    python -m benchmarks.learning covariates

Small networks are trained by `radiotrain.training` on simulated patients (4 of 5 folds train, one
validates) and judged by their AUC on other simulated patients. A covariate equals the label
(perfect), has an AUC of 0.65 (moderate), or is drawn at random (useless). Images are noise, or show
the label weakly. "before" starts the covariates' weights at 0, as versions without
`network.covariate_start` did.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from preprocessing.store import PatientRecord, PatientTensor, Store, StoreSpec, StoreWriter
from radiotrain.config.run_config import RunConfig, TrainConfig, parse_config
from radiotrain.distributed import Worker
from radiotrain.networks.fusion import call_network
from radiotrain.runs.predict_run import load_network
from radiotrain.split.split import Split, make_split, save_split
from radiotrain.training.loop import train
from radiotrain.training.losses import LossWeights, masked_losses
from radiotrain.training.trainer import Training

CROP = (8, 8, 4)
PHASES = 2
PREVALENCE = 0.35
NAMES = ("x",)
# Distance of the classes' means, in standard deviations, of an AUC of 0.65.
_MODERATE = 2**0.5 * NormalDist().inv_cdf(0.65)
_ARMS = ("images only", "before", "after")


@dataclass(frozen=True)
class Case:
    """A way of simulating patients.

    Parameters
    ----------
    signal
        How much brighter one phase is in positives, in standard deviations of a patient's mean.
    distance
        Of the covariate's class means, in its standard deviations; None where it is the label.
    """

    name: str
    signal: float
    distance: float | None


CASES = (
    Case("perfect, images noise", 0.0, None),
    Case("moderate, images noise", 0.0, _MODERATE),
    Case("useless, images show the label", 1.2, 0.0),
    Case("moderate, images show the label", 1.2, _MODERATE),
)


@dataclass(frozen=True)
class Patients:
    """Simulated patients: int labels (N,), float32 images (N, P, R, C, S), covariate (N,)."""

    labels: NDArray[np.int64]
    images: NDArray[np.float32]
    covariate: NDArray[np.float64]


def simulate(case: Case, num_patients: int, generator: np.random.Generator) -> Patients:
    """Draw patients."""
    labels = (generator.random(num_patients) < PREVALENCE).astype(np.int64)
    images = generator.normal(0, 1, (num_patients, PHASES, *CROP))
    # The first phase is what images are normalised by: what a network reads is in the second.
    shown = generator.normal(0, 0.3, num_patients) + 0.3 * case.signal * labels
    images[:, 1] += shown[:, None, None, None]
    covariate = generator.normal(0, 1, num_patients)
    covariate = (
        labels.astype(float) if case.distance is None else covariate + case.distance * labels
    )
    return Patients(labels, (100 + 10 * images).astype(np.float32), covariate)


def write_store(url: str, patients: Patients) -> Store:
    """Write simulated patients as a store."""
    spec = StoreSpec(
        patient_ids=tuple(f"P{i:04d}" for i in range(len(patients.labels))),
        targets=("ER",),
        labels=tuple((int(v),) for v in patients.labels),
        num_phases=PHASES,
        crop_shape=CROP,
    )
    writer = StoreWriter.create_or_resume(url, spec, {"radiotrain": "simulation"})
    for i, patient_id in enumerate(spec.patient_ids):
        covariates: dict[str, str | float | None] = {NAMES[0]: float(patients.covariate[i])}
        record = PatientRecord(i, patient_id, "stored", covariates=covariates)
        writer.write(record, PatientTensor(patients.images[i], np.zeros(CROP, dtype=np.uint8)))
    return writer.finish()


def run_values(store: str, split: str, out: str, seed: int, arm: str, epochs: int) -> RunConfig:
    """Return the configuration of one arm."""
    network = {"name": "ResNet10-narrow", "covariates": NAMES}
    if arm == "images only":
        del network["covariates"]
    else:
        network["covariate_start"] = "zero" if arm == "before" else "logistic"
    values = {
        "store": store,
        "split": split,
        "out": out,
        "seed": seed,
        "network": network,
        "train": {"epochs": epochs},
        "augment": {"enabled": False},
        "device": "cpu",
        "logging": {"tensorboard": False},
    }
    return parse_config(RunConfig, values, "simulation")


def test_logits(run_url: str, patients: Patients) -> NDArray[np.float64]:
    """Return a run's logits of patients that it has not seen."""
    trained = load_network(run_url)
    images = torch.from_numpy(patients.images)
    flat = images[:, 0].flatten(1)
    shape = (-1, 1, 1, 1, 1)
    images = (images - flat.mean(1).view(shape)) / flat.std(1, correction=0).view(shape)
    covariates = torch.empty(len(images), 0)
    if trained.encoder is not None:
        covariates = torch.from_numpy(trained.encoder.transform(_records(patients)))
    with torch.inference_mode():
        parts = [
            call_network(trained.network, images[i : i + 64], covariates[i : i + 64])
            for i in range(0, len(images), 64)
        ]
    return torch.cat(parts).numpy()[:, 0].astype(np.float64)


def _records(patients: Patients) -> list[PatientRecord]:
    return [
        PatientRecord(i, f"T{i}", "stored", covariates={NAMES[0]: float(value)})
        for i, value in enumerate(patients.covariate)
    ]


def one_seed(case: Case, seed: int, num_patients: int, epochs: int) -> dict[str, float]:
    """Return the test AUC of each arm, and of the logistic regression of the covariate."""
    generator = np.random.default_rng([seed, CASES.index(case)])
    patients = simulate(case, num_patients, generator)
    unseen = simulate(case, 500, generator)
    aucs: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(str(Path(folder) / "store"), patients)
        split = make_split(store, seed=seed, test_fraction=0.1)
        save_split(split, f"{folder}/splits.json")
        for number, arm in enumerate(_ARMS):
            config = run_values(
                store.url, f"{folder}/splits.json", f"{folder}/{number}", seed, arm, epochs
            )
            if arm == "after":
                aucs["logistic regression"] = _logistic_auc(config, store, split, unseen)
            train(config, reporter=lambda _: None)
            aucs[arm] = float(roc_auc_score(unseen.labels, test_logits(config.out, unseen)))
    return aucs


def _logistic_auc(config: RunConfig, store: Store, split: Split, unseen: Patients) -> float:
    """Return the AUC of what late fusion starts at: the images add nothing to it yet."""
    training = Training(config, Worker.single("cpu"), store, split)
    assert training.encoder is not None
    weights = dict(training.network.named_parameters())["linear.weight"].detach().numpy()
    return float(
        roc_auc_score(unseen.labels, training.encoder.transform(_records(unseen)) @ weights[0])
    )


def loss_shares() -> None:
    """Print which share of a joint loss each target has at chance level (logits of 0)."""
    generator = np.random.default_rng(0)
    labels = (generator.random((737, 3)) < (0.74, 0.65, 0.18)).astype(np.int8)
    print(f"\n{'shares of the joint loss':34s}" + "".join(f"{t:>8s}" for t in ("ER", "PR", "HER2")))
    for sampling in ("once", "balanced"):
        for rule in ("patients", "draws"):
            config = TrainConfig(sampling=sampling, class_weight_rule=rule)  # type: ignore[arg-type]
            # HER2 first, which is the target that is balanced.
            order = labels[:, ::-1].copy()
            drawn = LossWeights.of(order, config)
            rows = _epoch(order, sampling)
            losses = masked_losses(
                torch.zeros(rows.shape), torch.from_numpy(rows), torch.from_numpy(drawn.training)
            ).sum(0)
            shares = (losses / losses.sum()).tolist()[::-1]
            name = f"sampling {sampling}, {'before' if rule == 'patients' else 'after'}"
            print(f"{name:34s}" + "".join(f"{share:8.3f}" for share in shares))


def _epoch(labels: NDArray[np.int8], sampling: str) -> NDArray[np.int8]:
    from radiotrain.data.sampler import balanced_order

    return labels if sampling == "once" else labels[balanced_order(0, 0, labels[:, 0])]


def main(argv: list[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--patients", type=int, default=165, help="a tenth of them are left out")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--case", type=int, nargs="*", help="numbers of cases, from 0")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    names = ("logistic regression", *_ARMS)
    print(f"{'test AUC, mean ± sd':34s}" + "".join(f"{name:>22s}" for name in names))
    for number, case in enumerate(CASES):
        if given.case is not None and number not in given.case:
            continue
        found = [one_seed(case, seed, given.patients, given.epochs) for seed in range(given.seeds)]
        cells = []
        for name in names:
            values = [aucs[name] for aucs in found]
            cells.append(f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}")
        print(f"{case.name:34s}" + "".join(f"{cell:>22s}" for cell in cells), flush=True)
    loss_shares()
