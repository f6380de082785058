"""What a sweep varies beside architectures, targets and seeds: any field of a run's configuration.

Every combination of the `grid` values is tried; all others are drawn. A draw depends on the sweep's
search seed, the field and the sample's number alone: each architecture and target is given the same
settings, so that they are compared on equal terms, and another field changes nobody's values.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from radiotrain.config import FIRST_NAMES, Section


class Distribution(Section):
    """Where a field's values come from: exactly one of these."""

    grid: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """Each of these values, with each combination of the other grids."""
    choice: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """One of these values, each as likely."""
    uniform: tuple[float, float] | None = None
    """A number from the first to the second."""
    loguniform: tuple[float, float] | None = None
    """The same, each factor as likely as another: for learning rates and the like."""
    integer: tuple[int, int] | None = None
    """A whole number from the first to the second, both included."""

    @model_validator(mode="after")
    def _is_one(self) -> Distribution:
        kinds = self.model_dump(exclude_none=True)
        if len(kinds) != 1:
            raise ValueError(
                f"got {', '.join(kinds) or 'nothing'}, expected exactly one of"
                f" {', '.join(type(self).model_fields)}"
            )
        for name in ("uniform", "loguniform", "integer"):
            bounds = getattr(self, name)
            if bounds is not None and not bounds[0] < bounds[1]:
                raise ValueError(f"{name} is {list(bounds)}, expected the smaller one first")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError(f"loguniform is {list(self.loguniform)}, expected positive bounds")
        return self

    @property
    def values(self) -> tuple[Any, ...] | None:
        """The values there are to choose from; None where they are numbers in a range."""
        return self.grid if self.grid is not None else self.choice

    def contains(self, value: Any) -> bool:
        """Tell whether a value, as a run's configuration has it, is one of these."""
        if self.values is not None:
            return any(_is_same(value, one) for one in self.values)
        if self.integer is not None and isinstance(value, float) and not value.is_integer():
            return False
        bounds = self.integer or self.uniform or self.loguniform
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and bounds is not None and bounds[0] <= value <= bounds[1]

    def position(self, value: Any) -> int:
        """Return where a value stands among those there are to choose from."""
        assert self.values is not None
        return next(i for i, one in enumerate(self.values) if _is_same(value, one))

    def draw(self, generator: np.random.Generator) -> Any:
        """Draw a value; not of a grid."""
        if self.choice is not None:
            return self.choice[int(generator.integers(len(self.choice)))]
        if self.integer is not None:
            return int(generator.integers(self.integer[0], self.integer[1] + 1))
        if self.uniform is not None:
            return float(generator.uniform(*self.uniform))
        assert self.loguniform is not None
        low, high = map(math.log, self.loguniform)
        return float(math.exp(generator.uniform(low, high)))


def _is_same(one: Any, other: Any) -> bool:
    """Compare values as YAML and JSON have them, where lists and tuples are the same."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other)


def combinations(search: Mapping[str, Distribution]) -> list[dict[str, Any]]:
    """Return every combination of the grids' values, by dotted key; an empty one where there are none."""
    grids = {key: d.grid for key, d in search.items() if d.grid is not None}
    return [dict(zip(grids, values, strict=True)) for values in product(*grids.values())]


def draw_settings(search: Mapping[str, Distribution], number: int, seed: int) -> dict[str, Any]:
    """Draw a value for each field that has no grid.

    Parameters
    ----------
    number
        Of the sample, from 0.
    """
    return {
        key: d.draw(_generator(seed, key, number)) for key, d in search.items() if d.grid is None
    }


def _generator(seed: int, key: str, sample: int) -> np.random.Generator:
    name = FIRST_NAMES.get(key, key)
    return np.random.default_rng([seed, zlib.crc32(name.encode()), sample])
