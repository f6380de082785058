"""What a sweep varies beside architectures, targets and seeds: any field of a run's configuration.

Every combination of the `grid` values is tried; all others are drawn. A draw depends on the sweep's
search seed, the field and the sample's number alone: each architecture and target is given the same
settings, so that they are compared on equal terms, and another field changes nobody's values.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from radiotrain.config import Section


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


def settings(
    search: Mapping[str, Distribution], num_samples: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Return every combination of the grids, each with `num_samples` draws of the rest.

    Parameters
    ----------
    search
        Distributions by dotted key, such as ``train.lr``.

    Yields
    ------
    Values by dotted key; one empty mapping where nothing is searched.
    """
    grids = {key: d.grid for key, d in search.items() if d.grid is not None}
    drawn = {key: d for key, d in search.items() if d.grid is None}
    for values in product(*grids.values()):
        for sample in range(num_samples):
            yield {
                **dict(zip(grids, values, strict=True)),
                **{key: d.draw(_generator(seed, key, sample)) for key, d in drawn.items()},
            }


def _generator(seed: int, key: str, sample: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(key.encode()), sample])
