"""Store to trained network: the loop, its losses, its checkpoints, its debugger.

======================  ==========================================================================
``loop.py``             the loop, for one process or one worker of several
``training.py``         one worker's share: steps, validation, state
``build.py``            network and optimiser, from the configuration
``covariate_start.py``  where late fusion starts
``losses.py``           the losses, and how much labels weigh
``options.py``          options that are not right together
``schedule.py``         the learning rate
``early_stopping.py``   when to stop
``length.py``           whether a run is over, and may be made longer
``metrics.py``          what is measured in an epoch, and how it is said
``checkpoint.py``       all that is needed to go on
``watch.py``            each step's loss, without making a GPU wait; `shown.py` what is shown
``sync_batch_norm.py``  batch norm over the global batch
``fits.py``             whether configuration, store and split fit together
``demand.py``           memory and time, before; `memory.py` what can be done when memory runs out
``debug.py``            one batch learnt by heart
======================  ==========================================================================
"""
