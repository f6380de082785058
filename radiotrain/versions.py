"""What software a run was made with."""

from __future__ import annotations

import platform
from importlib import metadata

_PACKAGES = ("radiotrain", "torch", "monai", "numpy", "zarr", "pandas", "scikit-learn")


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a run's numbers."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
