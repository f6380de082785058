from __future__ import annotations

import base64
import json
import re
import sys
import uuid
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import fsspec
import numpy as np
import pandas as pd
import pytest

from radiotrain.cli import main
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.numbers import p_value
from radiotrain.evaluation.predictions import read_predictions, write_predictions
from radiotrain.evaluation.published import DUKE, PUBLISHED
from radiotrain.evaluation.report.context import CohortFlow, ReportContext
from radiotrain.evaluation.report.write import write_report
from radiotrain.split.access_log import AccessRecord

SCRIPT = "<script>alert(1)</script>"
ATTRIBUTE = '" onmouseover="alert(2)'
FLOW = CohortFlow(
    num_patients=100,
    excluded=(
        ("Breast_MRI_007", "PHASES_MISSING", "2 phases found, expected 4"),
        ("Breast_MRI_010", "PHASES_MISSING", "3 phases found, expected 4"),
        ("Breast_MRI_042", "NO_BOX", "no tumour box in the annotation table"),
    ),
    num_train=57,
    num_validation=19,
    num_test=21,
    note="4 folds, validated on fold 0.",
)
OPENINGS = (
    AccessRecord("2026-01-02T03:04:05+00:00", "first look", ("ER_one",), "fingerprint-1"),
    AccessRecord("2026-02-03T04:05:06+00:00", "final test", ("ER_one", "ER_two"), "fingerprint-1"),
)


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[str] = []
        self.text = ""
        self._in_row = False
        self.feed(html)
        self.rows = [" ".join(row.split()) for row in self.rows]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append("")
            self._in_row = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            self._in_row = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_row:
            self.rows[-1] += f" {data}"


