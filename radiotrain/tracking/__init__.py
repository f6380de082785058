"""Show a run while it goes on: trackers, pictures and progress.

==================  ================================================================================
``energy.py``       The energy that a device used, where it tells
``mlflow.py``       MLflow as a tracker, where the configuration asks for it
``pictures.py``     Pictures of a run for its trackers, as pixels
``progress.py``     Where in an epoch a run is: a bar on a terminal, a plain line now and then
``run_log.py``      What a run shows of itself while it goes on, to all trackers that the
``tensorboard.py``  TensorBoard events of a run
``tracker.py``      What a tracker of runs is told, whichever it is; and the numbers of an epoch
==================  ================================================================================
"""

from radiotrain.tracking.run_log import RunLog, check_show

__all__ = ["RunLog", "check_show"]
