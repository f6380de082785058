"""Equal settings give equal bytes; a broken-off cohort goes on; anything else is refused."""

import json
import shutil
import sys

import pytest

from preprocessing.common.errors import InputError
from preprocessing.phantom.settings import PhantomSettings, parse_effects
from preprocessing.phantom.write import COLLECTION, write_phantom
from radiotrain.cli import main

SMALL = {"patients": 2, "matrix": 48, "slices": 16}
COMMAND = ["--patients", "1", "--matrix", "48", "--slices", "16", "--workers", "1"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    write_phantom(folder, PhantomSettings(**SMALL))
    return folder


@pytest.fixture
def copy(small, tmp_path):
    return shutil.copytree(small, tmp_path / "copy")


def test_equal_settings_give_equal_bytes_whatever_the_number_of_workers(small, tmp_path, digest):
    write_phantom(tmp_path, PhantomSettings(**SMALL), workers=2)
    assert digest(tmp_path) == digest(small)
    assert len(digest(small)) > 150


def test_whole_numbers_give_the_bytes_of_the_decimal_ones(tmp_path, digest):
    hashes = []
    for kind in (int, float):
        values = {n: kind(0) for n in ("noise", "motion", "field_sd")}
        settings = PhantomSettings(**{**SMALL, **values, "patients": 1, "effects": {"ER": kind(2)}})
        write_phantom(tmp_path / kind.__name__, settings)
        hashes.append(digest(tmp_path / kind.__name__))
    assert hashes[0] == hashes[1]


def test_another_seed_gives_other_images(small, tmp_path, digest):
    write_phantom(tmp_path, PhantomSettings(**SMALL, seed=1))
    images = [{v for k, v in digest(f).items() if k.endswith(".dcm")} for f in (small, tmp_path)]
    assert images[0]
    assert not images[0] & images[1]


def test_a_patient_does_not_depend_on_how_many_follow(small, tmp_path, digest):
    write_phantom(tmp_path, PhantomSettings(**{**SMALL, "patients": 3}))
    few, many = digest(small), digest(tmp_path)
    shared = [name for name in few if name.startswith(("truth/", COLLECTION))]
    assert len(shared) > 150
    assert {k: few[k] for k in shared} == {k: many[k] for k in shared}
    truths = [json.loads((f / "truth.json").read_text())["patients"] for f in (small, tmp_path)]
    assert len(truths[1]) == 3
    assert truths[0] == {k: v for k, v in truths[1].items() if k in truths[0]}


@pytest.mark.parametrize("lost", ["Breast_MRI_001", "Breast_MRI_002"])
def test_resume_matches_uninterrupted_run(small, copy, digest, lost):
    shutil.rmtree(copy / COLLECTION / lost)
    kept = {p: p.stat().st_mtime_ns for p in copy.rglob("*.dcm")}
    write_phantom(copy, PhantomSettings(**SMALL))
    assert digest(copy) == digest(small)
    assert kept == {p: p.stat().st_mtime_ns for p in kept}


def test_resume_after_a_kill_amid_a_patient_leaves_nothing_behind(small, copy, digest):
    patients = copy / COLLECTION
    (patients / "Breast_MRI_002").rename(patients / ".Breast_MRI_002.partial")
    file = next(patients.glob(".Breast_MRI_002.partial/*/*/*.dcm"))
    file.write_bytes(file.read_bytes()[:100])
    file.with_name("1-99.dcm").write_bytes(b"")
    for name in ("truth.json", "Annotation_Boxes.xlsx", "truth/Breast_MRI_002.npz"):
        (copy / name).unlink()
    write_phantom(copy, PhantomSettings(**SMALL))
    assert digest(copy) == digest(small)


@pytest.mark.parametrize(
    "other",
    [
        {"patients": 3},
        {"seed": 1},
        {"matrix": 49},
        {"slices": 17},
        {"effects": {"PR": 0.0}},
        {"noise": 0.0},
        {"motion": 0.0},
        {"field_sd": 0.1},
        {"layout": "classic"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_other_settings_into_the_same_folder_are_refused_by_name(small, digest, other):
    before = digest(small)
    with pytest.raises(InputError, match=f"holds a phantom with {next(iter(other))} .*resume"):
        write_phantom(small, PhantomSettings(**{**SMALL, **other}))
    assert digest(small) == before


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, digest):
    (tmp_path / COLLECTION / "Breast_MRI_001").mkdir(parents=True)
    (tmp_path / COLLECTION / "Breast_MRI_001" / "1-1.dcm").write_bytes(b"real")
    before = digest(tmp_path)
    with pytest.raises(InputError, match=f"not empty and holds no phantom.*'{COLLECTION}'"):
        write_phantom(tmp_path, PhantomSettings(**SMALL))
    assert digest(tmp_path) == before


def test_a_file_in_the_folders_place_is_refused_and_left_alone(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file, expected a folder"):
        write_phantom(tmp_path / "out", PhantomSettings(**SMALL))
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("content", ["", "not json", "[1, 2]", '{"format": 1}', "\xff"])
def test_a_marker_that_is_none_is_refused_and_left_alone(tmp_path, digest, content):
    (tmp_path / "phantom.json").write_text(content, encoding="latin-1")
    before = digest(tmp_path)
    with pytest.raises(InputError, match=r"phantom\.json is not what a phantom is marked with"):
        write_phantom(tmp_path, PhantomSettings(**SMALL))
    assert digest(tmp_path) == before


def test_a_phantom_of_another_format_is_refused(copy):
    marker = json.loads((copy / "phantom.json").read_text())
    (copy / "phantom.json").write_text(json.dumps({**marker, "format": 99}))
    with pytest.raises(InputError, match="phantom with format 99, got 1"):
        write_phantom(copy, PhantomSettings(**SMALL))


def test_an_existing_empty_folder_and_a_missing_parent_are_welcome(tmp_path, small, digest):
    one = {**SMALL, "patients": 1}
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new" / "deep"):
        write_phantom(folder, PhantomSettings(**one))
    assert digest(tmp_path / "empty") == digest(tmp_path / "new" / "deep")


def test_nothing_unfinished_is_left_in_a_finished_cohort(small):
    names = {p.name for p in small.iterdir()}
    assert names == {
        "Annotation_Boxes.xlsx",
        "Clinical_and_Other_Features.xlsx",
        COLLECTION,
        "phantom.json",
        "truth",
        "truth.json",
    }
    assert not [p for p in small.rglob("*") if p.name.startswith(".") or "partial" in p.name]


NAN = float("nan")
BAD_SETTINGS = [
    ({"patients": 0}, "phantom patients is 0, expected 1 to 9999"),
    ({"patients": 10_000}, "phantom patients is 10000, expected 1 to 9999"),
    ({"seed": -1}, "phantom seed is -1"),
    ({"matrix": 10}, "phantom matrix is 10, expected 48 to 1024"),
    ({"slices": 15}, "phantom slices is 15, expected 16 to 512"),
    ({"noise": NAN}, "phantom noise is nan"),
    ({"noise": -0.01}, "phantom noise is -0.01"),
    ({"motion": NAN}, "phantom motion is nan"),
    ({"field_sd": float("inf")}, "phantom field_sd is inf"),
    ({"layout": "clasic"}, r"phantom layout is 'clasic' \(did you mean 'classic'\?\)"),
    ({"effects": {"HER": 1.0}}, r"phantom target is 'HER' \(did you mean 'HER2'\?\)"),
    ({"effects": {"ER": NAN}}, "phantom effect of ER is nan"),
    ({"effects": {"PR": -1.0}}, "phantom effect of PR is -1.0, expected 0.0 to 10.0"),
]


@pytest.mark.parametrize(("values", "message"), BAD_SETTINGS)
def test_bad_settings_are_refused_in_one_sentence(values, message):
    with pytest.raises(InputError, match=message) as caught:
        PhantomSettings(**values)
    assert_one_sentence(str(caught.value))


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(InputError, match="phantom workers is 0, expected at least 1"):
        write_phantom(tmp_path / "out", PhantomSettings(**SMALL), workers=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        ("4", {"ER": 4, "PR": 4, "HER2": 4}),
        ("ER=4,PR=0", {"ER": 4, "PR": 0, "HER2": 1.5}),
        (" her2 = 2.5 , ", {"ER": 1.5, "PR": 1.5, "HER2": 2.5}),
    ],
)
def test_effects_are_read_and_completed(text, effects):
    assert PhantomSettings(effects=parse_effects(text)).effects == effects


@pytest.mark.parametrize("text", ["", ",", "strong", "ER=", "ER=4,2", "4,ER=2", "ER=4=2", "ER:4"])
def test_bad_effect_text_is_refused_in_one_sentence(text):
    with pytest.raises(InputError, match="expected a number such as '4' or pairs") as caught:
        parse_effects(text)
    assert repr(text) in str(caught.value)
    assert_one_sentence(str(caught.value))


def assert_one_sentence(message):
    assert "\n" not in message
    assert ". " not in message
    assert ": " in message  # what to do


def run(monkeypatch, *words):
    """Run the command line as a shell would; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["radiotrain", "phantom", *map(str, words)])
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_command_writes_the_cohort_of_its_options(monkeypatch, capsys, tmp_path, digest):
    options = ["--effect", "ER=3,HER2=0", "--noise", "0", "--layout", "classic", "--seed", "4"]
    assert run(monkeypatch, tmp_path / "a", *COMMAND, *options) == 0
    assert "1 patients written" in capsys.readouterr().out
    settings = PhantomSettings(
        **{**SMALL, "patients": 1},
        effects={"ER": 3, "HER2": 0},
        noise=0,
        layout="classic",
        seed=4,
    )
    write_phantom(tmp_path / "b", settings)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_help_tells_every_option(monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    text = capsys.readouterr().out
    options = "patients seed matrix slices effect noise motion field-sd layout workers"
    for option in options.split():
        assert f"--{option}" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--patients", 0], "phantom patients is 0"),
        (["--matrix", 10], "phantom matrix is 10"),
        (["--noise", "nan"], "phantom noise is nan"),
        (["--effect", "strong"], "phantom effect is 'strong'"),
        (["--effect", "EP=3"], "phantom target is 'EP'"),
        (["--effect", "nan"], "phantom effect of ER is nan"),
        (["--layout", "flat"], "'flat' is not one of"),
        (["--patients", "many"], "valid integer"),
    ],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, list) else "",
)
def test_command_refuses_bad_options_with_status_2(monkeypatch, capsys, tmp_path, options, message):
    assert run(monkeypatch, tmp_path / "out", *COMMAND, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_command_refuses_other_settings_and_foreign_folders_with_status_2(
    monkeypatch, capsys, tmp_path, small
):
    assert run(monkeypatch, small, *COMMAND) == 2
    assert "holds a phantom with patients 2, got 1" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("mine")
    assert run(monkeypatch, tmp_path, *COMMAND) == 2
    assert "error: " in (error := capsys.readouterr().err)
    assert "(found 'notes.txt')" in error
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
