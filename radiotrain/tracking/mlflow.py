"""MLflow tracker.

It is given the configuration, the numbers and the ROC curves, but no pictures of patients: an
MLflow server is often run by somebody else.
"""

from __future__ import annotations

import importlib
import os
import re
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import InputError
from preprocessing.storage import files
from radiotrain.tracking.tracker import plain

_EXPERIMENT = "radiotrain"
_ID_FILE = "mlflow_run_id"
_LATEST_EPOCH = "loss/train"
_MOST_PARAMETERS = 100
_LONGEST_VALUE = 500
# A server that is away shall hold up an epoch by seconds. Its client tells its makers who uses it.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def check_mlflow() -> None:
    """Raise an `InputError` where MLflow is not installed."""
    if find_spec("mlflow") is None:
        raise InputError(
            "logging.mlflow is set but the package mlflow is not installed: pip install mlflow"
        )


class MlflowLog:
    """Tracks one run; a resumed run goes on in the same MLflow run.

    Parameters
    ----------
    run_url
        The run folder; the MLflow run's id is kept in it.
    run_name
        How it is called in MLflow.
    address
        ``http://…``, a database such as ``sqlite:///file.db``, or a folder, in which a database
        ``mlflow.db`` is made.
    parameters
        The configuration, flattened.
    """

    name = "MLflow"
    takes_patients = False

    def __init__(
        self, run_url: str, run_name: str, address: str, parameters: Mapping[str, object]
    ) -> None:
        check_mlflow()
        self._id_url, self._run_name = files.join(run_url, _ID_FILE), run_name
        self._address, self._artifacts = _tracking_address(address)
        self._parameters = parameters
        self._client: Any = None
        self._run_id = ""
        self._num_epochs_there = 0
        self._waiting: list[tuple[int, dict[str, float]]] = []
        self._is_finished = False

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take numbers; what a server that is away cannot take is kept for the next time."""
        self._waiting.append((epoch, dict(values)))

    def picture(self, tag: str, epoch: int, pixels: NDArray[np.uint8]) -> None:
        """Keep the newest picture of a tag, uint8 (height, width, 3)."""
        self._connect()
        self._client.log_image(self._run_id, pixels, artifact_file=f"{tag}.png")

    def flush(self) -> None:
        """Send what is waiting."""
        self._connect()
        while self._waiting:
            epoch, values = self._waiting[0]
            if epoch >= self._num_epochs_there:
                self._send(epoch, values)
            self._waiting.pop(0)

    def finish(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take the numbers of the whole run."""
        self.flush()
        self._send(epoch, values)
        self._is_finished = True

    def close(self) -> None:
        """Say how the run ended; one that did not finish can still be resumed."""
        if self._client is not None:
            status = "FINISHED" if self._is_finished else "KILLED"
            self._client.set_terminated(self._run_id, status)

    def _send(self, epoch: int, values: Mapping[str, float]) -> None:
        entities, now = importlib.import_module("mlflow.entities"), int(time.time() * 1000)
        metrics = [entities.Metric(_tag(k), v, now, epoch) for k, v in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def _connect(self) -> None:
        if self._client is not None:
            return
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        client = importlib.import_module("mlflow").MlflowClient(tracking_uri=self._address)
        self._run_id = self._find_run(client) or self._make_run(client)
        self._client = client

    def _find_run(self, client: Any) -> str | None:
        """Return the run that was begun there before, made to run again; None if there is none."""
        exceptions = importlib.import_module("mlflow.exceptions")
        try:
            run_id = files.read_text(self._id_url).strip()
            client.get_run(run_id)
        except FileNotFoundError:
            return None
        except exceptions.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        client.update_run(run_id, status="RUNNING")
        there = client.get_metric_history(run_id, _LATEST_EPOCH)
        self._num_epochs_there = max((metric.step + 1 for metric in there), default=0)
        return run_id

    def _make_run(self, client: Any) -> str:
        entities = importlib.import_module("mlflow.entities")
        run = client.create_run(self._experiment(client), run_name=self._run_name)
        run_id: str = run.info.run_id
        parameters = [
            entities.Param(name, str(value)[:_LONGEST_VALUE])
            for name, setting in self._parameters.items()
            if (value := plain(setting)) is not None
        ]
        for start in range(0, len(parameters), _MOST_PARAMETERS):
            client.log_batch(run_id, params=parameters[start : start + _MOST_PARAMETERS])
        files.write_text(self._id_url, run_id + "\n")
        return run_id

    def _experiment(self, client: Any) -> str:
        """Return the id of the experiment, which another run may be making at the same time."""
        exceptions = importlib.import_module("mlflow.exceptions")
        found = client.get_experiment_by_name(_EXPERIMENT)
        if found is None:
            try:
                return str(client.create_experiment(_EXPERIMENT, self._artifacts))
            except exceptions.MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(_EXPERIMENT)
        return str(found.experiment_id)


def _tracking_address(address: str) -> tuple[str, str | None]:
    """Return MLflow's own address, and where files go if it is not for the server to say.

    MLflow has given up plain folders; a database in the folder serves instead.
    """
    if "://" in address:
        return address, None
    folder = Path(address).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri()


def _tag(name: str) -> str:
    """Return a tag of the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)
