"""A model by its address, whichever of the forms that models are kept in lies there."""

from __future__ import annotations

from preprocessing import files
from radiotrain.export.description import FILE_NAME
from radiotrain.new_patient.exported_model import load_exported_model
from radiotrain.new_patient.run_model import load_run_model
from radiotrain.new_patient.trained_model import TrainedModel


def open_model(url: str, device: str = "auto") -> TrainedModel:
    """Open a run, a model of ``radiotrain promote``, or an export of format safetensors.

    Raises
    ------
    MissingPathError, SchemaError, InputError
        If there is none of them, or it cannot predict: see `load_run_model`, `load_exported_model`.
    """
    if files.exists(files.join(files.absolute(url), FILE_NAME)):
        return load_exported_model(url, device)
    return load_run_model(url, device)
