"""``radiotrain evaluate``: from runs, or any model's predictions, to the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli.console import wide_console

if TYPE_CHECKING:
    import pandas as pd

    from radiotrain.evaluation.report.context import ReportContext
    from radiotrain.evaluation.results import Evaluation
    from radiotrain.evaluation.subgroups.covariates import Facts
    from radiotrain.statistics.influence import Sampling as SamplingName


class Sampling(StrEnum):
    """How test patients were drawn."""

    POPULATION = "population"
    WITHIN_CLASSES = "within-classes"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(evaluate)


def evaluate(
    out: Annotated[str, typer.Option(help="Folder for report.html, metrics.json and plots.")],
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Run folders of one split, or of all outer parts of `radiotrain split --outer`. Runs of"
            " `radiotrain split --folds-by scanner` with the same seed may be added; they are not tested."
        ),
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option(
            help="Instead of runs: a predictions table (CSV, Excel, Parquet) with columns run, patient_id,"
            " target, split (train, validation, test), fold (may be empty), label (0, 1, -1: missing),"
            " probability. Thresholds come from its validation rows."
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="The store, if it has moved. With --predictions: source of age, scanner and other"
            " covariates for subgroups."
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="The runs' split, if it has moved; or its extension by `radiotrain split --extend`, whose"
            " added test patients are tested too. May be repeated. Runs only.",
        ),
    ] = None,
    patients: Annotated[
        str | None,
        typer.Option(
            help="With --predictions: a table of patient_id and covariates for subgroups."
        ),
    ] = None,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            show_default="baselines",
            help="Add baseline models (clinical covariates, tumour size, enhancement) and a test for"
            " acquisition shortcuts. Runs only.",
        ),
    ] = None,
    radiomics: Annotated[
        bool,
        typer.Option(
            "--radiomics",
            help="Add baseline models of radiomic features (extra 'radiomics'); seconds a patient, once"
            " for a store. Runs only.",
        ),
    ] = False,
    purpose: Annotated[
        str | None,
        typer.Option(
            show_default="evaluation",
            help="Purpose of the access; goes into the access log. Runs only.",
        ),
    ] = None,
    primary: Annotated[
        list[str] | None,
        typer.Option(
            help="TARGET or RUN:TARGET, may be repeated: the primary result, recorded before the test set"
            " is read. All others are exploratory."
        ),
    ] = None,
    tta: Annotated[
        int,
        typer.Option(
            min=0,
            help="Test-time augmentation: average over each image and this many augmented copies. Runs"
            " only.",
        ),
    ] = 0,
    saliency: Annotated[
        int | None,
        typer.Option(
            min=0,
            show_default="6",
            help="Saliency maps of this many test patients of each run and target; 0 for none. Slow for"
            " large networks on a CPU. Runs only.",
        ),
    ] = None,
    sampling: Annotated[
        Sampling | None,
        typer.Option(
            show_default="population with --predictions, within-classes of runs",
            help="How test patients were sampled: from the population, or within classes as by a stratified"
            " split. Decides the intervals of Brier score and average precision.",
        ),
    ] = None,
    external: Annotated[
        str | None,
        typer.Option(
            help="Test on all patients of another cohort's store; models may be runs, promoted models or"
            " exports of format safetensors."
        ),
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option(
            help="With --external: TARGET=LABEL, the cohort's label for a target, e.g. ER=HR; may be"
            " repeated [default: the same name]."
        ),
    ] = None,
    phases: Annotated[
        str | None,
        typer.Option(
            help="With --external: the phases to use, the pre-contrast first, e.g. 0,1,3."
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            show_default="those named site, centre, institution or scanner",
            help="With --external: the covariate for results by site.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Bootstrap seed.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 10_000,
    figures: Annotated[
        bool,
        typer.Option(
            "--figures",
            help="Also write the figures to plots/ as PDF and 300 dpi PNG.",
        ),
    ] = False,
) -> None:
    """Test runs on the sealed test set and write a report; each test-set access is logged.

    Example: `radiotrain evaluate runs/ER_SEResNet50 --out report --purpose "final test"`

    Example: `radiotrain evaluate runs/ER_SEResNet50 runs/PR_ResNet18 --out report --primary ER`

    Example: `radiotrain evaluate runs/fold0 runs/fold1 --external other.zarr --targets ER=HR --out report`

    Example: `radiotrain evaluate --predictions table.csv --out report`

    Example: `radiotrain evaluate --predictions table.csv --patients patients.csv --out report`
    """
    from preprocessing.common.errors import InputError
    from preprocessing.common.progress import progress
    from radiotrain.evaluation.evaluate import evaluate_table
    from radiotrain.evaluation.report.write import Subject, claimed, mark, write_report

    if bool(runs) == (predictions is not None):
        got = "both" if runs else "neither"
        raise InputError(f"got {got} of run folders and --predictions TABLE, expected one of them")
    named = [place for place in (predictions, external) if place is not None]
    sources = [*(runs or []), *named]
    asked = External(external, targets or [], phases, group_by)
    asked.check(
        runs or [],
        {"--tta": tta, "--saliency": saliency, "--radiomics": radiomics},
    )
    subject = Subject.of("report", sources)
    # Before the test set is opened for it.
    with claimed(out, subject):
        table, context = (
            asked.predict(
                runs or [], out, store, split or [], patients, purpose, baselines, primary or []
            )
            if external is not None
            else _predictions(
                runs or [],
                predictions,
                store,
                split or [],
                patients,
                purpose,
                baselines,
                radiomics,
                tta,
                saliency,
                primary or [],
            )
        )
        num_results = len(table[["run", "target"]].drop_duplicates())
        with progress("evaluate", num_results) as advance:
            evaluation = evaluate_table(
                table,
                seed=seed,
                num_resamples=resamples,
                on_result=advance,
                plan=context.plan,
                cohort=context.cohort,
                sampling=_sampling(sampling, is_of_split=predictions is None and external is None),
            )
        mark(out, subject)
        report = write_report(evaluation, table, out, context=context, figures=figures)
    _print_table(evaluation)
    for warning in (*context.warnings, *evaluation.warnings):
        typer.echo(f"note: {warning}")
    typer.echo(f"report: {report}")


def _sampling(asked: Sampling | None, *, is_of_split: bool) -> SamplingName:
    """Return what was asked for; else that a split fixed the class counts, as it is stratified."""
    if asked is None:
        return "within classes" if is_of_split else "population"
    return "population" if asked is Sampling.POPULATION else "within classes"


@dataclass(frozen=True)
class External:
    """Options of a test on another cohort, as they were given."""

    store: str | None
    targets: list[str]
    phases: str | None
    by: str | None

    def check(self, runs: list[str], others: Mapping[str, object]) -> None:
        """Refuse options that do not go together.

        Parameters
        ----------
        others
            Options that are not for a test on another cohort.
        """
        from preprocessing.common.errors import InputError

        given = {"--targets": self.targets or None, "--phases": self.phases, "--group-by": self.by}
        if self.store is None:
            alone = [name for name, value in given.items() if value is not None]
            if alone:
                raise InputError(f"{alone[0]} is for --external STORE, which is not given: add it")
            return
        if not runs:
            raise InputError("--external tests models, got none: name run folders beside it")
        for name in (name for name, value in others.items() if value):
            raise InputError(f"{name} is not for --external: leave it out")

    def predict(
        self,
        runs: list[str],
        out: str,
        store: str | None,
        splits: list[str],
        patients: str | None,
        purpose: str | None,
        baselines: bool | None,
        primary: list[str],
    ) -> tuple[pd.DataFrame, ReportContext]:
        """Predict the other cohort."""
        from preprocessing.common.errors import InputError
        from preprocessing.common.progress import progress
        from radiotrain.external.cohort import parse_phases, parse_targets
        from radiotrain.external.external_test import Request, predict_external

        assert self.store is not None
        if patients is not None:
            raise InputError(
                "--patients is for --predictions TABLE: of an external cohort, its store says what is known"
                " of patients"
            )
        request = Request(
            models=tuple(runs),
            external=self.store,
            out=out,
            store=store,
            splits=tuple(splits),
            targets=parse_targets(self.targets),
            phases=() if self.phases is None else parse_phases(self.phases),
            by=self.by,
            purpose="external evaluation" if purpose is None else purpose,
            baselines=baselines is not False,
            primary=tuple(primary),
        )
        return predict_external(request, progress)


def _predictions(
    runs: list[str],
    predictions: str | None,
    store: str | None,
    splits: list[str],
    patients: str | None,
    purpose: str | None,
    baselines: bool | None,
    radiomics: bool,
    tta: int,
    saliency: int | None,
    primary: list[str],
) -> tuple[pd.DataFrame, ReportContext]:
    from preprocessing.common.errors import InputError
    from preprocessing.common.progress import progress
    from radiotrain.evaluation.family import TestPlan, find_primary, headline_pairs
    from radiotrain.evaluation.from_runs import predict_runs
    from radiotrain.evaluation.predictions import read_predictions, refuse_untested
    from radiotrain.evaluation.report.characteristics import describe_table
    from radiotrain.evaluation.report.context import ReportContext
    from radiotrain.evaluation.stability.replicates import add_ensembles
    from radiotrain.evaluation.subgroups.subgroup_tests import find_subgroups

    if predictions is not None:
        if tta:
            raise InputError(
                f"--tta {tta} needs networks, but --predictions has their results only: give runs"
            )
        given = {
            "--purpose": purpose,
            "--baselines": baselines,
            "--radiomics": radiomics or None,
            "--saliency": saliency,
            "--split": splits or None,
        }
        for option in (name for name, value in given.items() if value is not None):
            typer.echo(
                f"note: {option} is for runs only and has no effect with --predictions", err=True
            )
        read = read_predictions(predictions)
        refuse_untested(read, f"predictions table {predictions}")
        table = add_ensembles(read)
        named = find_primary(primary, headline_pairs(table))
        facts = _facts(table, store, patients)
        subgroups = find_subgroups(table, facts) if facts is not None else None
        return table, ReportContext(
            subgroups=subgroups,
            warnings=subgroups.warnings if subgroups is not None else (),
            plan=TestPlan(named),
            cohort=_cohort(table, store),
            characteristics=describe_table(table, facts),
        )
    if patients is not None:
        raise InputError(
            "--patients is for --predictions TABLE: of runs, the store says what is known of patients"
        )
    # It takes PyTorch with it, which a table can do without.

    return predict_runs(
        runs,
        store,
        "evaluation" if purpose is None else purpose,
        progress,
        baselines=baselines is not False,
        radiomics=radiomics,
        num_draws=tta,
        num_salient=6 if saliency is None else saliency,
        splits=splits,
        primary=primary,
    )


def _cohort(table: pd.DataFrame, store: str | None) -> str:
    """Return the collection of a table's test patients, where a store says so of all of them."""
    from preprocessing.store import Store
    from radiotrain.evaluation.published import collection_of

    if store is None:
        return ""
    opened = Store.open(store)
    tested = set(table.loc[table["split"] == "test", "patient_id"])
    return collection_of(opened) if tested <= set(opened.spec.patient_ids) else ""


