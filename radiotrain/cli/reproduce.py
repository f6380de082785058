"""``radiotrain reproduce``: the paper's whole table, from the download to the report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preprocessing.common.errors import InputError
from radiotrain.cli.console import wide_console
from radiotrain.cli.options import Backend, ColumnOption, LabelOption, as_words, table_options
from radiotrain.cli.step import as_typed, run_step

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cluster.sweep.config import SweepConfig
    from radiotrain.config.reproduction import ReproduceConfig


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("reproduce")(reproduce)


def reproduce(
    cohort: Annotated[
        str, typer.Argument(help="Cohort folder, or a manifest CSV, here or on s3://bucket/prefix.")
    ],
    out: Annotated[str, typer.Option(help="Folder for all results, or s3://…")],
    config: Annotated[
        str | None,
        typer.Option(
            help="YAML file with sections preprocess, split and sweep: what differs from the paper."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value, wins over the file; may be repeated."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Rehearse with small crops, small networks and few epochs: minutes, no result.",
        ),
    ] = False,
    outer: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Cross-validated testing in this many parts: every patient is tested once, by models that"
            " did not see it. Takes this many times as long.",
        ),
    ] = None,
    backend: Annotated[Backend, typer.Option(help="This machine or a Ray cluster.")] = (
        Backend.local
    ),
    purpose: Annotated[
        str, typer.Option(help="Purpose of the test-set access; goes into the access log.")
    ] = "reproduction of the published table",
    primary: Annotated[
        list[str] | None,
        typer.Option(
            help="TARGET or MODEL:TARGET, may be repeated: the primary result; see `radiotrain evaluate`."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the settings and print the commands.")
    ] = False,
    column: ColumnOption = None,
    label: LabelOption = None,
) -> None:
    """Make the paper's table: check → preprocess → split → sweep → promote → evaluate.

    Each step is a command, printed as you would type it. Rerun to resume: finished steps are not
    repeated, and the test set is opened once.

    Example: `radiotrain reproduce Duke-Breast-Cancer-MRI --out duke`

    Example: `radiotrain reproduce Duke-Breast-Cancer-MRI --out rehearsal --quick`

    Example: `radiotrain reproduce Duke-Breast-Cancer-MRI --out duke --outer 5`
    """
    from preprocessing.storage.folder_lock import exclusive

    of_outer = [] if outer is None else [f"split.outer={outer}"]
    settings = _settings(config, [*(overrides or []), *of_outer], quick)
    table_options(column, label)
    reproduction = Reproduction.of(
        cohort, out, settings, backend, purpose, as_words(column, label), primary or ()
    )
    # Whatever is wrong is said now, not after hours of preprocessing.
    sweep = reproduction.checked()
    if dry_run:
        for words in reproduction.commands(sweep):
            typer.echo(as_typed(words))
        return
    with exclusive(reproduction.out, "folder"):
        run_steps(reproduction, sweep)


def run_steps(reproduction: Reproduction, sweep: SweepConfig) -> None:
    """Do all steps that are not done yet. The folder's lock is held."""
    begin = time.monotonic()
    reproduction.check_begun(sweep)
    reproduction.write_settings()
    check, *before, evaluate = reproduction.commands(sweep)
    if not reproduction.is_checked:
        run_step(*check, quiet=True)
    for words in before:
        run_step(*words)
    if reproduction.is_evaluated(sweep):
        typer.echo(
            f"\nthe test set was opened for these models before: see {reproduction.report}/report.html; to"
            f" open it again:\n{as_typed(evaluate)}"
        )
        _say_of_primary(reproduction, sweep)
    else:
        run_step(*evaluate)
    print_beside_the_paper(reproduction.report)
    typer.echo(f"done in {(time.monotonic() - begin) / 60:.1f} minutes")


