"""Sweeps: architecture × target under Ray Tune.

=========================  =========================================================================
``config.py``              What a sweep tries: its configuration, and the trials that come of it
``estimate.py``            What a sweep will take, before it is begun: each trial's memory and
``folder.py``              A sweep's folder: what was tried and how far each trial is, known from
``halving.py``             Who goes on and who stops: successive halving among the trials of one
``membership.py``          Which trials a sweep has: those that its folder holds already, and those
``optuna_search.py``       What a sweep tries next: what is planned and not yet begun, then what
``progress.py``            How far a sweep is, in numbers, from its folder alone: its cluster need
``promote.py``             From a sweep's best trials to models ready for evaluation, whose test
``report.py``              ``sweep.html``: what a sweep tried and found, in one file that needs
``resources.py``           What a trial takes of the cluster: a whole worker or several, or a share
``reuse.py``               What a sweep that was begun will train, in words: what is done, goes on
``run.py``                 A sweep under Ray Tune. The run folders are the truth: running again
``successive_halving.py``  The ladder as a scheduler of Ray Tune: acts on verdicts, decides nothing
``sweep_state.py``         What the driver of a sweep knows of its trials while they train; it acts
``trial.py``               What a trial does in its actor: trains from rung to rung, and reports
``verify.py``              Whether the files of a sweep's own are what was written, and its runs
=========================  =========================================================================
"""
