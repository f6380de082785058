"""``sweep.html``: results of a sweep, with charts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cluster.sweep.config import Distribution, SweepConfig
from cluster.sweep.folder import TrialSummary, ladder_of
from cluster.sweep.halving import Rung, score_at
from cluster.sweep.progress import (
    SweepProgress,
    TrialProgress,
    describe_optimism,
    measure,
    read_standings,
)
from preprocessing.common.page import data_uri, figure_svg, make_environment
from preprocessing.storage import files
from radiotrain.config.run_config import RunConfig
from radiotrain.runs.epoch_metrics import human_time, mean_defined
from radiotrain.version import __version__

INK = "#1c2733"
_GREY = "#8a929b"
_OTHERS = "#c3c9d0"
_STOPPED = "#a12828"
# The best three, told apart by people who see colours differently too.
BEST = ("#1f5f99", "#b3541e", "#1d7a46")
_STYLE: Any = {"svg.hashsalt": "radiotrain", "font.size": 10, "axes.edgecolor": _GREY}
_LONGEST_LABEL = 16
# Of the room that a word has on its axis.
_SPREAD = 0.55


@dataclass(frozen=True)
class Curve:
    """What one trial learned.

    Parameters
    ----------
    place
        Among its group's, from 1; None before its first rung.
    points
        (epoch, AUC) in the order of training; folds follow one another.
    status
        As in `cluster.sweep.folder.TrialSummary`.
    """

    place: int | None
    points: tuple[tuple[float, float], ...]
    status: str


@dataclass(frozen=True)
class Dimension:
    """An axis of the parallel coordinates.

    Parameters
    ----------
    values
        One a trial: numbers, or words where `words` lists them.
    words
        All words there are, from the bottom up; none for numbers.
    """

    label: str
    values: tuple[Any, ...]
    words: tuple[str, ...] = ()
    is_log: bool = False

    def place(self, value: Any) -> float:
        """Return where a value lies, from 0 to 1."""
        if self.words:
            return (self.words.index(value) + 0.5) / len(self.words)
        low, high = self._scaled(min(self.values)), self._scaled(max(self.values))
        return 0.5 if low == high else (self._scaled(value) - low) / (high - low)

    def heights(self, order: Sequence[int]) -> dict[int, float]:
        """Return where each trial's line goes; those of one word side by side, not on each other.

        Parameters
        ----------
        order
            Positions of the trials, from the bottom up.
        """
        found = {}
        for i in order:
            same = [j for j in order if self.values[j] == self.values[i]] if self.words else [i]
            spread = (same.index(i) + 0.5) / len(same) - 0.5
            found[i] = self.place(self.values[i]) + spread * _SPREAD / max(1, len(self.words))
        return found

    def ticks(self) -> list[tuple[float, str]]:
        """Return (place, text) of what is written beside it."""
        if self.words:
            return [(self.place(word), _short(word)) for word in self.words]
        low, high = min(self.values), max(self.values)
        middle = math.sqrt(low * high) if self.is_log else (low + high) / 2
        return [(self.place(v), f"{v:.3g}") for v in dict.fromkeys((low, middle, high))]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.is_log else float(value)


def score_colours() -> Colormap:
    """Return the colours of scores, the darker the better; white text can be read on the darkest."""
    return LinearSegmentedColormap.from_list("score", ["#c9d8e4", "#7fb0d3", "#1f5f99", "#0b2e52"])


def curves_svg(curves: Sequence[Curve], rungs: Sequence[int], last_epoch: int) -> str:
    """Draw learning curves, where trials were stopped, and the rungs where they were compared.

    Parameters
    ----------
    rungs
        Epochs after which trials are compared.
    last_epoch
        Of all folds together.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.5, color=_GREY, linewidth=1, linestyle=(0, (4, 4)))
        for epoch in rungs:
            axes.axvline(epoch, color="#c8d0d8", linewidth=1.2, zorder=0)
        # The best last, above the others.
        for curve in sorted(curves, key=lambda c: -(c.place or len(curves) + 1)):
            if curve.points:
                _draw_curve(axes, curve)
        axes.set_xlim(0, last_epoch * 1.06)
        axes.set_xlabel("epochs trained")
        axes.set_ylabel("validation AUC")
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure_svg(figure)


