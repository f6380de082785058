"""Against MLflow itself, where it is installed; it is no dependency of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.test_logs import measured, opened, tell

mlflow = pytest.importorskip("mlflow", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("default")


def client(folder: Path) -> Any:
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")


def only_run(folder: Path) -> Any:
    there = client(folder)
    experiment = there.get_experiment_by_name("radiotrain").experiment_id
    (run,) = there.search_runs([experiment])
    return run


def test_run_is_tracked_in_a_folder(tmp_path: Path) -> None:
    run_url, folder = str(tmp_path / "run"), tmp_path / "tracked"
    with opened(run_url, tensorboard=False, mlflow=str(folder)) as log:
        assert not log.wants_images(0)
        tell(log, 0)
        tell(log, 1)
        log.finish(measured(1), energy_joules=2100.0)
    run = only_run(folder)
    assert (run.info.run_name, run.info.status) == ("a-run", "FINISHED")
    assert run.data.params == {"targets": "ER, PR", "train.lr": "0.001", "seed": "0"}
    assert run.data.metrics["validation_auc/ER"] == 0.75
    assert run.data.metrics["run/energy_joules"] == 2100.0
    assert "validation_auc/PR" not in run.data.metrics
    pictures = client(folder).list_artifacts(run.info.run_id, "roc")
    assert [picture.path for picture in pictures] == ["roc/ER.png", "roc/PR.png"]


def test_resumed_run_goes_on_in_the_same_mlflow_run(tmp_path: Path) -> None:
    run_url, folder = str(tmp_path / "run"), tmp_path / "tracked"
    for first, last in ((0, 3), (2, 5)):
        with opened(run_url, first, tensorboard=False, mlflow=str(folder)) as log:
            for epoch in range(first, last):
                tell(log, epoch)
        assert only_run(folder).info.status == "KILLED"
    history = client(folder).get_metric_history(only_run(folder).info.run_id, "loss/train")
    assert [metric.step for metric in history] == [0, 1, 2, 3, 4]


def test_mlflow_run_that_was_deleted_is_begun_anew(tmp_path: Path) -> None:
    run_url = str(tmp_path / "run")
    for name in ("one", "other"):
        with opened(run_url, tensorboard=False, mlflow=str(tmp_path / name)) as log:
            tell(log, 0)
    first, second = only_run(tmp_path / "one"), only_run(tmp_path / "other")
    assert first.info.run_id != second.info.run_id
    assert Path(run_url, "mlflow_run_id").read_text().strip() == second.info.run_id


def test_server_that_is_away_does_not_end_a_run(tmp_path: Path) -> None:
    run_url = str(tmp_path / "run")
    with opened(run_url, tensorboard=False, mlflow="http://127.0.0.1:9") as log:
        with pytest.warns(UserWarning, match="MLflow could not be written .*training goes on"):
            tell(log, 0)
        tell(log, 1)
        log.finish(measured(1), energy_joules=None)


def test_numbers_wait_for_a_server_that_was_away(tmp_path: Path) -> None:
    folder = tmp_path / "tracked"
    with opened(str(tmp_path / "run"), tensorboard=False, mlflow=str(folder)) as log:
        (folder / "mlflow.db").mkdir()
        with pytest.warns(UserWarning, match="MLflow could not be written"):
            tell(log, 0)
        (folder / "mlflow.db").rmdir()
        tell(log, 1)
    history = client(folder).get_metric_history(only_run(folder).info.run_id, "lr")
    assert [metric.step for metric in history] == [0, 1]
