"""``radiotrain predict``: what trained models say of a new patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli.options import (
    ColumnOption,
    LabelOption,
    PhasesOption,
    read_phases_options,
    table_options,
)

if TYPE_CHECKING:
    from pathlib import Path

    from preprocessing.cohort.cohort import Patient
    from preprocessing.cohort.options import TableOptions
    from radiotrain.inference.predict_many import Candidate, Done
    from radiotrain.inference.predict_patient import Asked
    from radiotrain.inference.prediction import PatientPrediction
    from radiotrain.inference.prepare import Region

_MOST_NAMED = 10


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(predict)


def predict(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Promoted models, run folders or safetensors exports; several for several targets. Runs"
            " that differ in fold or seed only are averaged.",
            metavar="MODEL",
        ),
    ],
    patient: Annotated[
        str,
        typer.Argument(
            help="One examination: a folder of DICOM, or of one NIfTI or NRRD file a phase. Or a cohort or"
            " manifest CSV without targets; with --batch, a folder of such folders.",
            metavar="PATIENT",
        ),
    ],
    out: Annotated[
        str, typer.Option(help="Folder for report.html, prediction.json, report-sr.dcm.")
    ],
    box: Annotated[
        tuple[int, int, int, int, int, int] | None,
        typer.Option(
            metavar="R0 R1 C0 C1 S0 S1",
            help="Tumour box in rows, columns and slices: from 0, end-exclusive, as in a manifest. A DICOM"
            " slice is InstanceNumber - 1.",
        ),
    ] = None,
    segmentation: Annotated[
        str | None,
        typer.Option(
            help="Instead: NIfTI, NRRD or DICOM SEG of the tumour [default: the only one in the folder].",
        ),
    ] = None,
    segment: Annotated[
        int | None, typer.Option(min=1, help="Number of the segment in a DICOM SEG.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="PATIENT holds one folder a patient.")
    ] = False,
    boxes: Annotated[
        str | None,
        typer.Option(
            help="With --batch: table of patient_id (folder name) and box columns as in a manifest."
        ),
    ] = None,
    phases: PhasesOption = None,
    report: Annotated[
        str | None,
        typer.Option(
            help="Report of `radiotrain evaluate` for these models: adds the operating point's test results.",
        ),
    ] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option(
            help="name=value of a clinical covariate, e.g. age_years=54; may be repeated.",
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(
            min=0, help="Augmented copies of the image, for the spread of the prediction."
        ),
    ] = 1,
    steps: Annotated[
        int,
        typer.Option(
            min=0,
            help="Steps of the saliency map: 16 as in evaluate, 1 is coarse, 0: no map. Each takes about"
            " three predictions' time.",
        ),
    ] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    column: ColumnOption = None,
    label: LabelOption = None,
) -> None:
    """Predict a new patient: probability, spread, warnings and saliency as HTML, JSON and DICOM SR.

    Research use only. Images are made as those of the model's training were. Of several patients, one
    who cannot be predicted is named and ends nothing; run it again to resume.

    Example: `radiotrain predict sweep/promoted/ER PATIENT_DIR --box 120 160 200 236 60 84 --out out`

    Example: `radiotrain predict ER_run PR_run PATIENT_DIR --segmentation tumour.dcm --out out`

    Example: `radiotrain predict sweep/promoted/ER manifest.csv --report report --out predictions`

    Example: `radiotrain predict ER_run PATIENT_DIRS --batch --boxes boxes.csv --out predictions`

    Example: `radiotrain predict ER-export PATIENT_DIR --box 120 160 200 236 60 84 --out out`
    """
    from preprocessing.common.errors import MissingPathError
    from preprocessing.common.progress import progress
    from preprocessing.storage import files
    from preprocessing.storage.folder_lock import exclusive
    from radiotrain.inference.predict_many import (
        is_cohort,
        predict_many,
        with_phases,
        with_table_of_phases,
    )
    from radiotrain.inference.prepare import read_patient

    table, _ = read_phases_options(phases, None)
    region = _region(box, segmentation, segment)
    covariates = _covariates(covariate or [])
    place = files.to_path(patient)
    if not place.exists():
        raise MissingPathError(
            f"nothing at {place}: name a patient's folder, a manifest CSV or a cohort"
        )
    several = batch or is_cohort(place)
    tables = table_options(column, label)
    _check_options(several, batch, region, boxes, tables)
    candidates = _candidates(place, batch, boxes, covariates, tables) if several else ()
    candidates = tuple(with_phases(c, table) for c in candidates)
    asked = _asked(models, draws, steps, report, device)
    where = files.absolute(out)
    if several:
        with exclusive(where, "folder", private=True):
            done = predict_many(candidates, asked, where, progress)
        _print_done(done)
        return
    opened = with_table_of_phases(read_patient(place, region), table)
    if phases is not None and table is None:
        _write_phases(phases, opened, asked)
    with exclusive(where, "folder", private=True):
        answer = _predict_one(opened, covariates, asked, where)
    _print_answer(answer, where)


def _write_phases(path: str, patient: Patient, asked: Asked) -> None:
    """Write a table of this patient's series, to be corrected."""
    from preprocessing.images.load_patient import find_patient_phases
    from preprocessing.images.phases.table import list_files, write_table
    from preprocessing.storage.file_cache import file_cache

    with file_cache() as cache:
        found = find_patient_phases(patient, asked.models[0].preprocessing, cache, list_all=True)
    series = list_files(patient) if found is None else found.series
    write_table(path, {patient.patient_id: series})
    typer.echo(f"{path} written: correct its column 'phase', and give it by --phases", err=True)


