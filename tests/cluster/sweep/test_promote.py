"""Models made of sweeps. The first part needs no Ray: runs trained one by one are a sweep too."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest
import torch

from cluster.sweep.config import plan_trials
from cluster.sweep.folder import SweepFolder, TrialState
from cluster.sweep.promote import num_epochs, plan_promotions, promote
from cluster.sweep.run import run_sweep
from preprocessing.common.errors import (
    DamagedFileError,
    InputError,
    MissingPathError,
    RadiotrainError,
    SchemaError,
)
from preprocessing.common.progress import progress
from preprocessing.store import Store
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.from_runs import predict_runs
from radiotrain.runs.epoch_metrics import EpochMetrics
from radiotrain.runs.predict_run import load_network, predict_run
from radiotrain.runs.promoted import member_urls, read_promoted
from radiotrain.runs.provenance import describe_inputs, read_inputs
from radiotrain.runs.run_folder import RunFolder, RunRecord
from radiotrain.split.access_log import read_access_log
from radiotrain.split.split import load_split, make_split, save_split
from radiotrain.split.test_set_access import open_test_set
from radiotrain.statistics.member_scale import MemberPatients, cross_fitted_members
from radiotrain.training.loop import train
from tests.checked_files import change_history, change_values

FOLDS = (0, 1, 2)
HOWS = ("retrain", "ensemble")
EPOCHS = 3


def quiet(_):
    pass


def train_until(config, epochs):
    train(config, until_epoch=epochs, reporter=quiet)


def make(url, **options):
    promotions = plan_promotions(url, **options)
    for promotion in promotions:
        promote(promotion, train_until)
    return [promotion.url for promotion in promotions]


def weights(run_url):
    return load_network(run_url).network.state_dict()


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def predicted(urls):
    return predict_runs(urls, None, "a test", lambda _, __: nullcontext(lambda: None))


@pytest.fixture
def private_split(store, tmp_path):
    """A split of one's own, beside which openings are logged."""
    url = str(tmp_path / "splits.json")
    save_split(make_split(store, seed=3, num_folds=4), url)
    return url


@pytest.fixture(scope="module")
def trained(make_sweep, tmp_path_factory):
    """Two trials of one target on three folds, trained to their ends."""
    sweep = make_sweep(
        tmp_path_factory.mktemp("trained") / "sweep",
        targets=["ER"],
        folds=list(FOLDS),
        train={"epochs": EPOCHS, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1},
        halving={"enabled": False},
        early_stopping={"choose": "best_auc"},
    )
    SweepFolder(sweep.out).write_sweep(sweep)
    for plan in plan_trials(sweep):
        for run in plan.runs:
            train(run, reporter=quiet)
    return sweep


@pytest.fixture
def sweep_url(trained, private_split, tmp_path):
    """A copy of that sweep for a test to change."""
    url = tmp_path / "sweep"
    shutil.copytree(trained.out, url)
    sweep = trained.model_copy(update={"out": str(url), "split": private_split})
    SweepFolder(str(url)).write_sweep(sweep)
    for path in url.rglob("config.yaml"):
        config = RunFolder(str(path.parent)).read_config()
        RunFolder(str(path.parent)).write_config(config.model_copy(update={"split": private_split}))
    return str(url)


def winner(url):
    """The best trial's score as the sweep defines it, done over, and its run folders."""
    by_trial = {}
    for folder in sorted(Path(url).glob("ER_*")):
        runs = sorted(folder.glob("*_fold*"))
        scores, seen = [], []
        for run in runs:
            aucs = [m.validation_auc for m in RunFolder(str(run)).read_metrics()]
            scores.append(max(aucs))
            seen += aucs
        # Of equals the one that was better all along.
        rank = sum(scores) / len(scores), sum(seen) / len(seen)
        by_trial[rank] = [str(run) for run in runs]
    best = max(by_trial)
    return best[0], by_trial[best]


def naive_threshold(table):
    """The probability with the best Youden index, counted patient by patient."""
    rows = [(p, y) for p, y in zip(table["probability"], table["label"], strict=True) if y >= 0]
    positive, negative = [p for p, y in rows if y == 1], [p for p, y in rows if y == 0]

    def worth(threshold):
        sensitivity = Fraction(sum(p >= threshold for p in positive), len(positive))
        specificity = Fraction(sum(p < threshold for p in negative), len(negative))
        return sensitivity + specificity, -abs(sensitivity - specificity), threshold

    return max((p for p, _ in rows), key=worth)


