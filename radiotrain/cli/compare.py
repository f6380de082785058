"""``radiotrain compare``: two reports beside each other."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli.console import wide_console

if TYPE_CHECKING:
    from radiotrain.evaluation.compare.compare_results import Pair, ReportComparison
    from radiotrain.statistics.auc import Interval

# Where output goes into a file, which has no width of its own.
_FILE_WIDTH = 160
_MOST_SETTINGS = 12


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(compare)


def compare(
    first: Annotated[
        str,
        typer.Argument(metavar="REPORT_A", help="A report's folder, metrics.json or predictions."),
    ],
    second: Annotated[str, typer.Argument(metavar="REPORT_B", help="The other report.")],
    run: Annotated[
        list[str] | None,
        typer.Option(help="Twice: a run or baseline of A, then one of B [default: all networks]."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Folder for comparison.html and comparison.json.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Non-inferiority margin of A's AUC against B's, e.g. 0.05; fixed before any result was"
            " seen."
        ),
    ] = None,
    equal_rate: Annotated[
        float | None,
        typer.Option(
            show_default="the share of positives",
            help="Compare sensitivities where both classify this share of patients as positive, e.g. 0.3.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Bootstrap seed.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 10_000,
) -> None:
    """Compare the runs of two reports: differences with intervals, and differing settings.

    Runs are paired where both were tested on the same patients. No test set is opened.

    Example: `radiotrain compare report-resnet report-densenet --out comparison`

    Example: `radiotrain compare report-small report-large --margin 0.05 --out comparison`

    Example: `radiotrain compare report report-2 --run ER_ResNet10 --run "baseline size (logistic)"`
    """
    from preprocessing.common.progress import progress
    from radiotrain.evaluation.compare.compare_runs import choose_pairs, compare_reports
    from radiotrain.evaluation.compare.report_folder import read_report
    from radiotrain.evaluation.compare.write import write_comparison
    from radiotrain.evaluation.report.write import Subject, claimed, mark
    from radiotrain.evaluation.run_pairs import check_rate
    from radiotrain.statistics.auc_comparison import check_margin

    if margin is not None:
        check_margin(margin)
    if equal_rate is not None:
        check_rate(equal_rate)
    subject = Subject.of("comparison", [first, second], run or [])
    page = None
    with claimed(out, subject) if out is not None else nullcontext():
        a, b, runs = read_report(first), read_report(second), run or []
        with progress("compare", len(choose_pairs(a, b, runs))) as advance:
            found = compare_reports(
                a,
                b,
                runs,
                seed=seed,
                num_resamples=resamples,
                margin=margin,
                equal_rate=equal_rate,
                on_pair=advance,
            )
        if out is not None:
            mark(out, subject)
            page = write_comparison(found, out)
    _print(found)
    if page is not None:
        typer.echo(f"comparison: {page}")


def _print(found: ReportComparison) -> None:
    _print_pairs(found)
    for pair in found.pairs:
        typer.echo(pair.sentence)
        if pair.non_inferiority is not None:
            typer.echo(pair.non_inferiority.sentence)
    _print_settings(found)
    for warning in found.warnings:
        typer.echo(f"note: {warning}")


def _print_pairs(found: ReportComparison) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"A: {found.first}\nB: {found.second}"))
    for column in (
        "target", "A", "B", "AUC A", "AUC B", "A - B (95 % CI)", "p (Holm)", "can show",
        "sensitivity A - B", "specificity A - B", "at equal rate (p)",
    ):  # fmt: skip
        table.add_column(column)
    for pair in found.pairs:
        table.add_row(*(escape(text) for text in _cells(pair)))
    wide_console(_FILE_WIDTH).print(table)


def _cells(pair: Pair) -> tuple[str, ...]:
    c = pair.comparison
    at_equal_rate = "-"
    if c.equal_rate is not None:
        gain = c.equal_rate.sensitivity[0] - c.equal_rate.sensitivity[1]
        at_equal_rate = (
            f"{gain:+.3f} ({_p(c.equal_rate_p_holm)})\n{c.equal_rate.num_called} of"
            f" {pair.first.num_patients} positive"
        )
    return (
        pair.target,
        pair.first.run,
        pair.second.run,
        _number(pair.first.auc),
        _number(pair.second.auc),
        _difference(c.difference, c.difference_ci95_delong),
        _p(c.p_holm),
        _number(c.detectable_difference),
        _difference(pair.sensitivity_difference, pair.sensitivity_difference_ci95),
        _difference(pair.specificity_difference, pair.specificity_difference_ci95),
        at_equal_rate,
    )


def _print_settings(found: ReportComparison) -> None:
    parts = [("reports", found.settings)]
    parts += [(f"{run} and {other}", settings) for run, other, settings in found.run_settings]
    for name, settings in parts:
        if settings:
            typer.echo(f"settings that differ, {name}:")
        for setting in settings[:_MOST_SETTINGS]:
            typer.echo(f"  {setting.name}: {setting.first} in A, {setting.second} in B")
        if len(settings) > _MOST_SETTINGS:
            typer.echo(f"  and {len(settings) - _MOST_SETTINGS} more: see --out")


def _difference(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{value:+.3f}" + (f"\n({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