def _region(
    box: tuple[int, int, int, int, int, int] | None, segmentation: str | None, segment: int | None
) -> Region:
    from pathlib import Path

    from preprocessing.cohort.cohort import Box, VolumeFile
    from preprocessing.common.errors import InputError
    from radiotrain.inference.prepare import Region

    if box is not None and segmentation is not None:
        raise InputError("got both --box and --segmentation, expected one of them")
    if segment is not None and segmentation is None:
        raise InputError("--segment is for --segmentation FILE: name the DICOM SEG")
    if segmentation is not None:
        return Region(segmentation=VolumeFile(Path(segmentation).expanduser().resolve(), segment))
    if box is None:
        return Region()
    r0, r1, c0, c1, s0, s1 = box
    if min(box) < 0 or r1 <= r0 or c1 <= c0 or s1 <= s0:
        raise InputError(
            f"--box is {' '.join(map(str, box))}, expected R0 R1 C0 C1 S0 S1 from 0 on, each end above"
            " its start"
        )
    return Region(box=Box((r0, c0, s0), (r1, c1, s1)))


def _covariates(texts: list[str]) -> dict[str, str | float | None]:
    from preprocessing.cohort.values import identifies, parse_covariate
    from preprocessing.common.errors import InputError

    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--covariate is {text!r}, expected name=value, e.g. age_years=54")
        if identifies(name, value):
            raise InputError(f"--covariate {name.strip()} seems to identify a person: leave it out")
        found[name.strip()] = parse_covariate(value)
    return found


def _check_options(
    several: bool, batch: bool, region: Region, boxes: str | None, tables: TableOptions
) -> None:
    from preprocessing.common.errors import InputError

    if several and (region.box is not None or region.segmentation is not None):
        raise InputError(
            "--box and --segmentation are for one patient, got several: put them into the manifest, or"
            " into --boxes CSV"
        )
    if boxes is not None and not batch:
        raise InputError("--boxes is for --batch: of one patient, give --box")
    if tables.columns and not (boxes if batch else several):
        raise InputError(
            "--column is for a manifest, a cohort or --boxes: there is no table to read"
        )


def _candidates(
    place: Path,
    batch: bool,
    boxes: str | None,
    covariates: dict[str, str | float | None],
    tables: TableOptions,
) -> tuple[Candidate, ...]:
    from radiotrain.inference.predict_many import (
        candidates_of_cohort,
        candidates_of_folders,
        read_boxes,
    )

    if batch:
        known = read_boxes(boxes, tables) if boxes else {}
        return candidates_of_folders(place, known, covariates)
    return candidates_of_cohort(place, tables)


def _asked(urls: list[str], draws: int, steps: int, report: str | None, device: str) -> Asked:
    from radiotrain.inference.open_model import open_models
    from radiotrain.inference.operating_point import read_report
    from radiotrain.inference.predict_patient import Asked, check_models

    known = read_report(report) if report is not None else None
    models = open_models(urls, device)
    check_models(models)
    return Asked(models, draws, steps, known)


def _predict_one(
    patient: Patient,
    covariates: dict[str, str | float | None],
    asked: Asked,
    out: str,
) -> PatientPrediction:
    from preprocessing.common.errors import InputError
    from preprocessing.storage import files
    from preprocessing.storage.lock_notes import is_lock
    from radiotrain.inference.predict_many import with_covariates
    from radiotrain.inference.predict_patient import JSON, PAGE, SR, examine

    names = {name for name in files.list_names(out) if not name.endswith(files.PARTIAL)}
    if not {name for name in names if not is_lock(name)} <= {JSON, PAGE, SR}:
        raise InputError(
            f"{out} holds other files: name a folder that is new, empty, or of this command"
        )
    return examine(with_covariates(patient, covariates), asked, out)


def _print_answer(answer: PatientPrediction, out: str) -> None:
    from preprocessing.storage import files
    from radiotrain.inference import RESEARCH_USE
    from radiotrain.inference.page import between, percent
    from radiotrain.inference.predict_patient import PAGE

    for target in answer.targets:
        found = target.answer
        line = f"{found.target}: {percent(found.probability)}"
        line += "" if found.is_calibrated else " (not calibrated)"
        if found.call is not None and found.threshold is not None:
            line += f", {found.call} the operating point of {percent(found.threshold)}"
        if found.spread.low is not None and found.spread.high is not None:
            where = between(found.spread.low, found.spread.high)
            line += f"; {found.spread.num_predictions} predictions {where}"
        typer.echo(line)
    for warning in answer.warnings:
        typer.echo(f"note: {warning}")
    if answer.structured_report is None:
        typer.echo(f"no DICOM SR: {answer.no_structured_report}")
    typer.echo(f"{RESEARCH_USE} Page: {files.join(out, PAGE)}")


def _print_done(done: Done) -> None:
    from preprocessing.common.errors import InputError
    from radiotrain.inference import RESEARCH_USE

    for number, why in list(done.failed.items())[:_MOST_NAMED]:
        typer.echo(f"note: {number} could not be predicted: {why}")
    if len(done.failed) > _MOST_NAMED:
        typer.echo(f"note: and {len(done.failed) - _MOST_NAMED} more, see {done.table}")
    if not done.num_now + done.num_before:
        raise InputError(
            f"none of {len(done.failed)} patients could be predicted: {done.table} says why of each"
        )
    typer.echo(
        f"{done.num_now + done.num_before} patients predicted ({done.num_before} before),"
        f" {len(done.failed)} not: {done.table}"
    )
    typer.echo(RESEARCH_USE)
