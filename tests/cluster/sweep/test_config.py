import pytest
import yaml

from cluster.sweep.config import SweepConfig, load_sweep, plan_trials
from preprocessing.common.errors import InputError
from radiotrain.config.run_config import dump_config, parse_config

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


def test_folds_of_a_configuration_are_one_trial():
    one_fold = plan_trials(sweep_of())
    plans = plan_trials(sweep_of(folds=[2, 0, 1]))
    assert [plan.name for plan in plans] == [plan.name for plan in one_fold]
    for plan, single in zip(plans, one_fold, strict=True):
        assert [run.fold for run in plan.runs] == [2, 0, 1]
        # Each run's folder has a name of its own, by which reports tell them apart.
        assert [run.out for run in plan.runs] == [
            f"{single.run.out}/{plan.name}_fold{fold}" for fold in (2, 0, 1)
        ]
        assert len({run.model_copy(update={"fold": 0, "out": ""}) for run in plan.runs}) == 1


def test_trials_of_the_search_algorithm_tpe_are_not_known_beforehand():
    search = {"train.lr": {"loguniform": [1e-4, 1e-2]}}
    assert (
        plan_trials(sweep_of(search_algorithm="tpe", seeds=[0], search=search, num_samples=3)) == ()
    )


def test_every_section_of_a_run_reaches_its_trials():
    changes = {
        "train": {"epochs": 7, "ema_decay": 0.9},
        "speed": {"placement": "stream"},
        "logging": {"tensorboard": False},
        "augment": {"tilt_degrees": 5},
        "early_stopping": {"choose": "smoothed_loss", "patience": 3},
    }
    for plan in plan_trials(sweep_of(**changes)):
        for section, values in changes.items():
            found = getattr(plan.run, section).model_dump()
            assert values.items() <= found.items()


SEARCH = {
    "train.lr": {"loguniform": [1e-4, 1e-2]},
    "train.batch_size": {"choice": [8, 16]},
    "train.loss": {"grid": ["bce", "focal"]},
    "augment.noise": {"uniform": [0.0, 0.2]},
    "early_stopping.choose": {"choice": ["smoothed_loss", "smoothed_auc"]},
    "early_stopping.patience": {"integer": [3, 9]},
}


def test_settings_are_the_same_for_every_network_and_target():
    plans = plan_trials(sweep_of(search=SEARCH, num_samples=5))
    assert len({plan.name for plan in plans}) == len(plans) == 2 * 2 * 2 * 2 * 5
    by_arm = {}
    for plan in plans:
        arm = (plan.run.network.name, plan.group, plan.run.seed)
        by_arm.setdefault(arm, []).append(plan.searched)
    assert len(by_arm) == 8
    assert all(settings == by_arm[min(by_arm)] for settings in by_arm.values())
    assert len({tuple(settings.items()) for settings in by_arm[min(by_arm)]}) == 10


def test_what_is_searched_is_what_is_run_and_lies_where_it_was_asked_for():
    for plan in plan_trials(sweep_of(search=SEARCH, num_samples=20)):
        run = plan.run
        assert plan.searched == {
            "train.lr": run.train.lr,
            "train.batch_size": run.train.batch_size,
            "train.loss": run.train.loss,
            "augment.noise": run.augment.noise,
            "early_stopping.choose": run.early_stopping.choose,
            "early_stopping.patience": run.early_stopping.patience,
        }
        assert 1e-4 <= run.train.lr <= 1e-2
        assert run.train.batch_size in (8, 16)
        assert 0 <= run.augment.noise <= 0.2
        assert 3 <= run.early_stopping.patience <= 9
        assert run.train.epochs == 7


def test_loguniform_draws_each_factor_as_often():
    plans = plan_trials(
        sweep_of(
            search={"train.lr": SEARCH["train.lr"]}, num_samples=400, seeds=[0], targets=["ER"]
        )
    )
    below = sum(plan.run.train.lr < 1e-3 for plan in plans) / len(plans)
    assert abs(below - 0.5) < 0.1


def test_another_field_or_more_samples_change_nobodys_draws():
    few = plan_trials(sweep_of(search={"train.lr": SEARCH["train.lr"]}, num_samples=3, seeds=[0]))
    more = plan_trials(sweep_of(search=SEARCH, num_samples=6, seeds=[0]))
    of_few = sorted({plan.run.train.lr for plan in few})
    assert set(of_few) <= {plan.run.train.lr for plan in more}
    other = plan_trials(
        sweep_of(search={"train.lr": SEARCH["train.lr"]}, num_samples=3, seeds=[0], search_seed=1)
    )
    assert not set(of_few) & {plan.run.train.lr for plan in other}


def test_searched_sweep_comes_back_from_its_file(tmp_path):
    sweep = sweep_of(search=SEARCH, num_samples=2)
    (tmp_path / "sweep.yaml").write_text(dump_config(sweep))
    assert plan_trials(load_sweep(str(tmp_path / "sweep.yaml"))) == plan_trials(sweep)


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
        (
            {"halving": {"grace": 3}},
            "unknown key 'halving.grace' \\(did you mean 'halving.grace_ep",
        ),
        ({"precision": "half"}, "precision is 'half'"),
        ({"search": {"train.lrr": {"grid": [1]}}}, "unknown key 'train.lrr' \\(did you mean"),
        ({"search": {"fold": {"grid": [0, 1]}}}, "'fold' cannot be searched"),
        ({"search": {"network.name": {"grid": ["ResNet10"]}}}, "list it under networks"),
        ({"search": {"train.epochs": {"grid": [5, 9]}}}, "compared epoch by epoch"),
        ({"folds": []}, "folds is \\[\\], expected one or several different ones"),
        ({"folds": [0, -1]}, "expected numbers from 0 on"),
        ({"search_algorithm": "tpe"}, "search_algorithm is tpe and search is empty"),
        (
            {"search_algorithm": "tpe", "search": {"train.lr": {"uniform": [0.1, 0.2]}}},
            "seeds is \\[0, 1\\], expected one",
        ),
        ({"search_algorithm": "asha"}, "search_algorithm is 'asha'"),
        ({"search": {"train.lr": {"uniform": [2, 1]}}}, "uniform is \\[2.0, 1.0\\], expected the"),
        ({"search": {"train.lr": {"loguniform": [0, 1]}}}, "expected positive bounds"),
        (
            {"search": {"train.lr": [1e-4, 1e-3]}},
            "expected a section with keys like search.train.lr.grid",
        ),
        (
            {"search": {"train.lr": {"grid": [1], "choice": [1]}}},
            "got grid, choice, expected exact",
        ),
        (
            {"search": {"train.lr": {"unifrom": [0, 1]}}},
            "'search.train.lr.unifrom' \\(did you mean 'search.train.lr.uniform'\\?\\), expected one of grid",
        ),
        ({"search": {"train.lr": {"grid": [-1]}}}, "train.lr is -1"),
        ({"num_samples": 3}, "nothing in search is drawn"),
    ],
)
def test_mistakes_are_said_in_one_sentence(changes, message):
    with pytest.raises(InputError, match=message):
        plan_trials(sweep_of(**changes))
