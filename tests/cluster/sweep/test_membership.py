"""Sweeps that are extended or made smaller: what they train anew, and what they leave out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.sweep.folder import Suggestion, SweepFolder, read_states, summaries
from cluster.sweep.optuna_search import NextTrial
from cluster.sweep.reuse import describe_reuse
from cluster.sweep.run import check_members
from cluster.sweep.sweep_state import SweepState
from preprocessing.common.errors import InputError
from preprocessing.storage.digests import text_with_digest
from radiotrain.config.yaml_text import dump_yaml, load_yaml
from radiotrain.runs.epoch_metrics import EpochMetrics, read_metrics
from radiotrain.runs.run_folder import RunFolder, new_record
from radiotrain.split.split import load_split

LR = {"train.lr": {"loguniform": [1e-4, 1e-2]}}
LOSS = {"train.loss": {"grid": ["bce", "focal"]}}
# A rule that ends runs early; no window is longer than the runs here.
STOPPING = {"choose": "smoothed_loss", "window": 1, "patience": 15}


@pytest.fixture
def make(make_sweep, tmp_path):
    """A sweep in one folder: a single trial, but for the changes."""

    def make(**changes):
        return make_sweep(tmp_path / "sweep", **{"targets": ["ER"], "seeds": [0]} | changes)

    return make


@pytest.fixture
def finish():
    """Return a function that leaves a sweep's folder as if all of its trials had been trained."""

    def finish(sweep, plans=None):
        folder = SweepFolder(sweep.out)
        folder.write_sweep(sweep)
        plans = folder.read_plans(sweep) if plans is None else plans
        for number, plan in enumerate(plans):
            for run in plan.runs:
                if not RunFolder(run.out).holds_training():
                    leave_run(run, 0.5 + number / 100)
        return {plan.name: plan for plan in plans}

    return finish


def leave_run(run, auc):
    folder, epochs, split = RunFolder(run.out), run.train.epochs, load_split(run.split)
    record = new_record(run, split.patients_fingerprint, split.fingerprint)
    folder.write_config(run)
    folder.write_metrics(
        [
            EpochMetrics(n, epochs, 0.5, 0.5, auc, {"ER": auc}, 0, n == 0, 1, 1)
            for n in range(epochs)
        ]
    )
    last = read_metrics(f"{run.out}/metrics.jsonl", "").digests[-1]
    done = {"status": "finished", "num_epochs": epochs, "best_epoch": 0, "validation_auc": auc}
    folder.write_record(replace(record, **done, metrics_digest=last))


def sorted_out(sweep):
    """Names and runs of what is there of a sweep and of what is new; and what is left out."""
    members = SweepFolder(sweep.out).read_members(sweep)
    runs = [run for plan in members.trials for run in plan.runs]
    old = [run.out for run in runs if RunFolder(run.out).holds_training()]
    new = [run.out for run in runs if run.out not in old]
    assert len({*old, *new}) == len(runs)
    return old, new, members.left_out


@pytest.mark.parametrize("search", [{}, LR, LOSS, LR | LOSS])
def test_seeds_folds_networks_targets_and_samples_add_to_what_is_there(make, finish, search):
    samples = 2 if "train.lr" in search else 1
    small = make(search=search, num_samples=samples)
    before = finish(small)
    num = len(before)
    for changes, times in [
        ({"seeds": [1, 0]}, 2),
        ({"folds": [0, 1, 2]}, 3),
        ({"folds": [2, 0]}, 2),
        ({"networks": ["ResNet10", "ResNet10-narrow"]}, 2),
        ({"targets": ["PR", "ER", ["ER", "PR"]]}, 3),
        *([({"num_samples": 6}, 3)] if samples > 1 else []),
        ({"seeds": [0, 5], "folds": [1, 0], "networks": ["ResNet18", "ResNet10-narrow"]}, 8),
    ]:
        old, new, left_out = sorted_out(
            make(**{"search": search, "num_samples": samples} | changes)
        )
        assert (len(old), len(new), left_out) == (num, num * (times - 1), {}), changes
        assert {*old} == {run.out for plan in before.values() for run in plan.runs}


