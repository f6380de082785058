"""Which quirks can be asked for, and by the command."""

import sys

import pytest

from preprocessing.common.errors import InputError
from preprocessing.phantom.quirks import QUIRKS, parse_quirks
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from radiotrain.cli import main
from tests.unit.phantom.quirks.twins import MATRIX, NAMES, SLICES, SMALL, Patient

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("quirks", "others"), [([], ["oblique"]), (["oblique"], [])])
def test_other_quirks_into_the_same_folder_are_refused(tmp_path, quirks, others):
    settings = {"patients": 1, **SMALL}
    write_phantom(tmp_path, PhantomSettings(**settings, quirks=quirks))
    with pytest.raises(InputError, match=r"holds a phantom with quirks \[.*\], got \[.*resume"):
        write_phantom(tmp_path, PhantomSettings(**settings, quirks=others))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"quirks": ("two-study",)},
            r"phantom quirk is 'two-study' \(did you mean 'two-studies'\?\), expected one of \d+",
        ),
        (
            {"quirks": ("no-box", "oblique"), "patients": 1},
            "phantom quirks are 2 and patients 1, expected .*: ask for 2 or more patients",
        ),
        ({"quirks": "no-box"}, "phantom quirk is 'n'"),
    ],
)
def test_quirks_that_cannot_be_had_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        PhantomSettings(**values)


def test_all_means_every_quirk_once():
    assert parse_quirks(["no-box", "all"]) == ("no-box", *NAMES)
    assert len(set(NAMES)) == len(NAMES)


def test_outcomes_have_a_finding_unless_nothing_is_wrong():
    assert {q.outcome for q in QUIRKS} == {"used", "repaired", "excluded"}
    assert all((q.finding is None) == (q.outcome == "used") for q in QUIRKS)


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["radiotrain", "phantom", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_command_lists_the_quirks(monkeypatch, capsys):
    assert run(monkeypatch, "--list-quirks") == 0
    text = capsys.readouterr().out
    for quirk in QUIRKS:
        assert f"\n{quirk.name} ({quirk.outcome}" in f"\n{text}"
        assert quirk.description in text
        assert not quirk.finding or quirk.finding in text


def test_command_gives_the_quirks_to_the_first_patients(monkeypatch, tmp_path):
    options = ["--quirk", "no-images", "--quirk", "too-few-phases"]
    sizes = ["--patients", 3, "--matrix", MATRIX, "--slices", SLICES, "--seed", 2, "--workers", 1]
    assert run(monkeypatch, tmp_path, *sizes, *options) == 0
    patients = [Patient(tmp_path, f"Breast_MRI_{n:03d}") for n in (1, 2, 3)]
    assert [len(p.phases) for p in patients if p.folder.exists()] == [2, 4]
    assert not patients[0].folder.exists()


def test_command_refuses_an_unknown_quirk_with_status_2(monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, tmp_path / "out", "--quirk", "obligue") == 2
    assert "did you mean 'oblique'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
