"""Command of a bundle: predict crops.

Needs torch alone: bundles carry this file with them, as MONAI's own evaluator would need ignite.

Axis legend: B patients, P phases, R rows, C columns, S slices, T targets.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class CropEvaluator:
    """What MONAI's workflow calls the evaluator: `run` does the work.

    Parameters
    ----------
    batches
        Each with ``image``, float32 (B, P, R, C, S), and ``path``, B names of files.
    inferer
        From images and network to logits (B, T).
    postprocessing
        From ``pred``, logits, to ``pred``, probabilities.
    targets
        Names of the T columns.
    output_dir
        Gets ``predictions.csv``: a line a crop, its file's name and a probability a target.
    """

    def __init__(
        self,
        batches: Iterable[Mapping[str, Any]],
        network: nn.Module,
        inferer: Callable[[Tensor, nn.Module], Tensor],
        postprocessing: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
        device: torch.device,
        targets: Sequence[str],
        output_dir: str,
    ) -> None:
        self.batches, self.network, self.inferer = batches, network, inferer
        self.postprocessing, self.device, self.targets = postprocessing, device, targets
        self.output_dir = Path(output_dir)

    def run(self) -> None:
        """Predict all crops, then write the table."""
        self.network.eval()
        rows = []
        with torch.inference_mode():
            for batch in self.batches:
                logits = self.inferer(batch["image"].to(self.device), self.network)
                found = self.postprocessing({"pred": logits})["pred"].tolist()
                names = [Path(path).name for path in batch["path"]]
                rows += [[name, *values] for name, values in zip(names, found, strict=True)]
        self.output_dir.mkdir(parents=True, exist_ok=True)
        with (self.output_dir / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["crop", *self.targets], *rows])
