"""Packages that each format needs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from preprocessing.common.errors import InputError
from radiotrain.export.description import Format

_NEEDED: Mapping[Format, tuple[str, ...]] = {
    "bundle": ("safetensors",),
    "safetensors": ("safetensors",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
}


def check_packages(form: Format) -> None:
    """Refuse a format whose packages are not installed.

    Raises
    ------
    InputError
        If one is missing.
    """
    missing = [name for name in _NEEDED[form] if find_spec(name) is None]
    if missing:
        several = len(missing) > 1
        raise InputError(
            f"format {form} needs the package{'s' * several} {', '.join(missing)}, which"
            f" {'are' if several else 'is'} not installed: run \"pip install 'radiotrain[export]'\""
        )