def calibrated_out_of_fold(unseen):
    """Each fold's patients calibrated by curves that were fitted without them."""
    folds = [rows for _, rows in unseen.groupby("fold")]
    members = [
        MemberPatients(
            tuple(rows["patient_id"]), rows["label"].to_numpy(float), rows["probability"].to_numpy()
        )
        for rows in folds
    ]
    held = cross_fitted_members(members)
    return pd.concat(rows.assign(probability=p) for rows, p in zip(folds, held, strict=True))


@pytest.mark.parametrize("how", HOWS)
def test_the_threshold_is_that_of_the_out_of_fold_predictions(sweep_url, private_split, how):
    _, runs = winner(sweep_url)
    unseen = pd.concat([RunFolder(run).read_predictions() for run in runs])
    split = load_split(private_split)
    assert set(unseen["patient_id"]) == {i for fold in FOLDS for i in split.folds[fold]}
    (url,) = make(sweep_url, how=how)
    if how == "ensemble":
        unseen = calibrated_out_of_fold(unseen)
    table, _ = predicted([url])
    result = evaluate_table(table, num_resamples=100).results[0]
    assert result.threshold == naive_threshold(unseen)
    assert result.num_validation == len(unseen)
    assert result.num_patients == len(split.test_ids)
    assert [opening.runs for opening in read_access_log(private_split).records] == [("ER",)]


@pytest.mark.parametrize(
    ("choose", "expected"),
    # The mean curve of two ended folds is best after 3 epochs, though neither fold's own is.
    # By the old rule the mean over all folds, 2, 4 and 1, as models by it were always made.
    [("smoothed_auc", 3), ("last", 5), ("best_auc", 2)],
)
def test_a_network_is_trained_again_for_one_number_of_epochs(
    make_sweep, tmp_path, choose, expected
):
    stopping = {"choose": choose, "window": 1}
    sweep = make_sweep(tmp_path, targets=["ER"], folds=list(FOLDS), early_stopping=stopping)
    plan = plan_trials(sweep)[0]
    curves = [0.5, 0.9, 0.8, 0.5, 0.5], [0.5, 0.5, 0.8, 0.9, 0.5], [0.99, 0.5]
    histories = tuple(
        tuple(EpochMetrics(i, 5, 0.5, 0.5, auc, {}, 0, False, 1, 1) for i, auc in enumerate(curve))
        for curve in curves
    )
    ends = (("finished", 1), ("finished", 3), ("paused", 0))
    records = tuple(
        RunRecord(status, "p", "s", 0, fold, ("ER",), best_epoch=best)
        for fold, (status, best) in enumerate(ends)
    )
    assert num_epochs(TrialState(plan, records, histories)) == expected


def test_a_retrained_network_is_one_of_no_fold_that_ends_sooner(sweep_url, tmp_path):
    _, runs = winner(sweep_url)
    best = [RunFolder(run).read_record().best_epoch + 1 for run in runs]
    epochs = int(sum(best) / len(best) + 0.5)
    (url,) = make(sweep_url, how="retrain")
    made, record = read_promoted(url), RunFolder(url).read_record()
    assert (made.kind, made.epochs, made.folds, made.status) == (
        "retrain",
        epochs,
        FOLDS,
        "finished",
    )
    assert made.score == pytest.approx(winner(sweep_url)[0])
    (promotion,) = plan_promotions(sweep_url, how="retrain")
    assert 0 < made.optimism < made.score
    assert f"of which about {made.optimism:.2f} is expected to be luck" in promotion.describe()
    assert (record.status, record.num_epochs, record.fold) == ("finished", epochs, None)
    # Trained to the end by hand: the schedule is the sweep's, so that the first epochs are the same.
    config = RunFolder(runs[0]).read_config()
    alone = config.model_copy(update={"fold": None, "out": str(tmp_path / "alone")})
    whole = train(alone, reporter=quiet).history
    assert [(m.train_loss, m.lr) for m in RunFolder(url).read_metrics()] == [
        (m.train_loss, m.lr) for m in whole[:epochs]
    ]