def test_a_sweep_grows_again_and_again_and_back(make, finish):
    """Whatever trials are called, each configuration and fold is trained once."""
    steps = [
        {"seeds": [0]},
        {"seeds": [0, 1]},
        {"seeds": [1], "folds": [0, 1]},
        {"seeds": [1], "folds": [3], "search": LOSS},
        {"seeds": [0, 1, 2], "folds": [1, 0, 3], "search": LOSS},
        {"seeds": [0], "folds": [0], "search": LOSS | {"train.lr": {"grid": [1e-3, 3e-3]}}},
    ]
    for changes in steps:
        finish(make(**changes))
    identities = set()
    configs = list(Path(make().out).rglob("config.yaml"))
    for path in configs:
        config = RunFolder(str(path.parent)).read_config()
        identities.add(str(config.identity()))
    # Seeds on folds; focal on top of that, and the other learning rate twice.
    assert len(configs) == len(identities) == 3 * 3 + 3 * 3 + 2
    for changes in steps:
        assert sorted_out(make(**changes))[1] == []


def test_a_grid_may_have_values_put_before_and_between(make, finish):
    def grid(*values):
        return make(search={"train.lr": {"grid": list(values)}})

    before = finish(grid(1e-3, 3e-3))
    old, new, left_out = sorted_out(grid(5e-4, 1e-3, 2e-3, 3e-3))
    assert (len(old), len(new), left_out) == (2, 2, {})
    finish(grid(5e-4, 1e-3, 2e-3, 3e-3))
    old, new, left_out = sorted_out(grid(3e-3, 5e-4))
    assert (len(old), len(new)) == (2, 0)
    assert next(iter(before)) in left_out
    assert {*left_out.values()} == {
        "train.lr is 0.001, which is outside the space",
        "train.lr is 0.002, which is outside the space",
    }


def test_numbers_that_are_written_otherwise_are_the_same(make, finish):
    finish(
        make(search={"train.lr": {"grid": ["1e-3", 1]}, "train.warmup_epochs": {"integer": [1, 2]}})
    )
    same = {"train.lr": {"grid": [1.0, 0.001]}, "train.warmup_epochs": {"integer": [1, 2]}}
    old, new, left_out = sorted_out(make(search=same))
    assert (len(old), new, left_out) == (2, [], {})


def test_a_wider_space_keeps_all_and_a_narrower_one_replaces_what_is_outside(make, finish):
    def space(low, high, samples):
        return make(search={"train.lr": {"uniform": [low, high]}}, num_samples=samples)

    finish(space(0.001, 0.003, 4))
    old, new, left_out = sorted_out(space(0.0001, 0.01, 4))
    assert (len(old), new, left_out) == (4, [], {})
    old, new, left_out = sorted_out(space(0.0001, 0.01, 7))
    assert (len(old), len(new), left_out) == (4, 3, {})
    drawn = [p.run.train.lr for p in SweepFolder(make().out).read_plans(space(0.001, 0.003, 4))]
    middle = sorted(drawn)[2]
    old, new, left_out = sorted_out(space(0.001, middle, 4))
    assert (len(old), len(new), len(left_out)) == (3, 1, 1)
    # While the new ones are trained one by one, nothing else changes.
    grown = space(0.0001, 0.01, 7)
    plans = SweepFolder(grown.out).read_plans(grown)
    for last in reversed(plans):
        finish(grown, [last])
        again = SweepFolder(grown.out).read_plans(grown)
        assert {(p.name, p.run) for p in again} == {(p.name, p.run) for p in plans}


def test_fewer_samples_keep_the_first_and_more_bring_the_others_back(make, finish):
    finish(make(search=LR, num_samples=5))
    old, new, left_out = sorted_out(make(search=LR, num_samples=2))
    assert [Path(run).name[-3:] for run in old] == ["000", "001"]
    assert (new, list(left_out.values())) == ([], ["num_samples is 2"] * 3)
    old, new, left_out = sorted_out(make(search=LR, num_samples=6))
    assert (len(old), len(new), left_out) == (5, 1, {})


