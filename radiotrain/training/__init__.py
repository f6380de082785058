"""Train one network on one worker: steps, validation, losses, debugger.

================  ==================================================================================
``debug.py``      Debug mode: no Ray, one process, a few patients; breakpoints work, and it says
``defaults.py``   What a store suggests for a first run or sweep on it: targets, networks, sizes of
``loop.py``       The training loop: plain PyTorch, for one process or for one worker of a process
``losses.py``     The losses: class-weighted cross-entropy and focal loss, both skipping missing
``resources.py``  What a run will ask of its device: memory by counting, time by training on a few
``setup.py``      The network that is trained, made from the configuration, and its optimiser
``shown.py``      What is shown of a training while it goes on
``trainer.py``    One worker's share of a training: steps, validation, and its state in checkpoints
``validate.py``   Whether a configuration, a store and a split fit together: known before anything
================  ==================================================================================
"""