def _say_of_primary(reproduction: Reproduction, sweep: SweepConfig) -> None:
    """Say where the report that is there has other primary results than those asked for."""
    there = ((_metrics(reproduction.report) or {}).get("family") or {}).get("primary", [])
    wanted = [list(pair) for pair in reproduction.primary_results(sweep)]
    if sorted(there) != sorted(wanted):
        had = ", ".join(":".join(pair) for pair in there) or "none"
        typer.echo(
            f"note: that report was made with the primary results {had}, not those of this command: a"
            " primary result that is named after the test confirms nothing"
        )


@dataclass(frozen=True)
class Part:
    """Where the split, the sweep and its settings are, of the only test set or of an outer part."""

    number: int
    split: str
    sweep: str
    config: str


@dataclass(frozen=True)
class Reproduction:
    """Where each step's result lies, and what each is told."""

    cohort: str
    out: str
    settings: ReproduceConfig
    backend: Backend
    purpose: str
    tables: tuple[str, ...] = ()
    primary: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        cohort: str,
        out: str,
        settings: ReproduceConfig,
        backend: Backend,
        purpose: str,
        tables: Sequence[str] = (),
        primary: Sequence[str] = (),
    ) -> Reproduction:
        """Return the reproduction in a folder, whose URL is made absolute if it is local."""
        from preprocessing.storage import files

        place = files.absolute(out)
        return cls(cohort, place, settings, backend, purpose, tuple(tables), tuple(primary))

    @property
    def report(self) -> str:
        """Folder of the report; that of a single test set may lie beside it."""
        return self._in_out("report-outer" if self.parts else "report")

    @property
    def parts(self) -> tuple[Part, ...]:
        """Where each outer part's split, sweep and settings are; none where there is one test set."""
        from preprocessing.storage import files
        from radiotrain.split.outer_folds import outer_name

        options = self.settings.split
        found = []
        for number in range(1, options.num_outer + 1):
            repeat, part = divmod(number - 1, options.outer or 1)
            name = outer_name("outer", part + 1, options.outer or 1, repeat + 1, options.repeats)
            stem = name.removesuffix(".json")
            found.append(
                Part(
                    number,
                    files.join(self.out, name),
                    files.join(self.out, f"sweep-{stem}"),
                    files.join(self.out, f"sweep-{stem}.yaml"),
                )
            )
        return tuple(found)

    @property
    def _sweeps(self) -> tuple[Part, ...]:
        """Where each sweep of the run is: of the outer parts, or the only one."""
        names = ("splits.json", "sweep", "sweep.yaml")
        return self.parts or (Part(0, *(self._in_out(name) for name in names)),)

    def commands(self, sweep: SweepConfig) -> list[list[object]]:
        """Return the words of each step's command."""
        from cluster.sweep.config import group_of

        store = self._in_out("store.zarr")
        on_ray = ["--backend", "ray"] if self.backend is Backend.ray else []
        workers = ["--workers", sweep.resources.workers] if on_ray else []
        options = self.settings.split
        divided = ["--seed", options.seed, "--folds", options.folds]
        split = self._in_out("splits.json")
        if self.parts:
            split = self._in_out("outer.json")
            divided += ["--outer", options.outer, "--repeats", options.repeats]
        else:
            divided += ["--test-fraction", options.test_fraction]
        swept = self._sweeps
        models = [f"{p.sweep}/promoted/{group_of(one)}" for p in swept for one in sweep.targets]
        prepared = ["--config", self._in_out("preprocess.yaml")]
        named = [word for one in self.primary for word in ("--primary", one)]
        trained: list[list[object]] = []
        for part in swept:
            trained.append(["tune", "--config", part.config])
            trained.append(["promote", part.sweep, *on_ray, *workers])
        return [
            ["cohort", "check", self.cohort, "--json", self._in_out("check.json"), *self.tables],
            ["preprocess", self.cohort, store, *prepared, *on_ray, *self.tables],
            ["split", store, "--out", split, *divided],
            *trained,
            ["evaluate", *models, "--out", self.report, "--purpose", self.purpose, *named],
        ]

    @property
    def is_checked(self) -> bool:
        """Whether the cohort was looked at before."""
        from preprocessing.storage import files

        return files.exists(self._in_out("check.json"))

    def checked(self) -> SweepConfig:
        """Return the sweep's configuration, or say what is wrong with it or that there is no cohort."""
        from cluster.sweep.config import SweepConfig
        from preprocessing.common.errors import MissingPathError
        from preprocessing.storage import files
        from radiotrain.config.run_config import parse_config

        if not files.exists(files.absolute(self.cohort)):
            raise MissingPathError(
                f"no cohort at {files.absolute(self.cohort)}: name a folder or a manifest CSV that"
                " exists"
            )
        sweeps = [parse_config(SweepConfig, self._sweep_values(p), "sweep") for p in self._sweeps]
        self.check_begun(sweeps[0])
        self.primary_results(sweeps[0])
        return sweeps[0]

    def primary_results(self, sweep: SweepConfig) -> tuple[tuple[str, str], ...]:
        """Return the model and target of each primary result.

        Raises
        ------
        InputError
            If one names nothing that will be tested.
        """
        from cluster.sweep.config import group_of
        from radiotrain.evaluation.family import find_primary

        groups = [(group_of(one), (one,) if isinstance(one, str) else one) for one in sweep.targets]
        results = [(group, target) for group, targets in groups for target in targets]
        return find_primary(self.primary, results)

    def check_begun(self, sweep: SweepConfig) -> None:
        """Refuse other settings than those that the folder was begun with; nothing is changed.

        The sweep may be extended, as by ``radiotrain tune``.

        Raises
        ------
        InputError
            If some differ that decide about a result.
        """
        from preprocessing.storage import files

        for name, found, wanted in self._begun():
            differing = [key for key in wanted if found.get(key) != wanted[key]]
            if differing:
                key = differing[0]
                raise InputError(
                    f"{self.out} was begun with {name}.{key} {found.get(key)!r}, got {wanted[key]!r}:"
                    " use the same settings to resume, or name another --out"
                )
        for part in self._sweeps:
            if all(
                files.exists(url) for url in (self._in_out("store.zarr"), part.split, part.sweep)
            ):
                from cluster.sweep.run import check_members

                urls = {"split": part.split, "out": part.sweep}
                check_members(sweep.model_copy(update=urls))

    def _begun(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Yield the settings of steps that were begun and those wanted now, by their sections."""
        from preprocessing.common.config import PreprocessConfig
        from preprocessing.storage import files
        from radiotrain.config.run_config import parse_config, read_yaml
        from radiotrain.split.outer_folds import read_outer_index
        from radiotrain.split.split import load_split

        before = self._in_out("preprocess.yaml")
        if files.exists(before) and files.exists(self._in_out("store.zarr")):
            found = parse_config(PreprocessConfig, read_yaml(before), before)
            wanted = self.settings.preprocess
            yield "preprocess", _as_json(found), _as_json(wanted)
        options = self.settings.split
        if self.parts and files.exists(self._in_out("outer.json")):
            listed = read_outer_index(self._in_out("outer.json"))
            outer = load_split(listed[0]).outer if listed else None
            if outer is not None:
                number = {"outer": outer.num_parts, "repeats": outer.num_repeats}
                yield "split", number, {"outer": options.outer, "repeats": options.repeats}
        for part in self._sweeps[:1]:
            if files.exists(part.split):
                split = load_split(part.split)
                there: dict[str, Any] = {"seed": split.seed, "folds": split.num_folds}
                if not self.parts:
                    there["test_fraction"] = split.test_fraction
                yield "split", there, {name: getattr(options, name) for name in there}

    def write_settings(self) -> None:
        """Write the files that the steps are told by."""
        import yaml

        from preprocessing.storage import files

        prepared = self.settings.preprocess.model_dump(mode="json", exclude_unset=True)
        for url, values in (
            (self._in_out("preprocess.yaml"), prepared),
            *((part.config, self._sweep_values(part)) for part in self._sweeps),
        ):
            text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
            files.write_text(url, text)

    def is_evaluated(self, sweep: SweepConfig) -> bool:
        """Whether the report is there, of the very models that are there."""
        from cluster.sweep.config import group_of
        from preprocessing.storage import files
        from radiotrain.evaluation.report.metrics_json import fingerprint_in
        from radiotrain.evaluation.report.places import without_paths
        from radiotrain.runs.promoted import read_promoted
        from radiotrain.split.split import load_split

        metrics = _metrics(self.report)
        if metrics is None or not files.exists(files.join(self.report, "report.html")):
            return False
        said = metrics.get("provenance", {})
        for part in self._sweeps:
            split = load_split(part.split)
            of_part = "" if split.outer is None else f", {split.outer}"
            for one in sweep.targets:
                made = read_promoted(files.join(part.sweep, "promoted", group_of(one)))
                known = said.get(f"model {group_of(one)}{of_part}", {})
                # A report names no place of this machine.
                values = (
                    None if made is None else without_paths(json.loads(json.dumps(asdict(made))))
                )
                if values is None or {**known, **values} != known:
                    return False
            where = "split" if split.outer is None else f"split of {split.outer}"
            if fingerprint_in(said, where) != split.fingerprint:
                return False
        return True

    def _sweep_values(self, part: Part) -> dict[str, Any]:
        return self.settings.sweep_yaml(self._in_out("store.zarr"), part.split, part.sweep)

    def _in_out(self, *names: str) -> str:
        from preprocessing.storage import files

        return files.join(self.out, *names)


def _as_json(settings: BaseModel) -> dict[str, Any]:
    return settings.model_dump(mode="json")


def print_beside_the_paper(report: str) -> None:
    """Print a report's models beside the published rows of their targets."""
    from rich.table import Table

    from radiotrain.evaluation.baselines.names import is_baseline

    metrics = _metrics(report) or {"runs": {}, "published": []}
    of = metrics.get("cohort")
    title = f"beside the published rows of {of}, whose test patients were others"
    table = Table(title=title if of else "results on the test set")
    for column in ("target", "model", "AUC (95 % CI)", "sensitivity", "specificity"):
        table.add_column(column)
    for run, targets in metrics["runs"].items():
        made = metrics["provenance"].get(f"model {run}", {})
        for target, found in targets.items() if not is_baseline(run) else ():
            model = f"ours: {made.get('trial', run)}"
            table.add_row(target, model, *_row(found, "auc_ci95"))
            for row in metrics["published"]:
                if row["target"] == target.upper():
                    by = f"{row['method']}, {row['source']}"
                    table.add_row("", by, *_row(row, "auc_ci95"))
            table.add_section()
    wide_console(120).print(table)


def _row(values: dict[str, Any], interval: str) -> list[str]:
    ends = values[interval]
    area = _number(values["auc"]) + (f" ({ends[0]:.3f}-{ends[1]:.3f})" if ends else "")
    return [area, _number(values["sensitivity"]), _number(values["specificity"])]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _metrics(report: str) -> dict[str, Any] | None:
    from radiotrain.evaluation.report.metrics_json import read_metrics

    return read_metrics(report)


def _settings(config: str | None, overrides: list[str], quick: bool) -> ReproduceConfig:
    from radiotrain.config.reproduction import QUICK, ReproduceConfig, merged
    from radiotrain.config.run_config import (
        apply_overrides,
        parse_config,
        read_yaml,
        with_new_names,
    )

    source = config or "reproduction"
    given = with_new_names(ReproduceConfig, read_yaml(config) if config else {}, source)
    values = apply_overrides(merged(QUICK if quick else {}, given), overrides, ReproduceConfig)
    return parse_config(ReproduceConfig, values, source)