def test_equal_draws_are_one_trial(make):
    plans = SweepFolder(make().out).read_plans(
        make(search={"train.loss": {"choice": ["bce", "focal"]}}, num_samples=20)
    )
    assert sorted(plan.run.train.loss for plan in plans) == ["bce", "focal"]


@pytest.mark.parametrize(
    ("before", "after", "num_old", "num_new", "num_left_out"),
    [
        # The base's learning rate is 3e-3.
        ({"grid": [1e-3, 3e-3]}, None, 1, 0, 1),
        (None, {"grid": [1e-3, 3e-3]}, 1, 1, 0),
        (None, {"uniform": [1e-3, 5e-3]}, 1, 0, 0),
        (None, {"uniform": [4e-3, 5e-3]}, 0, 1, 1),
    ],
)
def test_a_key_that_is_searched_no_more_or_now_has_the_bases_value(
    make, finish, before, after, num_old, num_new, num_left_out
):
    def sweep(distribution):
        return make(search={} if distribution is None else {"train.lr": distribution})

    finish(sweep(before))
    old, new, left_out = sorted_out(sweep(after))
    assert (len(old), len(new), len(left_out)) == (num_old, num_new, num_left_out)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": {"epochs": 4, "batch_size": 16, "lr": 3e-3, "warmup_epochs": 1}}, "batch_size"),
        ({"augment": {"flip": 0.2}}, "augment.flip is 0.5 there and 0.2 now"),
        ({"precision": "float32"}, "precision is 'auto' there and 'float32' now"),
        ({"train": {"epochs": 5, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1}}, "depends on it"),
        (
            {"train": {"epochs": 5, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1},
             "search": {"train.final_lr_fraction": {"grid": [1.0]}}},
            "no checkpoint to go on from",
        ),
        ({"early_stopping": STOPPING | {"patience": 1}}, "patience is 15 there and 1 now"),
        ({"early_stopping": {}}, "choose is 'smoothed_loss' there and 'last' now"),
    ],
)  # fmt: skip
def test_what_every_trial_has_cannot_change(make, finish, changes, sentence):
    first = make(search=changes.get("search", {}), early_stopping=STOPPING)
    finish(first)
    before = Path(first.out, "sweep.yaml").read_text()
    with pytest.raises(InputError, match=sentence):
        check_members(make(**{"early_stopping": STOPPING} | changes))
    assert Path(first.out, "sweep.yaml").read_text() == before


def test_what_every_trial_has_may_change_before_anything_was_trained(make):
    SweepFolder(make().out).write_sweep(make())
    check_members(make(augment={"flip": 0.2}))


def test_a_fold_that_was_begun_and_not_trained_is_nothing(make):
    plan = SweepFolder(make().out).read_plans(make())[0]
    split, folder = load_split(plan.run.split), RunFolder(plan.run.out)
    folder.write_config(plan.run)
    record = new_record(plan.run, split.patients_fingerprint, split.fingerprint)
    folder.write_record(replace(record, status="failed", error="of memory there was none"))
    for changes in ({"augment": {"flip": 0.1}}, {"folds": [0, 1], "augment": {"flip": 0.1}}):
        old, new, _ = sorted_out(make(**changes))
        assert (old, len(new)) == ([], len(make(**changes).folds))
        (state,) = read_states(check_members(make(**changes)).trials)
        assert (state.records, state.num_epochs) == ((), 0)


TPE = {
    "search_algorithm": "tpe",
    "search": {
        "train.lr": {"loguniform": [1e-4, 1e-2]},
        "train.loss": {"choice": ["bce", "focal"]},
        "network.covariates": {"choice": [[], ["age"]]},
    },
    "num_samples": 3,
    "early_stopping": STOPPING,
    "networks": ["ResNet10-narrow", "ResNet10"],
}


def searching(**changes):
    return {"search": {k: v for k, v in (TPE["search"] | changes).items() if v is not None}}


