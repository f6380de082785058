"""What is shown of a run while it goes on.

===================  ================================================================
``run_log.py``       what a run shows, to all trackers
``tracker.py``       what a tracker is told; `tensorboard.py` and `mlflow.py` are two
``event_file.py``    a file of TensorBoard's
``metrics_file.py``  ``metrics.jsonl``
``heartbeat.py``     where in an epoch a run is
``pictures.py``      pictures for trackers; `saliency.py` where a network looks
``energy.py``        what the device used
===================  ================================================================
"""

from radiotrain.logs.run_log import RunLog, check_show

__all__ = ["RunLog", "check_show"]
