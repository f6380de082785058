"""Train one network on one worker: steps, validation, losses, debugger.

===================  ======================================================
``debug.py``         Debug mode: one process, a few patients, breakpoints
``defaults.py``      Suggested settings for a store
``loop.py``          Training loop for one process or one DDP worker
``losses.py``        Losses that skip missing labels
``resources.py``     Memory and time of a run, counted and measured
``run_reporter.py``  Report the progress of a training
``setup.py``         Network and optimiser from the configuration
``trainer.py``       Steps, validation and state of one worker
``validate.py``      Check that configuration, store and split fit together
===================  ======================================================
"""
