"""The public interface: imported when used, and documented in full."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys

import pytest
from pydantic import BaseModel

import radiotrain
from website.configuration import configuration_pages

NAMES = [name for name in radiotrain.__all__ if name != "__version__"]
_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)


def sections_of(value: object) -> dict[str, str]:
    """Return the sections of a NumPy docstring by title, the text before them by none."""
    parts = _SECTION.split(inspect.getdoc(value) or "")
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(section: str) -> set[str]:
    """Return the names that a section lists; a section of a class may be called Attributes."""
    names = re.findall(r"^(\w[\w, ]*?)(?: :.*)?$", section, re.MULTILINE)
    return {name.strip() for line in names for name in line.split(",")}


def test_the_package_is_imported_without_its_libraries():
    code = "import radiotrain, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "radiotrain" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "pandas", "zarr", "ray", "pydantic"})


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_found_and_documented(name):
    value = getattr(radiotrain, name)
    found = sections_of(value)
    assert len(found[""].strip().splitlines()[0]) <= 80
    if inspect.isclass(value):
        if dataclasses.is_dataclass(value):
            fields = {f.name for f in dataclasses.fields(value) if not f.name.startswith("_")}
            section = found.get("Parameters", found.get("Attributes", ""))
            assert documented(section) == fields
        return
    signature = inspect.signature(value)
    assert documented(found.get("Parameters", "")) == set(signature.parameters)
    returns_none = signature.return_annotation in (None, "None")
    assert ("Returns" in found) is not returns_none


@pytest.mark.parametrize("name", ["RunFolder", "Store"])
def test_methods_of_a_public_class_have_docstrings(name):
    cls = getattr(radiotrain, name)
    methods = inspect.getmembers(cls, inspect.isfunction)
    assert all(inspect.getdoc(m) for n, m in methods if not n.startswith("_"))


def test_a_configuration_describes_each_field():
    config = radiotrain.RunConfig
    assert issubclass(config, BaseModel)
    page = configuration_pages()["generated/run.md"]
    assert all(f"`{n}`" in page or f"## {n}" in page for n in config.model_fields)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = radiotrain.nothing
