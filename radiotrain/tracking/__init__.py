"""Show a run while it goes on: trackers, pictures and progress.

==================  ===================================================
``energy.py``       Energy used by a GPU
``mlflow.py``       MLflow tracker
``pictures.py``     Pictures of a run for trackers, and input gradients
``progress.py``     Progress within an epoch
``run_log.py``      Send a run's numbers and pictures to all trackers
``tensorboard.py``  TensorBoard tracker
``tracker.py``      Tracker interface, and an epoch's numbers by tag
==================  ===================================================
"""

from radiotrain.tracking.run_log import RunLog, check_show

__all__ = ["RunLog", "check_show"]
