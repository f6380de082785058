"""Two models of a few numbers: one straight, one that bends.

Axis legend: N patients, K features.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from radiotrain.evaluation.baselines.features import is_varied

Settings = Mapping[str, float]

# A ratio over a dark voxel can lie anywhere: beyond this many deviations it is as far as here.
_FARTHEST = 4.0


@dataclass(frozen=True)
class Model:
    """A kind of model, and the settings that nested cross-validation chooses from.

    Parameters
    ----------
    grid
        Simplest first: of equally good ones, the first is taken.
    build
        From one of `grid` and a seed to a scikit-learn classifier.
    prepare
        To a scikit-learn transformer, the same for all settings.
    """

    name: str
    grid: tuple[Settings, ...]
    build: Callable[[Settings, int], Any]
    prepare: Callable[[], Any]

    def fit(
        self, x: NDArray[np.float64], y: NDArray[np.int64], grid: Sequence[Settings], seed: int
    ) -> tuple[Fitted, ...]:
        """Fit each of some settings to the same patients.

        Parameters
        ----------
        x
            float64 (N, K), NaN for missing.
        y
            (N,) of 0 and 1, both present.
        """
        # Of a column that is missing in all of a fold's patients, nothing can be learnt.
        columns = is_varied(x)
        varied = bool(columns.any())
        # Once for all settings: of models this small, it takes as long as fitting one.
        transformer = self.prepare() if varied else FunctionTransformer()
        prepared = transformer.fit_transform(x[:, columns])
        fitted = []
        for settings in grid:
            classifier = self.build(settings, seed) if varied else DummyClassifier()
            with warnings.catch_warnings():
                # A model cut off at its last iteration is still one, and validation judges it.
                warnings.simplefilter("ignore", ConvergenceWarning)
                classifier.fit(prepared, y)
            fitted.append(Fitted(classifier, transformer, columns))
        return tuple(fitted)


@dataclass(frozen=True)
class Fitted:
    """A model that has learnt.

    Parameters
    ----------
    columns
        bool (K,): which features it reads.
    """

    classifier: Any
    transformer: Any
    columns: NDArray[np.bool_]

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability (N,) of label 1 from features (N, K)."""
        probabilities: NDArray[np.float64] = predict_each([self], x)[0]
        return probabilities


def predict_each(models: Sequence[Fitted], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities (M, N) of label 1 by M models that were fitted together."""
    if not len(x):
        return np.empty((len(models), 0))
    prepared = models[0].transformer.transform(x[:, models[0].columns])
    return np.array([model.classifier.predict_proba(prepared)[:, 1] for model in models])


def _prepare_logistic() -> Any:
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        FunctionTransformer(np.clip, kw_args={"a_min": -_FARTHEST, "a_max": _FARTHEST}),
    )


def _logistic(settings: Settings, seed: int) -> Any:
    return LogisticRegression(C=settings["C"], max_iter=1000, random_state=seed)


def _boosting(settings: Settings, seed: int) -> Any:
    return HistGradientBoostingClassifier(
        max_leaf_nodes=int(settings["leaves"]),
        max_iter=60,
        learning_rate=0.05,
        min_samples_leaf=10,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )


LOGISTIC = Model(
    "logistic", tuple({"C": c} for c in (0.001, 0.01, 0.1, 1.0)), _logistic, _prepare_logistic
)
# A tree needs no numbers filled in, and no scale.
BOOSTING = Model(
    "boosting", tuple({"leaves": n} for n in (2, 4, 8)), _boosting, FunctionTransformer
)
MODELS = (LOGISTIC, BOOSTING)
