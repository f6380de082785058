"""Baseline models and their nested cross-validation.

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
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from preprocessing.cohort.cohort import MISSING_LABEL
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

_INNER_PARTS = 3


@dataclass(frozen=True)
class NestedResult:
    """Models of the folds, and what each predicts of the patients it has not seen.

    Parameters
    ----------
    fitted
        Fold to its model; a fold that could not be trained is not in there.
    probabilities
        float64 (N,) out of fold; NaN for patients of a fold without a model.
    notes
        One clause for each fold left out.
    """

    fitted: dict[int, Fitted]
    probabilities: NDArray[np.float64]
    notes: tuple[str, ...]


def nested_cv(
    model: Model,
    x: NDArray[np.float64],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    seed: int = 0,
    on_fold: Callable[[], None] = lambda: None,
) -> NestedResult:
    """Fit a model for each fold on the other folds, settings chosen among those other folds.

    Parameters
    ----------
    x
        float64 (N, K), NaN for missing.
    labels
        (N,) of 0, 1 or -1; patients without a label are predicted but teach nothing.
    folds
        (N,) from 0.
    on_fold
        Called after each fold.
    """
    fitted: dict[int, Fitted] = {}
    probabilities = np.full(len(labels), np.nan)
    notes = []
    tuning = Tuning(model, x, labels, folds, seed)
    # Matrices this small are slower on several threads, and sums then depend on their number.
    with threadpool_limits(1):
        for fold in sorted({int(f) for f in folds}):
            rows = np.flatnonzero((folds != fold) & (labels != MISSING_LABEL))
            if has_both(labels[rows]):
                fitted[fold] = tuning.fit(rows)
                mine = folds == fold
                probabilities[mine] = fitted[fold].predict(x[mine])
            else:
                notes.append(
                    f"fold {fold} was left out, as the other folds have one class only among"
                    f" {len(rows)} known labels"
                )
            on_fold()
    return NestedResult(fitted, probabilities, tuple(notes))


class Tuning:
    """Fits a model to some patients, with settings that cross-validation among them chooses.

    Parameters
    ----------
    x
        float64 (N, K), NaN for missing.
    labels
        (N,) of 0 and 1 for all who are fitted to.
    folds
        (N,), the parts of the cross-validation.
    """

    def __init__(
        self,
        model: Model,
        x: NDArray[np.float64],
        labels: NDArray[np.int64],
        folds: NDArray[np.int64],
        seed: int,
    ) -> None:
        self._model = model
        self._x = x
        self._labels = labels
        self._folds = folds
        self._seed = seed
        self._fitted: dict[bytes, tuple[Fitted, ...]] = {}

    def fit(self, rows: NDArray[np.int64]) -> Fitted:
        """Fit to these patients, who must be of both classes."""
        return self._fit(rows, [self._choose(rows)])[0]

    def _fit(self, rows: NDArray[np.int64], grid: Sequence[Settings]) -> tuple[Fitted, ...]:
        return self._model.fit(self._x[rows], self._labels[rows], grid, self._seed)

    def _fit_each(self, rows: NDArray[np.int64]) -> tuple[Fitted, ...]:
        """Fit with each of the settings; once, though two folds leave each other out."""
        key = rows.tobytes()
        if key not in self._fitted:
            self._fitted[key] = self._fit(rows, self._model.grid)
        return self._fitted[key]

    def _choose(self, rows: NDArray[np.int64]) -> Settings:
        """Return the settings whose out-of-fold probabilities have the least log loss.

        The log loss of all patients together rather than the mean AUC over folds: on a few dozen
        patients a fold's AUC is mostly luck. Where no fold can be trained: the simplest.
        """
        parts = _inner_parts(self._labels[rows], self._folds[rows])
        truths: list[NDArray[np.int64]] = []
        predicted: list[NDArray[np.float64]] = []
        for part in np.unique(parts):
            train, held_out = rows[parts != part], rows[parts == part]
            if has_both(self._labels[train]):
                truths.append(self._labels[held_out])
                predicted.append(predict_each(self._fit_each(train), self._x[held_out]))
        if not truths:
            return self._model.grid[0]
        truth = np.concatenate(truths)
        losses = [log_loss(truth, p, labels=[0, 1]) for p in np.concatenate(predicted, axis=1)]
        # Of equal losses the first: the simplest.
        return self._model.grid[int(np.argmin(losses))]


def _inner_parts(labels: NDArray[np.int64], folds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the folds, or with one fold only, three parts dealt out within each class."""
    if len(np.unique(folds)) > 1:
        return folds
    parts = np.empty(len(labels), dtype=np.int64)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        parts[rows] = np.arange(len(rows)) % _INNER_PARTS
    return parts


def has_both(labels: NDArray[np.int64]) -> bool:
    """Tell whether there are two classes."""
    return len(np.unique(labels)) == 2
