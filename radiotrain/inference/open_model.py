"""Open a model by its address."""

from __future__ import annotations

from collections.abc import Sequence

from preprocessing.storage import files
from radiotrain.export.description import FILE_NAME
from radiotrain.inference.exported_model import load_exported_model
from radiotrain.inference.model import TrainedModel
from radiotrain.inference.run_model import load_run_models


def open_models(urls: Sequence[str], device: str = "auto") -> tuple[TrainedModel, ...]:
    """Open runs, models of ``radiotrain promote``, and exports of format safetensors.

    Several runs of one configuration, such as the folds of a cross-validation, are one model: their mean.

    Raises
    ------
    MissingPathError, SchemaError, InputError
        If there is none of them, or it cannot predict: see `load_run_models`, `load_exported_model`.
    """
    exports = [url for url in urls if files.exists(files.join(files.absolute(url), FILE_NAME))]
    runs = [url for url in urls if url not in exports]
    return (*load_run_models(runs, device), *(load_exported_model(url, device) for url in exports))


def load_model(url: str, device: str = "auto") -> TrainedModel:
    """Open one trained model.

    Parameters
    ----------
    url
        A run folder, a folder of ``radiotrain promote``, or an export of format safetensors.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    The model, with its networks on the device.

    Raises
    ------
    MissingPathError, SchemaError, InputError
        If there is no model at `url`, or it cannot predict.
    """
    (model,) = open_models([url], device)
    return model
