"""A store becomes trained and tested networks, in plain PyTorch. Imports no Ray."""

__version__ = "0.1.0"
