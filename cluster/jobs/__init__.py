"""Scripts for ``ray submit`` and ``ray job submit``: the command line's own commands, on Ray."""