def parallel_svg(dimensions: Sequence[Dimension], scores: Sequence[float]) -> str:
    """Draw parallel coordinates: a line a trial, from its settings to its score.

    Parameters
    ----------
    dimensions
        The settings, the score's own axis not among them.
    scores
        One a trial.
    """
    axis = Dimension("score", tuple(scores))
    columns = [*dimensions, axis]
    norm, colours = Normalize(min(scores), max(scores)), score_colours()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(max(4.6, 1.6 * len(columns)), 3.2), layout="constrained")
        axes = figure.add_subplot()
        best = max(range(len(scores)), key=scores.__getitem__)
        order = sorted(range(len(scores)), key=scores.__getitem__)
        for i in order:
            heights = [column.heights(order)[i] for column in columns]
            axes.plot(
                range(len(columns)), heights, color=colours(float(norm(scores[i]))), alpha=0.9,
                linewidth=3 if i == best else 1.6, solid_joinstyle="round",
            )  # fmt: skip
        for x, column in enumerate(columns):
            axes.axvline(x, color=INK, linewidth=1)
            for height, text in column.ticks():
                _annotate(axes, x, height, text, is_last=column is axis)
        axes.set_xlim(-0.1, len(columns) - 0.6)
        axes.set_ylim(-0.06, 1.06)
        labels = [column.label.replace(".", ".\n") for column in columns]
        axes.set_xticks(range(len(columns)), labels)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        return figure_svg(figure)


def _draw_curve(axes: Axes, curve: Curve) -> None:
    is_best = curve.place is not None and curve.place <= len(BEST)
    colour = BEST[curve.place - 1] if curve.place is not None and is_best else _OTHERS
    x, y = zip(*curve.points, strict=True)
    axes.plot(x, y, color=colour, linewidth=2.2 if is_best else 1.1)
    if curve.status in ("stopped", "failed"):
        axes.plot(x[-1], y[-1], "x", color=_STOPPED, markersize=7, markeredgewidth=1.8)
    elif curve.status == "finished":
        axes.plot(x[-1], y[-1], "o", color=colour, markersize=6.5, markeredgecolor="white")
    if is_best:
        axes.annotate(
            str(curve.place), (x[-1], y[-1]), (6, 0), textcoords="offset points", va="center",
            color=colour, fontweight="bold",
        )  # fmt: skip


def _annotate(axes: Axes, x: int, height: float, text: str, *, is_last: bool) -> None:
    axes.annotate(
        text, (x, height), (5, 0), textcoords="offset points", va="center", fontsize=8.5,
        color=INK, fontweight="bold" if is_last else "normal", annotation_clip=False, parse_math=False,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
    )  # fmt: skip


def _short(word: str) -> str:
    return word if len(word) <= _LONGEST_LABEL else f"{word[: _LONGEST_LABEL - 1]}…"


REPORT_NAME = "sweep.html"
# With fewer, what looks important is mostly luck.
_FEWEST_FOR_IMPORTANCE = 8
_NETWORK, _SEED = "network", "seed"


