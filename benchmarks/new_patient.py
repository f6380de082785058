"""Seconds of one new patient: from 640 DICOM files of full size to page, JSON and SR.

``python -m benchmarks.new_patient [NETWORK]``; the network's weights are random, which costs the same.
CPU seconds count all cores; with other work on the machine they say more than the clock does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from radiotrain.config.run_config import AugmentConfig
from radiotrain.inference.model import Member, TrainedModel
from radiotrain.inference.operating_point import no_rule
from radiotrain.inference.out_of_range import TrainingImages
from radiotrain.inference.predict_patient import Asked, examine
from radiotrain.inference.prepare import Region, prepare, read_patient
from radiotrain.inference.probability import ask
from radiotrain.inference.saliency import look
from radiotrain.networks.registry import build_network
from radiotrain.runs.predict_run import TrainedNetwork

_MODULES = "import radiotrain.inference.predict_patient, radiotrain.inference.structured_report"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", nargs="?", default="SEResNet50")
    network = parser.parse_args().network
    print(f"{network}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    print(f"load on the machine before: {os.getloadavg()[0]:.1f}")
    print("| step | s | CPU s |\n|---|---|---|")
    with _timed("start of the process, with its modules"):
        subprocess.run([sys.executable, "-c", _MODULES], check=True)
    with tempfile.TemporaryDirectory() as place:
        cohort = Path(place) / "cohort"
        write_phantom(cohort, PhantomSettings(patients=1, matrix=512, slices=160), workers=1)
        (found,) = read_cohort(cohort).patients
        assert found.examination is not None
        folder, region = found.examination.folder, Region(box=found.box)
        with _timed("network built"):
            model = _model(network)
        # Caches warm, as after the first patient of several.
        prepare(read_patient(folder, region), model.preprocessing)
        with _timed("images to tensor"):
            patient = prepare(read_patient(folder, region), model.preprocessing)
        images = patient.images()
        with _timed("prediction, the image and one changed view"):
            given = ask(model, images, patient.record, 1)
        with _timed("map, one step"):
            look(model, 0, images, patient, 1, given[:, 0, 0])
        asked = Asked((model,), 1, 1, None)
        with _timed("the whole patient, page, JSON and SR"):
            examine(read_patient(folder, region), asked, str(Path(place) / "out"))
    print(f"load after: {os.getloadavg()[0]:.1f}")


def _model(name: str) -> TrainedModel:
    settings = PreprocessConfig()
    torch.manual_seed(0)
    network = build_network(name, settings.num_phases, 1, settings.crop_shape).eval()
    network.requires_grad_(False)
    return TrainedModel(
        name="benchmark",
        members=(Member(TrainedNetwork(network, None), AugmentConfig(), 0, "auto"),),
        rules=(no_rule("ER", "nothing was trained"),),
        preprocessing=settings,
        images=TrainingImages(0, {}, {}, "extremes"),
        examinations=None,
        store_fingerprint="none",
        about="random weights",
        digest="none",
        device=torch.device("cpu"),
    )


@contextmanager
def _timed(step: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    yield
    print(f"| {step} | {time.perf_counter() - wall:.1f} | {sum(os.times()[:4]) - cpu:.1f} |")


if __name__ == "__main__":
    main()