def _facts(table: pd.DataFrame, store: str | None, patients: str | None) -> Facts | None:
    """Return what is known of a table's patients beside it; None where nothing was given."""
    from preprocessing.store import Store
    from radiotrain.evaluation.subgroups.covariates import read_patients
    from radiotrain.evaluation.subgroups.variables import facts_of_store

    tested = sorted(set(table.loc[table["split"] == "test", "patient_id"]))
    known: list[Facts] = []
    if store is not None:
        known.append(facts_of_store(Store.open(store), tested))
    if patients is not None:
        known.append(read_patients(patients))
    if not known:
        return None
    return known[0] if len(known) == 1 else known[0].beside(known[1])


def _print_table(evaluation: Evaluation) -> None:
    from rich.table import Table

    table = Table(title="test set")
    for column in ("target", "run", "patients", "AUC (95 % CI)", "sensitivity", "specificity"):
        table.add_column(column)
    for result in evaluation.results:
        interval = result.auc_ci95
        ci = f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else ""
        table.add_row(
            result.target,
            result.run,
            f"{result.num_patients} ({result.num_positive} positive)",
            f"{result.auc:.3f}{ci}" if result.auc is not None else "undefined",
            f"{result.sensitivity:.3f}" if result.sensitivity is not None else "undefined",
            f"{result.specificity:.3f}" if result.specificity is not None else "undefined",
        )
    wide_console(140).print(table)
