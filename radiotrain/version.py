"""Version of radiotrain."""

__version__ = "0.1.0"
