"""The sweep's page: what it says, and that it needs nothing else."""

from __future__ import annotations

import base64
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from cluster.sweep.config import plan_trials
from cluster.sweep.folder import SweepFolder, TrialState, summaries
from cluster.sweep.report import (
    Curve,
    Dimension,
    curves_svg,
    parallel_svg,
    parameter_importance,
    render_report,
    write_sweep_report,
)
from preprocessing.common.errors import MissingPathError
from radiotrain.runs.epoch_metrics import EpochMetrics
from radiotrain.runs.run_folder import RunRecord
from radiotrain.training.loop import train


class Page(HTMLParser):
    """What a browser would load, and the words that a person reads."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.tags, self.words = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loaded += [v for k, v in attributes if k in ("src", "href", "srcset", "action")]

    def handle_data(self, data):
        self.words += data


def epoch(number, auc, epochs=4):
    return EpochMetrics(number, epochs, 0.5, 0.5, auc, {}, 1e-3, False, 1.0, 2.0)


def trained(plan, aucs, status="paused"):
    record = RunRecord(status, "s", "s", plan.run.seed, 0, plan.run.targets)
    return TrialState(plan, (record,), (tuple(epoch(i, auc) for i, auc in enumerate(aucs)),))


@pytest.fixture
def searched(make_sweep, tmp_path):
    """16 trials of a target; the learning rate decides, the dropped patients do not matter."""
    sweep = make_sweep(
        tmp_path / "sweep",
        targets=["ER"],
        seeds=[0],
        num_samples=16,
        search={
            "train.lr": {"loguniform": [1e-5, 1e-1]},
            "train.weight_decay": {"uniform": [0.0, 0.1]},
            "train.loss": {"choice": ["bce", "focal"]},
        },
    )
    noise = np.random.default_rng(0)
    states = []
    for plan in plan_trials(sweep):
        auc = 0.8 - 0.1 * abs(math.log10(plan.run.train.lr) + 3) + noise.normal(0, 0.005)
        states.append(trained(plan, [float(auc)]))
    return sweep, summaries(sweep, states)


def test_the_decisive_parameter_is_the_important_one(searched):
    shares = parameter_importance(*searched).shares
    names = [name for name, _ in shares]
    assert names[0] == "train.lr"
    assert set(names) == {"train.lr", "train.weight_decay", "train.loss"}
    assert dict(shares)["train.lr"] > 2 * dict(shares)["train.weight_decay"]
    assert sum(share for _, share in shares) == pytest.approx(1)
    assert parameter_importance(*searched).shares == shares


def test_importance_says_why_there_is_none(searched, make_sweep, tmp_path):
    sweep, found = searched
    assert "too few trials" in parameter_importance(sweep, found[:5]).reason
    alike = [trained(s.plan, [0.7]) for s in found]
    assert "same score" in parameter_importance(sweep, summaries(sweep, alike)).reason
    undefined = [trained(s.plan, [math.nan]) for s in found]
    assert "too few trials" in parameter_importance(sweep, summaries(sweep, undefined)).reason
    one = make_sweep(tmp_path / "one", targets=["ER"], seeds=list(range(9)))
    states = [trained(plan, [0.5 + plan.run.seed / 20]) for plan in plan_trials(one)]
    assert "fewer than two" in parameter_importance(one, summaries(one, states)).reason


def test_the_page_loads_nothing_and_shows_all_trials(searched):
    sweep, found = searched
    text = render_report(sweep, found)
    page = Page(text)
    assert page.loaded
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.loaded)
    assert "script" not in page.tags
    assert not re.search(r"https?://|url\(|@import", text)
    for address in page.loaded:
        picture = ET.fromstring(base64.b64decode(address.partition(",")[2]))
        assert picture.tag.endswith("svg")
    for summary in found:
        assert summary.plan.name in page.words
        assert summary.verdict.reason in page.words
    assert "Peak learning rate" in page.words
    assert "It has not ended yet" in page.words
    assert render_report(sweep, found) == text


def test_names_are_escaped(make_sweep, tmp_path):
    sweep = make_sweep(
        tmp_path / "sweep",
        targets=["<script>alert(1)</script>", "A&B"],
        search={"network.pretrained": {"choice": ["$x^{ <b>bold</b>", "b"]}},
        num_samples=2,
        seeds=[0],
    )
    states = [trained(plan, [0.6 + 0.01 * i]) for i, plan in enumerate(plan_trials(sweep))]
    page = Page(render_report(sweep, summaries(sweep, states)))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.words
    assert "A&B" in page.words
    assert "<b>bold</b>" in page.words


def test_a_sweep_not_begun_has_a_page_too(make_sweep, tmp_path):
    sweep = make_sweep(tmp_path / "sweep")
    SweepFolder(sweep.out).write_sweep(sweep)
    url = write_sweep_report(sweep.out)
    assert url == f"{sweep.out}/sweep.html"
    page = Page((tmp_path / "sweep" / "sweep.html").read_text())
    assert "No trial for ER has reached its first comparison yet" in page.words
    tpe = make_sweep(
        tmp_path / "tpe",
        search_algorithm="tpe",
        seeds=[0],
        search={"train.lr": {"uniform": [0.1, 0.2]}},
    )
    SweepFolder(tpe.out).write_sweep(tpe)
    assert "has not ended yet" in Page((tmp_path / write_sweep_report(tpe.out)).read_text()).words


def test_the_page_of_trained_trials_tells_auc_and_interval(make_sweep, tmp_path):
    sweep = make_sweep(tmp_path / "sweep", targets=[["ER", "PR"]], folds=[0, 1])
    sweep = sweep.model_copy(update={"train": sweep.train.model_copy(update={"epochs": 2})})
    SweepFolder(sweep.out).write_sweep(sweep)
    for run in plan_trials(sweep)[0].runs:
        train(run, reporter=lambda _: None)
    out = tmp_path / "elsewhere" / "page.html"
    assert write_sweep_report(sweep.out, str(out)) == str(out)
    page = Page(out.read_text())
    assert re.search(r"its AUC for ER is \d\.\d\d", page.words)
    assert re.search(r"its AUC for PR is \d\.\d\d", page.words)
    assert "4/4" in page.words
    assert "averaged over the folds" in page.words


def test_no_sweep_is_one_sentence(tmp_path):
    with pytest.raises(MissingPathError, match="no sweep at"):
        write_sweep_report(str(tmp_path))


def test_pictures_bear_what_is_undefined_or_alone():
    curves = [Curve(None, (), "not begun"), Curve(1, ((1, 0.5),), "stopped")]
    assert curves_svg(curves, [1, 3], 9).startswith("<?xml")
    alone = [Dimension("network", ("a",), ("a", "b")), Dimension("lr", (0.1,), is_log=True)]
    assert parallel_svg(alone, [0.7]).startswith("<?xml")
    words = Dimension("network", ("a", "b", "a"), ("a", "b"))
    heights = words.heights([2, 0, 1])
    # Side by side, in the order of their scores, and each within its word's part of the axis.
    assert heights[2] < words.place("a") < heights[0] < 0.5 < heights[1]