@pytest.fixture
def suggested(make, finish):
    """Six trials that were suggested and trained, half of each network."""
    sweep = make(**TPE)
    folder = SweepFolder(sweep.out)
    for number in range(6):
        values = {
            "train.lr": 10 ** -(2 + number / 3),
            "train.loss": ["bce", "focal"][number // 3],
            "network.covariates": [[], ["age"]][number % 2],
        }
        folder.add_suggestion(Suggestion("ER", number, TPE["networks"][number % 2], values))
    finish(sweep)
    return sweep


def test_a_sweep_that_was_begun_with_the_old_names_of_keys_goes_on(make, finish):
    search = {"network.pretrained": {"choice": [None, "/w.pt"]}} | LR
    sweep = make(search=search, num_samples=3)
    before = finish(sweep)
    for path in [*Path(sweep.out).rglob("config.yaml"), Path(sweep.out) / "sweep.yaml"]:
        text = dump_yaml(load_yaml(path.read_text()))
        for old, new in {
            "show": "logging", "weights": "pretrained", "network.weights": "network.pretrained",
            "samples": "num_samples", "searcher": "search_algorithm",
        }.items():  # fmt: skip
            text = re.sub(rf"^( *){new}:", rf"\1{old}:", text, flags=re.MULTILINE)
        path.write_text(text_with_digest(text))
    resumed = SweepFolder(sweep.out).read_sweep()
    assert resumed == sweep
    assert check_members(resumed).trials == tuple(before.values())
    old, new, left_out = sorted_out(resumed)
    assert (len(old), new, left_out) == (len(before), [], {})


def test_suggestions_that_were_recorded_with_the_old_names_are_read(make):
    search = {"network.pretrained": {"choice": [None, "/w.pt"]}}
    sweep = make(search_algorithm="tpe", search=search, num_samples=1)
    folder = SweepFolder(sweep.out)
    folder.add_suggestion(Suggestion("ER", 0, "ResNet10-narrow", {"network.weights": "/w.pt"}))
    (plan,) = folder.read_plans(sweep)
    assert plan.run.network.pretrained == "/w.pt"
    assert plan.searched == {"network.pretrained": "/w.pt"}


EDITS = [
    ({}, 6, 0),
    ({"num_samples": 5}, 6, 4),
    ({"num_samples": 2}, 4, 0),
    ({"networks": ["ResNet10"]}, 3, 0),
    ({"networks": ["ResNet18", "ResNet10", "ResNet10-narrow"]}, 6, 3),
    ({"targets": ["PR", "ER"]}, 6, 6),
    ({"targets": ["PR"]}, 0, 6),
    ({"seeds": [1]}, 0, 6),
    ({"folds": [1, 0]}, 6, 0),
    ({"search_seed": 9, "num_samples": 4}, 6, 2),
    (searching(**{"train.lr": {"loguniform": [1e-6, 1]}}), 6, 0),
    (searching(**{"train.lr": {"uniform": [0.0009, 0.5]}}), 4, 2),
    (searching(**{"train.lr": {"uniform": [0.5, 0.6]}}), 0, 6),
    (searching(**{"train.lr": {"choice": [0.01, 0.001]}}), 2, 4),
    (searching(**{"train.lr": None}), 0, 6),
    (searching(**{"train.loss": {"choice": ["focal", "bce"]}}), 6, 0),
    (searching(**{"train.loss": {"choice": ["focal"]}}), 3, 3),
    (searching(**{"train.loss": {"grid": ["focal", "bce"]}}), 6, 0),
    (searching(**{"train.loss": None}), 3, 3),
    (searching(**{"network.covariates": {"choice": [["age"]]}}), 3, 3),
    (searching(**{"augment.noise": {"uniform": [0, 0.1]}}), 6, 0),
    (searching(**{"augment.noise": {"uniform": [0.08, 0.1]}}), 0, 6),
    (searching(**{"early_stopping.patience": {"integer": [3, 20]}}), 6, 0),
    (searching(**{"train.ema_decay": {"choice": [None, 0.9]}}), 6, 0),
    ({"halving": {"grace_epochs": 2}}, 6, 0),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # Optuna's own
@pytest.mark.parametrize(("changes", "num_old", "num_new"), EDITS)
def test_a_search_goes_on_after_any_edit(make, suggested, finish, changes, num_old, num_new):
    sweep = make(**TPE | changes)
    folder = SweepFolder(sweep.out)
    members = folder.read_members(sweep)
    names = {plan.name for plan in members.trials}
    assert len(names) == len(members.trials) == num_old
    assert len(members.left_out) == 6 - num_old
    sweep_state = SweepState(sweep, members.trials)
    search, new = NextTrial(sweep_state), []
    while isinstance(given := search.suggest(str(len(new))), dict):
        if given["trial"]["name"] not in names:
            new.append(given["trial"]["name"])
        # Each is reported before the next is asked for, since it has a score.
        finish(sweep, [sweep_state.summary(given["trial"]["name"]).plan])
        sweep_state.refresh(given["trial"]["name"])
    assert len(new) == len({*new}) == num_new
    # The new ones are members too, and the number is what was asked for.
    again = folder.read_members(sweep).trials
    assert {*new} | names == {plan.name for plan in again}
    for plan in again:
        assert all(sweep.search[key].contains(value) for key, value in plan.searched.items())


@pytest.mark.filterwarnings("ignore")
def test_all_that_lies_in_the_space_is_told_to_the_search(make, suggested, monkeypatch):
    told = []

    class Listening:
        def __init__(self, **_):
            pass

        def add_evaluated_point(self, values, score):
            told.append((values, score))

        def suggest(self, _):
            return {"network.name": 0, "train.lr": 0.5, "train.loss": 0, "network.covariates": 0}

    monkeypatch.setattr("cluster.sweep.optuna_search.OptunaSearch", Listening)
    sweep = make(
        **TPE
        | searching(
            **{"train.lr": {"uniform": [0.0009, 0.5]}, "train.loss": {"choice": ["focal", "bce"]}}
        )
        | {"networks": ["ResNet18", "ResNet10", "ResNet10-narrow"]}
    )
    assert isinstance(NextTrial(SweepState(sweep, check_members(sweep).trials)).suggest("a"), dict)
    assert [score for _, score in told] == [0.5, 0.51, 0.52, 0.53]
    assert [values["train.loss"] for values, _ in told] == [1, 1, 1, 0]
    assert [values["network.name"] for values, _ in told] == [2, 1, 2, 1]


def test_a_search_algorithm_may_take_over_from_the_other(make, finish, suggested):
    random = make(**TPE | {"search_algorithm": "random", "num_samples": 6})
    old, new, left_out = sorted_out(random)
    # Each of the six settings, with the network that has not had it.
    assert (len(old), len(new), left_out) == (6, 6, {})
    finish(random)
    tpe = make(**TPE | {"num_samples": 7})
    members = SweepFolder(tpe.out).read_members(tpe)
    assert (len(members.trials), members.left_out) == (12, {})
    given = NextTrial(SweepState(tpe, members.trials)).suggest("a")
    assert given["trial"]["name"] not in {plan.name for plan in members.trials}


def test_what_will_be_trained_is_said(make, finish):
    first = make(search=LR, num_samples=3)
    finish(first)
    (stopped, *_) = SweepFolder(first.out).read_plans(first)
    folder = RunFolder(stopped.run.out)
    record = replace(folder.read_record(), status="stopped", num_epochs=1)
    last = read_metrics(f"{folder.url}/metrics.jsonl", "")
    folder.write_metrics(last.epochs[:1])
    folder.write_record(replace(record, metrics_digest=last.digests[0]))

    def said(sweep):
        members = SweepFolder(sweep.out).read_members(sweep)
        found = summaries(sweep, read_states(members.trials))
        return list(describe_reuse(sweep, found, members.left_out))

    assert said(make(networks=["ResNet10"])) == [
        "1 trial: 0 are done, 0 resume or wait for the others, 1 are new",
        *(
            f"not in this sweep any more: {plan.name}: ResNet10-narrow is not among the sweep's networks"
            for plan in SweepFolder(first.out).read_plans(first)
        ),
    ]
    first_line, second_line = said(make(search=LR, num_samples=9))
    assert first_line == "9 trials: 2 are done, 1 resume or wait for the others, 6 are new"
    assert second_line.startswith(f"if {stopped.name} goes on, its 1 epoch will be trained again")
    assert said(make(search=LR, num_samples=3))[1:] == [
        "nothing is left to train: num_samples is 3, raise it to try more settings"
    ]