def make_table(run: str = "net", target: str = "ER", first_patient: str = "P000") -> pd.DataFrame:
    rng = np.random.default_rng(8)
    num = 48
    labels = np.arange(num) % 2
    return pd.DataFrame(
        {
            "run": run,
            "patient_id": [first_patient, *(f"P{i:03d}" for i in range(1, num))],
            "target": target,
            "split": np.repeat(["test", "validation"], num // 2),
            "fold": pd.array([pd.NA] * num, dtype="Int64"),
            "label": labels,
            "probability": np.clip(rng.normal(0.45 + 0.1 * labels, 0.15), 0, 1).round(4),
        }
    )


def write(out: Path, *tables: pd.DataFrame, context: ReportContext | None = None) -> str:
    table = pd.concat(tables, ignore_index=True)
    cohort = context.cohort if context else ""
    evaluation = evaluate_table(table, num_resamples=200, cohort=cohort)
    return Path(write_report(evaluation, table, out, context=context)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def full_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with everything in it: three targets, flow, openings, warnings."""
    out = tmp_path_factory.mktemp("report")
    context = ReportContext(
        flow=FLOW,
        openings=OPENINGS,
        provenance={"split": "splits.json, seed 3", "run net": {"lr": 1e-4, "bad": float("nan")}},
        warnings=("The store was moved.",),
        generated_at="2026-02-03T04:06+00:00",
        cohort=DUKE,
    )
    write(out, *(make_table(target=t) for t in ("ER", "PR", "HER2")), context=context)
    return out


@pytest.fixture(scope="module")
def full_page(full_folder: Path) -> str:
    return (full_folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report whose every name is markup."""
    table = make_table(f"run{SCRIPT}{ATTRIBUTE}", f"target{SCRIPT}{ATTRIBUTE}", f"A{SCRIPT}")
    # Tested for one target, trained on for another: the warning names the patient.
    other = table.iloc[:1].assign(target="ER", split="train")
    context = ReportContext(
        flow=CohortFlow(9, ((f"left{SCRIPT}", f"code{SCRIPT}", f"why{SCRIPT}"),), 3, 2, 1, SCRIPT),
        openings=(AccessRecord(SCRIPT, SCRIPT, (SCRIPT, ATTRIBUTE), SCRIPT),),
        provenance={f"key{SCRIPT}": f"value{SCRIPT}", "deep": {SCRIPT: [SCRIPT]}},
        warnings=(f"warning{SCRIPT}",),
        generated_at=SCRIPT,
    )
    return write(tmp_path_factory.mktemp("hostile"), table, other, context=context)


def test_markup_in_names_is_shown_as_text_only(hostile_page: str) -> None:
    page = Page(hostile_page)
    assert SCRIPT not in hostile_page
    assert "script" not in {tag for tag, _ in page.elements}
    handlers = {name for _, attrs in page.elements for name in attrs if name.startswith("on")}
    assert handlers == set()


@pytest.mark.parametrize("name", ["run", "target", "code", "key", "value", "warning"])
def test_markup_in_names_is_still_readable(hostile_page: str, name: str) -> None:
    assert f"{name}&lt;script&gt;alert(1)&lt;/script&gt;" in hostile_page
    assert f"{name}{SCRIPT}" in Page(hostile_page).text


@pytest.mark.parametrize("fixture", ["full_page", "hostile_page"])
def test_the_page_needs_nothing_but_itself(fixture: str, request: pytest.FixtureRequest) -> None:
    html: str = request.getfixturevalue(fixture)
    page = Page(html)
    anchors = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    addresses = [
        (tag, value or "")
        for tag, attrs in page.elements
        for name, value in attrs.items()
        if name in {"src", "srcset", "href", "xlink:href", "data", "poster", "action", "background"}
    ]
    assert addresses
    for tag, address in addresses:
        if tag == "a":
            assert address.removeprefix("#") in anchors
        else:
            assert address.startswith("data:image/svg+xml;base64,")
    assert not {tag for tag, _ in page.elements} & {"link", "script", "iframe", "object", "embed"}
    assert not re.search(r"url\s*\(|@import|https?://", html)


def test_the_plot_in_the_page_is_the_file_beside_it_and_refers_to_nothing(
    full_folder: Path, full_page: str
) -> None:
    images = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', full_page)
    names = [
        f"{kind}-{number:02d}-{target}-net.svg"
        for number, target in enumerate(("ER", "PR", "HER2"), start=1)
        for kind in ("roc", "calibration", "decision")
    ]
    names += [f"selective-{n:02d}-{t}-net.svg" for n, t in enumerate(("ER", "PR", "HER2"), 1)]
    names = ["overview.svg", *names]
    files = [full_folder / "plots" / name for name in names]
    assert set(files) == set((full_folder / "plots").iterdir())
    assert [base64.b64decode(i) for i in images] == [f.read_bytes() for f in files]
    for file in files:
        for element in ElementTree.parse(file).iter():
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith("#")
            assert not element.tag.endswith("script")


def test_published_rows_stand_under_ours_target_by_target(full_page: str) -> None:
    rows = Page(full_page).rows
    for target in ("ER", "PR", "HER2"):
        published = [p for p in PUBLISHED if p.target == target]
        group = next(i for i, row in enumerate(rows) if row == target)
        assert rows[group + 1].split()[0] == "net"
        for row, theirs in zip(rows[group + 2 :], published, strict=False):
            assert row.startswith(theirs.method)
            assert f"{theirs.auc:.3f}" in row
            assert f"{theirs.auc_ci95[0]:.3f} to {theirs.auc_ci95[1]:.3f}" in row
            if theirs.sensitivity is not None and theirs.specificity is not None:
                assert f"{theirs.sensitivity:.3f} {theirs.specificity:.3f}" in row


def test_the_papers_numbers_are_printed(full_page: str) -> None:
    """Shiri et al. 2025: AUC, sensitivity and specificity of its best network of each target."""
    rows = " ".join(Page(full_page).rows)
    assert "0.695 0.610 to 0.775 0.564 0.787" in rows
    assert "0.658 0.573 to 0.741 0.593 0.734" in rows
    assert "0.698 0.560 to 0.822 0.750 0.625" in rows


@pytest.mark.parametrize(("target", "cohort"), [("Ki67", DUKE), ("ER", "")])
def test_another_target_and_another_cohort_have_our_row_only(
    tmp_path: Path, target: str, cohort: str
) -> None:
    text = write(tmp_path, make_table(target=target), context=ReportContext(cohort=cohort))
    page = Page(text)
    assert not any(attrs.get("class") == "theirs" for _, attrs in page.elements)
    assert any(attrs.get("class") == "ours" for _, attrs in page.elements)
    assert "Shiri" not in text
    assert "Published rows" not in page.text
    assert "The published" not in page.text


def test_our_numbers_in_the_page_are_those_of_the_json(full_folder: Path, full_page: str) -> None:
    runs = json.loads((full_folder / "metrics.json").read_text(encoding="utf-8"))["runs"]
    rows = Page(full_page).rows
    for target, values in runs["net"].items():
        ours = rows[rows.index(target) + 1]
        low, high = values["auc_ci95"]
        assert f"{values['auc']:.2f} {low:.2f} to {high:.2f}" in ours
        assert f"{values['sensitivity']:.2f}" in ours
        assert f"{values['specificity']:.2f}" in ours


def test_every_opening_of_the_test_set_is_printed(full_page: str) -> None:
    page = Page(full_page)
    assert "The access log holds 2 test-set accesses." in page.text
    for opening in OPENINGS:
        row = next(row for row in page.rows if opening.time in row)
        assert opening.purpose in row
        assert ", ".join(opening.runs) in row
        assert opening.split_fingerprint in row


def test_excluded_patients_are_counted_in_the_page_and_named_in_a_table(
    full_folder: Path, full_page: str
) -> None:
    rows = Page(full_page).rows
    named = pd.read_csv(full_folder / "excluded.csv")
    assert list(named.itertuples(index=False, name=None)) == list(FLOW.excluded)
    assert not any(patient in full_page for patient, _, _ in FLOW.excluded)
    assert "PHASES_MISSING 2" in rows
    assert "NO_BOX 1" in rows
    assert FLOW.note in full_page


def test_warnings_of_the_context_and_of_the_numbers_are_printed(
    full_folder: Path, full_page: str
) -> None:
    warnings = json.loads((full_folder / "metrics.json").read_text(encoding="utf-8"))["warnings"]
    assert warnings[0] == "The store was moved."
    assert len(warnings) > 1
    text = Page(full_page).text
    assert all(warning in text for warning in warnings)


def test_runs_are_compared_with_the_numbers_of_the_json(tmp_path: Path) -> None:
    other = make_table("other")
    other["probability"] = np.random.default_rng(3).permutation(other["probability"])
    page = Page(write(tmp_path, make_table(), other, make_table("third").iloc[3:]))
    text = (tmp_path / "metrics.json").read_text(encoding="utf-8")
    found, *incomparable = json.loads(text)["comparisons"]
    low, high = found["difference_ci95_delong"]
    values = f"{found['difference']:+.3f} {low:.3f} to {high:.3f}"
    least, most = found["null_range95"]
    values += f" null {least:.3f} to {most:.3f} {p_value(found['p'])}"
    assert any(values.replace("-", "−") in row for row in page.rows)
    equal = found["equal_rate"]["sensitivity"]
    calls = [f"{equal[0] - equal[1]:+.3f} P, corrected,".replace("-", "−")]
    calls += [
        f"{found[f'{of}_only_run']} : {found[f'{of}_only_other']}"
        for of in ("positives", "negatives")
    ]
    assert any(all(text in row for text in calls) for row in page.rows)
    assert [c["design"] for c in incomparable] == [None, None]
    assert page.rows.count("the runs were tested on partly different patients") == 2
    assert "corrected for 3 comparisons after Holm" in page.text


def test_one_run_is_compared_with_nothing(full_page: str) -> None:
    assert 'id="comparisons"' not in full_page


def test_operating_points_and_recalibration_are_printed(full_folder: Path, full_page: str) -> None:
    text = (full_folder / "metrics.json").read_text(encoding="utf-8")
    values = json.loads(text)["runs"]["net"]["ER"]
    rows = Page(full_page).rows
    assert values["operating_points"]
    for point in values["operating_points"]:
        ours = next(
            row for row in rows if row.startswith(f"{point['rule']} {point['threshold']:.3f}")
        )
        for name in ("sensitivity", "specificity", "ppv", "npv"):
            assert f"{point[name]:.2f}" in ours
    for row, method in (("as predicted", "none"), ("isotonic regression", "isotonic")):
        kept = next(c for c in values["recalibrations"] if c["method"] == method)
        shown = f"{row} {kept['brier']:.3f} {kept['ece']:.3f} {kept['log_loss']:.3f}"
        assert any(r.startswith(shown) for r in rows)


def test_what_was_not_given_is_said_to_be_unknown(tmp_path: Path) -> None:
    text = Page(write(tmp_path, make_table())).text
    assert "No access log was given" in text
    assert "The cohort behind this table was not given" in text
    assert "How the predictions were made was not given" in text


def test_undefined_values_are_printed_with_their_reasons(tmp_path: Path) -> None:
    one_class = make_table().assign(label=1)
    page = Page(write(tmp_path, one_class))
    rows = page.rows
    undefined = next(row for row in rows if row.startswith("Not defined: AUC, "))
    assert "average precision" in undefined
    assert "95% CI of the AUC" in undefined
    assert undefined.endswith(" only one class among 24 test patients")
    assert not any("_" in row for row in rows if row.startswith("Not defined"))
    assert "No ROC curve: only one class among 24 test patients." in page.text
    assert "nan" not in page.text.lower().split()
    assert not (tmp_path / "plots").exists()


def test_the_same_table_gives_the_same_files_and_its_copy_gives_the_same_numbers(
    tmp_path: Path,
) -> None:
    first = write(tmp_path / "first", make_table())
    again = write(tmp_path / "again", read_predictions(tmp_path / "first" / "predictions.parquet"))
    assert again == first
    kinds = ("roc", "calibration", "decision")
    plots = [f"plots/{kind}-01-ER-net.svg" for kind in kinds]
    for name in ("metrics.json", *plots, "predictions.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_provenance_may_be_any_mapping_and_hold_what_json_cannot(tmp_path: Path) -> None:
    provenance = MappingProxyType({"store": Path("cohort.zarr"), "loss": float("inf"), "seed": 3})
    html = write(tmp_path, make_table(), context=ReportContext(provenance=provenance))
    rows = Page(html).rows
    assert {"store cohort.zarr", "loss Infinity", "seed 3"} <= set(rows)
    kept = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["provenance"]
    assert kept == {"store": "cohort.zarr", "loss": "Infinity", "seed": 3}


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit status of ``radiotrain evaluate`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["radiotrain", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def assert_one_sentence(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert all(word in lines[0] for word in words)


def test_the_command_turns_a_table_into_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(make_table(), tmp_path / "table.csv")
    out = tmp_path / "out"
    arguments: list[Any] = ["--predictions", tmp_path / "table.csv", "--out", out]
    assert run_command(monkeypatch, *arguments, "--resamples", 150, "--seed", 9) == 0
    document = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert document["bootstrap"] == {"seed": 9, "num_resamples": 150}
    assert (out / "report.html").exists()
    printed = capsys.readouterr().out
    assert f"report: {out / 'report.html'}" in printed
    assert f"{document['runs']['net']['ER']['auc']:.3f}" in printed
    assert document["warnings"]
    assert all(f"note: {warning}" in printed for warning in document["warnings"])


def test_the_command_reads_a_table_from_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"memory://{uuid.uuid4().hex}"
    write_predictions(make_table(), f"{store}/table.parquet")
    arguments = ["--predictions", f"{store}/table.parquet", "--out", f"{store}/out"]
    assert run_command(monkeypatch, *arguments, "--resamples", 100) == 0
    with fsspec.open(f"{store}/out/report.html", "rb") as file:
        assert file.read().startswith(b"<!DOCTYPE html>")


def test_a_missing_table_is_one_sentence_and_exit_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, out = tmp_path / "none.csv", tmp_path / "out"
    assert run_command(monkeypatch, "--predictions", missing, "--out", out) == 2
    assert_one_sentence(capsys, f"no predictions table at {missing}")
    assert not out.exists()


@pytest.mark.parametrize("below", ["", "/deeper/still"])
def test_an_out_that_is_a_file_is_refused_before_anything_is_done(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    arguments = ("--predictions", tmp_path / "none.csv", "--out", f"{tmp_path}/file{below}")
    assert run_command(monkeypatch, *arguments) == 2
    assert_one_sentence(capsys, f"{tmp_path}/file is a file, expected a folder")


def test_an_out_that_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    arguments = ("--predictions", tmp_path / "none.csv", "--out", tmp_path / "out")
    assert run_command(monkeypatch, *arguments) == 2
    assert_one_sentence(capsys, f"{tmp_path} may not be written to")


def test_both_runs_and_a_table_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    write_predictions(make_table(), table)
    assert run_command(monkeypatch, "some-run", "--predictions", table, "--out", tmp_path) == 2
    assert_one_sentence(capsys, "got both of run folders and --predictions")


def test_neither_runs_nor_a_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, "--out", tmp_path / "out") == 2
    assert_one_sentence(capsys, "got neither of run folders and --predictions")


def test_a_table_that_leaks_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table()
    leak = table.iloc[:1].assign(split="train")
    write_predictions(pd.concat([table, leak]), tmp_path / "table.csv")
    out = tmp_path / "out"
    assert run_command(monkeypatch, "--predictions", tmp_path / "table.csv", "--out", out) == 2
    assert_one_sentence(capsys, "patient 'P000' is in train and test", "leak")
    assert not out.exists()
