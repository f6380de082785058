"""Sweeps: architecture × target under Ray Tune.

=========================  ===============================================================
``config.py``              Sweep configuration, search space and planned trials
``estimate.py``            Dry run: memory, time and fit of each trial, from timed steps
``folder.py``              Sweep folder: recorded trials and their states on disk
``halving.py``             Early stopping of trials: successive halving as pure functions
``membership.py``          Trials of a sweep: recorded ones and planned ones
``optuna_search.py``       Next trial of a sweep: planned first, then Optuna's suggestions
``progress.py``            Progress of a sweep, its score estimates and their optimism
``promote.py``             Promote the best trials to models for evaluation
``report.py``              ``sweep.html``: results of a sweep, with charts
``resources.py``           Workers, CPUs and GPU share of a trial
``reuse.py``               Describe what a resumed sweep will train
``run.py``                 Run or resume a sweep under Ray Tune
``successive_halving.py``  Scheduler for Ray Tune that applies the halving decisions
``sweep_state.py``         State of a running sweep in its driver
``trial.py``               Train one trial in its Ray actor, rung by rung
``verify.py``              Verify the files of a sweep
=========================  ===============================================================
"""