@dataclass(frozen=True)
class Importance:
    """How much of the scores' differences each parameter accounts for, most first; or why not."""

    shares: tuple[tuple[str, float], ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Section:
    """One target as the template shows it."""

    group: str
    trials: tuple[TrialProgress, ...]
    words: str
    curves: str | None
    parallel: str | None
    importance: Importance


@dataclass(frozen=True)
class Cell:
    """The best trial of a network and target; colours as CSS."""

    trial: TrialProgress
    colour: str
    ink: str


def write_sweep_report(sweep_url: str, out_url: str | None = None) -> str:
    """Write a sweep's report; it may be written at any time, and again.

    Parameters
    ----------
    sweep_url
        The sweep's folder.
    out_url
        File to write; by default ``sweep.html`` in that folder.

    Returns
    -------
    Where it is.

    Raises
    ------
    MissingPathError
        If there is no sweep.
    """
    sweep, found, left_out = read_standings(sweep_url)
    url = files.absolute(out_url or files.join(files.absolute(sweep_url), REPORT_NAME))
    files.write_text(url, render_report(sweep, found, left_out))
    return url


def render_report(
    sweep: SweepConfig, found: Sequence[TrialSummary], left_out: Mapping[str, str] | None = None
) -> str:
    """Return the page."""
    progress = measure(sweep, found, left_out)
    filters: dict[str, Any] = {
        "uri": lambda svg: data_uri(svg.encode()),
        "value": _value,
        "human_time": human_time,
        "at": _position,
    }
    environment = make_environment(jinja2.PackageLoader("cluster.sweep", ""), filters)
    sections = [
        _section(sweep, group, trials, [s for s in found if s.plan.group == group])
        for group, trials in progress.groups.items()
    ]
    return environment.get_template("report.html.j2").render(
        version=__version__,
        sweep=sweep,
        progress=progress,
        sections=sections,
        networks=sweep.networks,
        cells=_cells(progress),
        searched=[(key, _describe(key), _said(d)) for key, d in sweep.search.items()],
        best_colours=BEST,
    )


def parameter_importance(sweep: SweepConfig, found: Sequence[TrialSummary]) -> Importance:
    """Return the importance of network, seed and searched fields in one group.

    By fANOVA: a forest learns the score at the first rung, where all trials of a group are alike,
    and its variance is shared out among the parameters. Interactions are left out.

    References
    ----------
    Hutter, Hoos, Leyton-Brown, "An efficient approach for assessing hyperparameter importance",
    ICML 2014.
    """
    # Loaded only by those who ask: it takes a second.
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    schedule = ladder_of(sweep)
    scored = [
        (summary, score)
        for summary in found
        if (score := _score(summary, schedule.rungs[0], schedule.smooth_epochs)) is not None
    ]
    varied = [d for d in _dimensions(sweep, [s for s, _ in scored]) if len(set(d.values)) > 1]
    if len(scored) < _FEWEST_FOR_IMPORTANCE:
        return Importance(
            reason=f"too few trials to say: {len(scored)} have reached the first comparison,"
            f" at least {_FEWEST_FOR_IMPORTANCE} are needed"
        )
    if len(varied) < 2:
        return Importance(reason="nothing to compare: fewer than two things were varied")
    if len({score for _, score in scored}) == 1:
        return Importance(reason="nothing to explain: all trials have the same score")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    distributions = {d.label: _optuna_distribution(d) for d in varied}
    for i, (_, score) in enumerate(scored):
        values = {
            d.label: d.words.index(d.values[i]) if d.words else float(d.values[i]) for d in varied
        }
        study.add_trial(
            optuna.create_trial(params=values, distributions=distributions, value=score)
        )
    found_shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return Importance(tuple((name, float(share)) for name, share in found_shares.items()))


def _section(
    sweep: SweepConfig, group: str, trials: Sequence[TrialProgress], found: Sequence[TrialSummary]
) -> Section:
    places = {trial.name: trial.rank for trial in trials}
    scored = [t for t in trials if t.score is not None]
    by_name = {summary.plan.name: summary for summary in found}
    dimensions = _dimensions(sweep, [by_name[t.name] for t in scored])
    is_varied = any(len(set(d.values)) > 1 for d in dimensions)
    curves = [_curve(sweep, s, places[s.plan.name]) for s in found]
    return Section(
        group=group,
        trials=tuple(trials),
        words=_words(group, trials),
        curves=curves_svg(curves, *_rungs(sweep)) if any(c.points for c in curves) else None,
        parallel=parallel_svg(dimensions, [t.score for t in scored if t.score is not None])
        if is_varied
        else None,
        importance=parameter_importance(sweep, found),
    )


def _words(group: str, trials: Sequence[TrialProgress]) -> str:
    """Return what a group's trials say, as one would tell it."""
    ranked = [t for t in trials if t.score is not None]
    if not ranked:
        return f"No trial for {group} has reached its first comparison yet."
    best = ranked[0]
    stopped = sum(t.status == "stopped" for t in trials)
    finished = sum(t.status == "finished" for t in trials)
    settings = ", ".join(f"{key} {_value(value)}" for key, value in best.settings.items())
    text = (
        f"{len(trials)} trials{'' if finished + stopped == len(trials) else ' so far'}: {finished} trained to the end, {stopped} stopped because"
        f" others did better. The best is {best.network}{f' with {settings}' if settings else ''}."
    )
    for estimate in best.aucs:
        text += f" On {estimate.num_patients} validation patients its AUC for {estimate.target} is"
        text += f" {estimate.auc:.2f}"
        if estimate.low is None or estimate.high is None:
            text += "."
            continue
        text += f" (95 % CI {estimate.low:.2f} to {estimate.high:.2f})."
        if estimate.low <= 0.5:
            text += " That interval holds 0.5: it may be no better than chance."
    text += _optimism_words(best, len(ranked))
    if len(ranked) > 1 and _overlap(best, ranked[1]):
        text += (
            " The interval of the second best overlaps: which of them is better is not settled by"
            " so few patients."
        )
    return text


def _optimism_words(best: TrialProgress, num_compared: int) -> str:
    """Return what is expected of the best trial on new patients."""
    if best.score is None or not best.optimism:
        return ""
    return " " + describe_optimism(best.score, best.optimism, num_compared)


def _overlap(one: TrialProgress, other: TrialProgress) -> bool:
    pairs = zip(one.aucs, other.aucs, strict=False)
    return any(a.low is not None and b.high is not None and a.low <= b.high for a, b in pairs)


def _curve(sweep: SweepConfig, summary: TrialSummary, place: int | None) -> Curve:
    """Return a trial's curve, each epoch the mean that the schedule compares."""
    points: list[tuple[float, float]] = []
    for number, history in enumerate(summary.state.histories):
        if points:
            # Each fold begins anew: no line from one to the next.
            points.append((number * sweep.train.epochs, math.nan))
        aucs = [m.validation_auc for m in history]
        for epoch in range(1, len(aucs) + 1):
            value = mean_defined(aucs[max(0, epoch - sweep.halving.smooth_epochs) : epoch])
            if not math.isnan(value):
                points.append((number * sweep.train.epochs + epoch, value))
    return Curve(place, tuple(points), summary.status)


def _rungs(sweep: SweepConfig) -> tuple[list[int], int]:
    rungs = ladder_of(sweep).rungs
    compared = [rung.fold * sweep.train.epochs + rung.epochs for rung in rungs[:-1]]
    return compared, len(sweep.folds) * sweep.train.epochs


def _score(summary: TrialSummary, rung: Rung, smooth_epochs: int) -> float | None:
    score = score_at(summary.state.trial_curve().folds, rung, smooth_epochs)
    return score if score is not None and score >= 0 else None


def _dimensions(sweep: SweepConfig, found: Sequence[TrialSummary]) -> list[Dimension]:
    """Return what trials may differ in, with the trials' values."""
    runs = [summary.plan.run for summary in found]
    dimensions = [Dimension(_NETWORK, tuple(r.network.name for r in runs), sweep.networks)]
    if len(sweep.seeds) > 1:
        words = tuple(str(seed) for seed in sweep.seeds)
        dimensions.append(Dimension(_SEED, tuple(str(r.seed) for r in runs), words))
    for key, distribution in sweep.search.items():
        values = [summary.plan.searched[key] for summary in found]
        choices = distribution.values
        if choices is None:
            is_log = distribution.loguniform is not None
            dimensions.append(Dimension(key, tuple(values), is_log=is_log))
        else:
            words = tuple(dict.fromkeys(_value(choice) for choice in choices))
            dimensions.append(Dimension(key, tuple(_value(v) for v in values), words))
    return dimensions


def _optuna_distribution(dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if dimension.words:
        return CategoricalDistribution(tuple(range(len(dimension.words))))
    low, high = float(min(dimension.values)), float(max(dimension.values))
    return FloatDistribution(low, high, log=dimension.is_log)


def _cells(progress: SweepProgress) -> dict[tuple[str, str], Cell]:
    """Return the best trial of each network and target; trials are in order within their group."""
    best: dict[tuple[str, str], TrialProgress] = {}
    for trial in progress.trials:
        if trial.score is not None:
            best.setdefault((trial.network, trial.group), trial)
    colours = score_colours()
    cells = {}
    for key, trial in best.items():
        assert trial.score is not None
        # From chance to perfect, so that colours mean the same in every sweep.
        share = min(1.0, max(0.0, 2 * trial.score - 1))
        cells[key] = Cell(trial, to_hex(colours(share)), "#fff" if share > 0.5 else "#1c2733")
    return cells


def _describe(key: str) -> str:
    """Return what a run's configuration says of a field."""
    section, _, name = key.partition(".")
    model: Any = RunConfig.model_fields[section].annotation
    return str(model.model_fields[name].description or "")


def _said(distribution: Distribution) -> str:
    kinds: Mapping[str, Any] = distribution.model_dump(exclude_none=True)
    ((kind, values),) = kinds.items()
    if kind in ("grid", "choice"):
        return f"{'each of' if kind == 'grid' else 'one of'} {', '.join(map(_value, values))}"
    scale = {"loguniform": ", by factors", "integer": ", whole numbers"}.get(kind, "")
    return f"{_value(values[0])} to {_value(values[1])}{scale}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _position(value: float) -> str:
    """Return where an AUC lies on the bar's axis from 0.3 to 1, in per cent of its width."""
    return f"{100 * min(1.0, max(0.0, (value - 0.3) / 0.7)):.1f}"