def test_an_interrupted_retraining_goes_on_and_ends_with_the_same_bits(sweep_url, tmp_path):
    # Sweeps this small often find the first epoch best; here it is the last.
    for path in Path(sweep_url).rglob("run.json"):
        change_values(path, lambda values: values | {"best_epoch": EPOCHS - 1})
    (whole,) = make(sweep_url, how="retrain", out=str(tmp_path / "whole"))
    out = str(tmp_path / "interrupted")
    (promotion,) = plan_promotions(sweep_url, how="retrain", out=out)

    def interrupted(config, epochs):
        train_until(config, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promote(promotion, interrupted)
    assert not promotion.is_made
    with pytest.raises(InputError, match=r"is not finished: run 'radiotrain promote' again"):
        predicted([promotion.url])
    make(sweep_url, how="retrain", out=out)
    assert same_bits(weights(promotion.url), weights(whole))
    assert promotion.is_made
    # What is made is not made again.
    promote(promotion, interrupted)


def test_an_ensemble_is_the_mean_of_its_folds_and_outlives_the_sweep(
    store, sweep_url, private_split, tmp_path
):
    _, runs = winner(sweep_url)
    split = load_split(private_split)
    access = open_test_set(private_split, "a test", ["alone"])
    alone = [predict_run(run, store, split, "test", access) for run in runs]
    (url,) = make(sweep_url, out=str(tmp_path / "models"))
    made = read_promoted(url)
    assert made.kind == "ensemble"
    calibrated = pd.concat(
        rows.assign(probability=scales["ER"].apply(rows["probability"]))
        for rows, scales in zip(alone, made.scales, strict=True)
    )
    expected = calibrated.groupby("patient_id")["probability"].mean()
    shutil.rmtree(sweep_url)
    table, context = predicted([url])
    found = table[table["split"] == "test"].groupby("patient_id")["probability"]
    assert set(found.count()) == {len(FOLDS)}
    assert found.mean().tolist() == pytest.approx(expected.tolist(), abs=1e-9)
    result = evaluate_table(table, num_resamples=100).results[0]
    assert (result.run, result.num_predictions) == ("ER", len(FOLDS))
    assert (
        "mean probability of the 3 networks, each calibrated on its own validation patients, of trial"
        " ER_ResNet10-narrow_seed"
    ) in context.flow.note
    # Eight validation patients each: too few for slopes of their own, which is said.
    said = [w for w in context.warnings if w.startswith("Network ER_ResNet10-narrow_seed")]
    assert len(said) == len(FOLDS)
    assert all("too few of a class for its own slope" in sentence for sentence in said)


def test_the_report_says_what_the_model_is(sweep_url, private_split):
    (url,) = make(sweep_url, how="retrain")
    _, context = predicted([url])
    made = read_promoted(url)
    assert (context.flow.num_train, context.flow.num_validation) == (32, 0)
    assert (
        f"ER is one network with the configuration of trial {made.trial}, the best of 2 in sweep"
        f" {sweep_url}, trained on all 32 development patients for {made.epochs} epoch"
    ) in context.flow.note
    assert "out-of-fold predictions of the 24 patients of folds 0, 1, 2" in context.flow.note
    assert context.provenance["model ER"]["trial"] == made.trial
    assert context.provenance["run ER"]["fold"] is None
    assert any("threshold" in warning for warning in context.warnings)


def _one_trial_failed(url):
    path = next(Path(url).glob("ER_*/*_fold2/run.json"))
    change_values(path, lambda values: values | {"status": "failed", "error": "a reason"})
    change_history(path.parent, lambda history: history[:1])


def _no_weights(url):
    for path in Path(url).rglob("best.pt"):
        path.unlink()


def _other_split(url):
    store = Store.open(SweepFolder(url).read_sweep().store)
    split = SweepFolder(url).read_sweep().split
    Path(split).unlink()
    save_split(make_split(store, seed=4, num_folds=4), split)


def _other_settings(url):
    sweep = SweepFolder(url).read_sweep()
    changed = sweep.model_copy(update={"train": sweep.train.model_copy(update={"lr": 0.5})})
    SweepFolder(url).write_sweep(changed)


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (
            _one_trial_failed,
            {},
            r"1 of 2 trials of ER have not ended \(1 failed\).*--allow-unfinished",
        ),
        (_no_weights, {}, r"has lost its weights.*--strategy retrain"),
        (_other_split, {}, r"was trained on split .* of patients"),
        (_other_settings, {}, r"train\.lr is 0\.001 there and 0\.5 now"),
        (None, {"targets": ["PR"]}, r"the sweep has no target 'PR'.*, expected some of ER"),
    ],
)
def test_what_cannot_be_promoted_is_refused_before_anything_is_written(
    sweep_url, change, options, sentence
):
    if change is not None:
        change(sweep_url)
    with pytest.raises(RadiotrainError, match=sentence):
        plan_promotions(sweep_url, **options)
    assert not Path(sweep_url, "promoted").exists()


def test_an_unfinished_sweep_is_promoted_only_when_asked_for(sweep_url):
    _one_trial_failed(sweep_url)
    assert plan_promotions(sweep_url, unfinished=True)


