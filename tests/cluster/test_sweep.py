import pytest
import yaml

from cluster.sweep import SweepConfig, check_sweep, load_sweep, plan_trials
from preprocessing.errors import InputError
from radiotrain.config import parse_config

VALUES = {
    "store": "s",
    "split": "p.json",
    "out": "sweep",
    "networks": ["ResNet10-narrow", "SEResNet50"],
    "targets": ["ER", ["ER", "PR"]],
    "seeds": [0, 1],
    "train": {"epochs": 7},
}


def sweep_of(**changes):
    return parse_config(SweepConfig, VALUES | changes, "sweep.yaml")


def test_every_combination_is_one_trial_with_a_folder_of_its_own():
    plans = plan_trials(sweep_of())
    assert len(plans) == 2 * 2 * 2
    assert len({p.run.out for p in plans}) == 8
    assert {p.group for p in plans} == {"ER", "ER+PR"}
    assert {p.run.targets for p in plans if p.group == "ER+PR"} == {("ER", "PR")}
    assert {p.run.train.epochs for p in plans} == {7}
    check_sweep(plans)


def test_every_section_of_a_run_reaches_its_trials():
    changes = {
        "train": {"epochs": 7, "ema_decay": 0.9},
        "speed": {"placement": "stream"},
        "show": {"tensorboard": False},
        "augment": {"tilt_degrees": 5},
        "early_stopping": {"patience": 3},
    }
    for plan in plan_trials(sweep_of(**changes)):
        for section, values in changes.items():
            found = getattr(plan.run, section).model_dump()
            assert values.items() <= found.items()


def test_file_and_overrides(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(VALUES))
    sweep = load_sweep(str(path), ["train.epochs=3", "seeds=[5]"])
    assert sweep.train.epochs == 3
    assert [p.run.seed for p in plan_trials(sweep)] == [5] * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": ["ResNet10"]}, "unknown key 'network' \\(did you mean 'networks'\\?\\)"),
        ({"networks": ["ResNet11"]}, "unknown network 'ResNet11' \\(did you mean"),
        ({"networks": []}, "networks is \\[\\], expected one or several different ones"),
        ({"targets": ["ER", "ER"]}, "targets is"),
        ({"asha": {"grace": 3}}, "unknown key 'asha.grace' \\(did you mean 'asha.grace_epochs'"),
        ({"precision": "half"}, "precision is 'half'"),
    ],
)
def test_mistakes_are_said_in_one_sentence(changes, message):
    with pytest.raises(InputError, match=message):
        plan_trials(sweep_of(**changes))
