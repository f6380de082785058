"""Architecture × target under Ray Tune.

===============  =================================================================================
``config.py``    ``sweep.yaml`` to trials; `search.py` what is varied beside networks, targets and
                 seeds
``estimate.py``  what it will take; `resources.py` what a trial takes of the cluster
``run.py``       the sweep under Ray Tune
``optuna_search.py``  what is tried next
``trial.py``     what a trial does in its actor
``ladder.py``    who goes on and who stops; `scheduler.py` acts on it for Ray Tune
``optimism.py``  how much of the best score is luck
``book.py``      what the driver knows of its trials while they train
``folder.py``    what was tried, from storage alone; `progress.py` the same in numbers
``membership.py``  which trials an edited sweep has; `reuse.py` says so in words
``notice.py``    ends a sweep after a notice to stop
``verify.py``    whether a sweep's files are what was written
``report.py``    ``sweep.html``; `charts.py` its pictures
``promote.py``   from the best trials to models
===============  =================================================================================
"""