def test_one_fold_makes_no_ensemble(sweep_url):
    sweep = SweepFolder(sweep_url).read_sweep()
    halving = sweep.halving.model_copy(update={"enabled": True, "grace_epochs": EPOCHS})
    SweepFolder(sweep_url).write_sweep(sweep.model_copy(update={"halving": halving}))
    for folder in Path(sweep_url).glob("ER_*/*_fold[12]"):
        shutil.rmtree(folder)
    (promotion,) = plan_promotions(sweep_url, unfinished=True)
    assert promotion.promoted.kind == "retrain"
    with pytest.raises(InputError, match="network of one fold, expected several"):
        plan_promotions(sweep_url, how="ensemble", unfinished=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", r"promoted\.json is damaged"),
        ('{"schema_version": 1}', "has schema 1, expected 2: remove .* and promote again"),
        ('{"schema_version": 99}', "has schema 99, expected 2: .* newer radiotrain"),
    ],
)
def test_a_model_that_cannot_be_understood_is_refused(tmp_path, text, sentence):
    (tmp_path / "promoted.json").write_text(text)
    with pytest.raises((SchemaError, DamagedFileError), match=sentence):
        read_promoted(str(tmp_path))


def test_a_sweep_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingPathError, match="no sweep at"):
        plan_promotions(str(tmp_path / "nothing"))


def test_another_best_trial_does_not_replace_a_model(sweep_url):
    first, second = sorted(Path(sweep_url).glob("ER_*"))
    _give_auc(first, 0.6)
    _give_auc(second, 0.5)
    (url,) = make(sweep_url, how="retrain")
    assert read_promoted(url).trial == first.name
    _give_auc(second, 0.7)
    with pytest.raises(InputError, match=rf"holds a model of trial {first.name}.*--out, or remove"):
        plan_promotions(sweep_url, how="retrain")
    _give_auc(second, 0.5)
    with pytest.raises(InputError, match=r"\(ensemble\)"):
        plan_promotions(sweep_url, how="ensemble")
    assert plan_promotions(sweep_url, out=str(Path(sweep_url).parent / "new"))


def _give_auc(trial, auc):
    for run in trial.glob("*_fold*"):
        change_history(run, lambda epochs: [replace(m, validation_auc=auc) for m in epochs])


# Ray's own worker processes and its pydantic models warn; none of it is ours to mend.
@pytest.mark.filterwarnings("ignore")
def test_nothing_in_tuning_reads_the_test_set(ray_here, make_sweep, store, split_url, tmp_path):
    """A sweep and its promotion end with the same bits where the test patients' voxels are gone."""
    split = load_split(split_url)
    blind = tmp_path / "blind"
    shutil.copytree(store.url, blind)
    for patient_id in split.test_ids:
        for array in ("images", "region"):
            shutil.rmtree(blind / array / "c" / str(store.index_of(patient_id)))
    without = Store.open(str(blind))
    # Whoever read them would notice.
    with pytest.raises(RadiotrainError, match="is missing, or not the one"):
        without.read_images(without.index_of(split.test_ids[0]))
    assert without.fingerprint == store.fingerprint

    def tuned(name, url):
        sweep = make_sweep(
            tmp_path / name,
            store=url,
            targets=["ER"],
            folds=[0, 1],
            train={"epochs": 2, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1},
            # One after the other in the same process: to start one takes longer than they do.
            resources={"cpus": 4},
        )
        run_sweep(sweep, progress)
        made = [make(sweep.out, how=h, out=str(tmp_path / f"{name}-{h}"))[0] for h in HOWS]
        return sweep, made

    sound, sound_models = tuned("sound", store.url)
    unread, unread_models = tuned("unread", str(blind))
    runs = [[run.out for plan in plan_trials(s) for run in plan.runs] for s in (sound, unread)]
    begun = [(a, b) for a, b in zip(*runs, strict=True) if RunFolder(a).read_record() is not None]
    assert len(begun) >= 3
    for a, b in begun:
        one, other = RunFolder(a), RunFolder(b)
        assert one.read_predictions()["probability"].equals(other.read_predictions()["probability"])
        for mine, theirs in zip(one.read_metrics(), other.read_metrics(), strict=True):
            assert (mine.train_loss, mine.validation_loss) == (
                theirs.train_loss,
                theirs.validation_loss,
            )
    for a, b in zip(sound_models, unread_models, strict=True):
        assert read_promoted(a).is_same_model(read_promoted(b))
        members = read_promoted(a).members
        for part in [f"members/{name}" for name in members] or ["."]:
            assert same_bits(weights(str(Path(a, part))), weights(str(Path(b, part))))
    assert read_access_log(split_url).records == ()


@pytest.mark.parametrize("how", HOWS)
def test_a_model_keeps_how_its_images_were_made(sweep_url, store, private_split, how):
    (url,) = make(sweep_url, how=how)
    split = load_split(private_split, store)
    promoted = read_promoted(url)
    members = member_urls(url, promoted)
    folds = FOLDS if how == "ensemble" else (None,)
    for member, fold in zip(members, folds, strict=True):
        assert read_inputs(member, RunFolder(member).read_record()) == describe_inputs(
            store, split, fold
        )
