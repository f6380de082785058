from __future__ import annotations

import os
from pathlib import Path

import pytest

from preprocessing.common.errors import InputError, MissingPathError
from radiotrain.config.run_config import RunConfig, dump_config, load_config

MINIMAL = "store: s\nsplit: p.json\nout: o\n"


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (MINIMAL + "train: {epoch: 3}", [], "'train.epoch' (did you mean 'train.epochs'?)"),
        (MINIMAL + "targest: [ER]", [], "'targest' (did you mean 'targets'?)"),
        (MINIMAL + "weight_decay: 0", [], "(did you mean 'train.weight_decay'?)"),
        (MINIMAL, ["train.learning_rate=1"], "unknown key 'train.learning_rate'"),
        (MINIMAL, ["network.name=resnet-18"], "(did you mean 'ResNet18'?)"),
        (MINIMAL, ["network.name=seresnet50"], "(did you mean 'SEResNet50'?)"),
        (MINIMAL, ["train.lr=fast"], "train.lr is 'fast'"),
        (MINIMAL, ["train.lr"], "expected section.key=value"),
        (MINIMAL, ["train.lr.peak=1"], "train.lr is {'peak': 1}"),
        (MINIMAL, ["targets=["], "'[' is no YAML value"),
        (MINIMAL, ["seed.x=1", "seed.y=2"], "seed is {'x': 1, 'y': 2}"),
        ("seed: 1", ["seed.x=1"], "'seed' is no section"),
        (MINIMAL, ["train=3"], "expected a section"),
        (MINIMAL, ["train.epochs=2", "train.warmup_epochs=2"], "warmup_epochs is 2"),
        (MINIMAL, ["device=cpu", "precision=bfloat16"], "precision is bfloat16"),
        (MINIMAL, ["device=tpu"], "device is 'tpu'"),
        (MINIMAL, ["targets=[ER, ER]"], "several different names"),
        (MINIMAL, ["out=s"], "the same as the store"),
        ("store: s\nout: o", [], "key 'split' is missing"),
        ("- a", [], "holds list"),
        ("a: [", [], "cannot be read at line"),
    ],
)
def test_bad_configuration_is_one_sentence(
    tmp_path: Path, text: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, text), overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="nowhere"):
        load_config(str(tmp_path / "nowhere.yaml"))


def test_overrides_win_and_dump_reads_back(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL), ["train.lr=1e-3", "targets=PR", "fold=2"])
    assert (config.train.lr, config.targets, config.fold) == (1e-3, ("PR",), 2)
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_paths_are_made_absolute_and_urls_left_alone(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL), ["out=s3://bucket/run/"])
    assert Path(config.store).is_absolute()
    assert config.out == "s3://bucket/run"


def test_identity_leaves_out_places_only(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    moved = load_config(path, ["out=elsewhere", "device=cpu"])
    other = load_config(path, ["seed=1"])
    assert load_config(path).identity() == moved.identity() != other.identity()


def test_every_field_has_a_doc() -> None:
    for section in (RunConfig, *(f.annotation for f in RunConfig.model_fields.values())):
        for name, field in getattr(section, "model_fields", {}).items():
            assert field.description or hasattr(field.annotation, "model_fields"), name


def test_devices_and_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", "/dev/null", str(tmp_path / "pipe")):
        with pytest.raises(InputError, match="is a device or a pipe, expected a YAML file"):
            load_config(path)
