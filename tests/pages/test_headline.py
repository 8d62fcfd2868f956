"""What the report says of a useless model, of shares that are none, of axes, and of dates."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
from browsing import data_of
from tests.pages.conftest import constant_of, local_explanation, report_content

from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.assess.sections.data import DataSection
from permgrad.base.dependence import Dependence
from permgrad.base.numerals import percent
from permgrad.evaluation.metrics import evaluate
from permgrad.pages import plots
from permgrad.pages.charts.explained import branches
from permgrad.pages.headline import facts, headline, lack_of_skill, reliance_sentence
from permgrad.pages.html import render_report
from permgrad.pages.sentences import map_words, no_share_words, path_shares, path_words
from permgrad.pages.steps import ranks_of
from permgrad.pages.tabs import summary
from permgrad.pages.units import BEYOND_ALL
from permgrad.pages.verdict import verdict
from permgrad.pages.views import tab_view
from permgrad.runs.run.summary import _branch_lines

pytestmark = pytest.mark.usefixtures("undrawn")
CLASSES = ("Bad", "Good")
OUTSIDE = {
    "tabular": {"importance": 0.171, "ci_low": 0.159, "ci_high": 0.183, "share": 1.05, "alone": 0.17, "last": 0.172},
    "image": {"importance": -0.008, "ci_low": -0.02, "ci_high": 0.004, "share": -0.05, "alone": -0.009, "last": -0.007},
    "interaction": -0.001,
}


def classified(probabilities: np.ndarray, truth: np.ndarray, train=(700, 300), **changes) -> Assessment:
    """A report whose network says these probabilities."""
    test = evaluate("classification", truth, probabilities=probabilities, classes=CLASSES)
    counts = pd.DataFrame({"train": train}, index=CLASSES)
    return Assessment(
        title="t",
        target="outcome",
        task="classification",
        metrics={
            "rows": {"test": len(truth)},
            "test": test,
            "constant": constant_of("classification", truth, probabilities, CLASSES, train),
        },
        data=DataSection(rows={"test": len(truth)}, class_counts=counts),
        predictions=Predictions(truth=truth, classes=CLASSES, guess=probabilities),
        **changes,
    )


def noise(rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(rows) < 0.3, "Good", "Bad").astype(object)
    good = np.clip(0.3 + 0.05 * rng.normal(size=rows), 0.01, 0.99)
    return np.stack([1 - good, good], axis=1), truth


def regression(guess: np.ndarray, truth: np.ndarray, mean: float) -> Assessment:
    return Assessment(
        title="t",
        target="height",
        task="regression",
        metrics={
            "rows": {"test": len(truth)},
            "test": evaluate("regression", truth, predictions=guess),
            "constant": constant_of("regression", truth, guess, learned=mean),
        },
        predictions=Predictions(truth=truth, guess=guess, training_mean=mean),
    )


# ------------------------------------------------------------------------------------------------------ the constant


def test_the_page_says_what_the_constant_predicts():
    probabilities, truth = noise()
    content = classified(probabilities, truth)
    good = float(np.mean(truth == "Good"))
    assert content.constant["accuracy"] == pytest.approx(1 - good)
    assert content.constant["log_loss"] == pytest.approx(-(good * math.log(0.3) + (1 - good) * math.log(0.7)))
    assert content.constant["roc_auc"] == 0.5
    words = "“Always the most frequent class” predicts Bad. Its probabilities are the class shares of the"
    assert words in render_report(content)
    numbers = np.array([1.0, 2.0, 6.0, 7.0])
    mean = regression(numbers + 0.1, numbers, 3.0)
    assert mean.constant["rmse"] == pytest.approx(math.sqrt(np.mean((numbers - 3.0) ** 2)))
    assert "“Always the mean” predicts 3.000, the mean of the training rows." in render_report(mean)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_metrics_table_always_has_the_constant(task):
    content = report_content(task=task)
    assert content.metrics["baselines"], "with baselines, and below without"
    for each in (content, dataclasses.replace(content, metrics={**content.metrics, "baselines": {}})):
        table = next(block for kind, block in tab_view(summary.TAB, each).sections[0].blocks if kind == "table")
        label = "always the mean" if task == "regression" else "always the most frequent class"
        assert [row[0].text for row in table.rows].count(label) == 1
        assert all(cell.text != "" for row in table.rows for cell in row)


def test_the_share_of_variance_of_the_mean_is_0_in_the_table():
    truth = np.linspace(0, 9, 40)
    content = regression(truth + np.sin(np.arange(40)), truth, 4.5 + 1e-4)
    assert -1e-6 < content.constant["r2"] < 0
    table = next(block for kind, block in tab_view(summary.TAB, content).sections[0].blocks if kind == "table")
    place = [name for name, _ in table.columns].index("R²\u00a0↑")
    assert table.rows[-1][place].text == "0"


# ------------------------------------------------------------------------------------------------------- the verdict


def test_a_good_network_gets_no_verdict(content):
    assert lack_of_skill(content) == ""
    truth = np.linspace(0, 9, 40)
    assert lack_of_skill(regression(truth + np.sin(np.arange(40)), truth, 5.0)) == ""


def test_a_useless_network_is_called_so_before_anything_else(undrawn):
    probabilities, truth = noise()
    content = classified(probabilities, truth, explanation=report_content().explanation)
    assert facts(content), "there are key figures that look like a result"
    first = headline(content)
    assert first.startswith(
        "The model predicts outcome no better than a constant that ignores the features (ROC-AUC 0."
    )
    assert " against 0.5" in first
    assert "and log loss 0.5" in first
    assert reliance_sentence(content) == "What it relies on does not help to predict outcome."
    assert "always the most frequent class" in facts(content)[1].label
    page = render_report(content)
    assert page.index("no better than a constant") < page.index("What it relies on does not help to predict outcome.")
    assert "What it uses, whatever it has learned" in page
    assert ">What it relies on<" not in page


def test_a_slightly_lower_loss_within_chance_is_not_better():
    probabilities, truth = noise(60)
    nudged = probabilities.copy()
    at = np.flatnonzero(truth == "Good")[:2]
    nudged[at] = [0.6, 0.4]
    other = np.tile([0.7, 0.3], (60, 1))
    other[at] = nudged[at]
    content = classified(other, truth)
    assert content.metrics["test"]["log_loss"] < content.constant["log_loss"]
    assert not content.learnt
    assert "This model predicts outcome not significantly better than a constant" in lack_of_skill(content)


def test_a_lower_loss_within_chance_is_not_denied_where_the_first_measure_is_no_better():
    truth = np.array(["Good"] * 10 + ["Bad"] * 20, dtype=object)
    probabilities = np.tile([0.7, 0.3], (30, 1))
    probabilities[[0, 1, 2, 25]] = [[0.2, 0.8]] * 3 + [[0.69, 0.31]]
    content = classified(probabilities, truth)
    content.constant["learnt"], ahead = False, content.constant["ahead"]
    first = next(iter(ahead))
    ahead[first] |= {"difference": -0.01, "ci_low": -0.2, "ci_high": 0.2}
    ahead["log_loss"] |= {"ci_low": -0.1}
    assert first != "log_loss"
    assert ahead["log_loss"]["difference"] > 0
    assert "not significantly better than a constant" in lack_of_skill(content)


def test_too_few_groups_show_neither_help_nor_its_absence(undrawn):
    truth = np.array(["Good", "Bad"] * 100, dtype=object)
    good = np.where(truth == "Good", 0.52, 0.48)
    content = classified(np.stack([1 - good, good], axis=1), truth, explanation=report_content().explanation)
    content.constant["learnt"] = False
    assert "cannot be told" not in reliance_sentence(content)
    content.dependence = Dependence(np.arange(200) // 100)
    few = "Whether what it relies on helps to predict outcome cannot be told from 2 groups of test rows."
    assert reliance_sentence(content) == few
    content.dependence = Dependence(np.arange(200) // 4)
    assert "cannot be told" not in reliance_sentence(content)


@pytest.mark.parametrize("members", [1, 4])
def test_too_few_rows_of_a_class_show_neither_help_nor_its_absence(members, undrawn):
    rng = np.random.default_rng(members)
    truth = np.array(["Good"] * members + ["Bad"] * 150, dtype=object)
    good = np.clip(0.06 + 0.02 * rng.normal(size=len(truth)) + 0.01 * (truth == "Good"), 0.001, 0.5)
    content = classified(np.stack([1 - good, good], axis=1), truth, (950, 50), explanation=report_content().explanation)
    assert not content.learnt
    assert any(paired["ci_high"] > 0 for paired in content.constant["ahead"].values()), "it may well be better"
    few = f"{members} test row{'s' * (members > 1)} of class Good"
    assert (
        reliance_sentence(content) == f"Whether what it relies on helps to predict outcome cannot be told from {few}."
    )
    page = render_report(content)
    assert "does not help" not in page
    assert "What it uses, whatever it has learned" in page
    assert verdict(content)[-1]["sentence"] == "Test it on more rows before you use its predictions."


def test_a_difference_within_chance_is_not_shown_and_not_denied():
    rng = np.random.default_rng(3)
    truth = np.where(rng.random(300) < 0.4, "Good", "Bad").astype(object)
    good = np.clip(0.4 + 0.1 * rng.normal(size=300) + 0.02 * (truth == "Good"), 0.01, 0.99)
    content = classified(
        np.stack([1 - good, good], axis=1), truth, (600, 400), explanation=report_content().explanation
    )
    assert not content.learnt
    assert content.constant["ahead"]["roc_auc"]["difference"] > 0.01
    assert reliance_sentence(content) == "It is not shown that what it relies on helps to predict outcome."


def test_bad_probabilities_in_a_good_order_are_told_apart_from_nothing_learnt():
    rng = np.random.default_rng(1)
    truth = np.where(rng.random(600) < 0.05, "Good", "Bad").astype(object)
    good = np.clip(0.55 + 0.25 * (truth == "Good") + 0.1 * rng.normal(size=600), 0.01, 0.99)
    content = classified(np.stack([1 - good, good], axis=1), truth, (950, 50), explanation=report_content().explanation)
    assert content.metrics["test"]["roc_auc"] > 0.8
    assert content.learnt
    assert lack_of_skill(content).startswith("Its probabilities are worse than a constant (log loss ")
    assert "It relies most on" in reliance_sentence(content)


def test_a_useless_regression_says_so():
    rng = np.random.default_rng(2)
    truth = rng.normal(10, 2, 200)
    text = lack_of_skill(regression(rng.normal(10, 2, 200), truth, 10.0))
    assert text.startswith("This model predicts height worse than a constant that ignores the features (RMSE 2.")
    assert text.endswith(" on the test rows).")


@pytest.mark.parametrize("seed", range(3))
def test_the_constant_itself_is_never_better_than_itself(seed):
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(300) < 0.4, "Good", "Bad").astype(object)
    assert not classified(np.tile([0.7, 0.3], (300, 1)), truth).learnt


# ---------------------------------------------------------------------------------------------------------- the paths


def test_shares_outside_0_to_1_become_words(content):
    assert any("path" in fact.label for fact in facts(content)), "sensible shares are a key figure"
    changed = dataclasses.replace(content, branches=OUTSIDE)
    assert not any("path" in fact.label for fact in facts(changed))
    words = (
        "The tabular path carries it (0.171, interval 0.159 to 0.183). "
        "The image path is within noise (−0.008, interval −0.02 to 0.004)."
    )
    page = render_report(changed)
    assert words in page
    sensible = {name: {**OUTSIDE[name], "share": share} for name, share in (("tabular", 0.9), ("image", 0.1))}
    assert "90 % · 0.171" in branches(sensible).data["texts"], "sensible shares stand in the picture"
    drawn = " ".join(branches(OUTSIDE).data["texts"])
    assert "0.171" in drawn
    assert "105 %" not in drawn
    assert _branch_lines(OUTSIDE) == [f"Paths (how much the loss grows when a path is shuffled): {words}"]


def test_roles_of_paths():
    negative = {**OUTSIDE, "image": {**OUTSIDE["image"], "ci_high": -0.001}}
    assert "The image path has a negative effect: shuffling it makes the loss smaller" in path_words(negative)
    sensible = {name: {**OUTSIDE[name], "share": share} for name, share in (("tabular", 0.9), ("image", 0.1))}
    assert path_shares(sensible) == {"tabular": 0.9, "image": 0.1}
    assert path_words(sensible) == ""
    assert _branch_lines(sensible) == ["Branch shares: tabular 90%, image 10%"]
    undefined = {name: {**entry, "share": None} for name, entry in sensible.items()}
    assert path_words(undefined) == ""
    assert _branch_lines({**undefined, "total": {"importance": -0.2, "ci_low": -0.3, "ci_high": -0.1}}) == [
        (
            "Branch shares: none, because the effect of all paths together is not clearly above 0 "
            "(−0.2, interval −0.3 to −0.1)"
        )
    ]
    inputs = {"scan": undefined["image"], "table": undefined["tabular"]}
    assert _branch_lines(inputs) == [
        ("Input shares: none, because the effect of all inputs together is not clearly above 0")
    ]
    assert no_share_words(sensible) == no_share_words({"tabular": undefined["tabular"]}) == ""


def test_a_report_without_shares_says_why(content, undrawn):
    total = {"importance": -0.2, "ci_low": -0.3, "ci_high": -0.1}
    undefined = {**{name: {**OUTSIDE[name], "share": None} for name in ("tabular", "image")}, "total": total}
    page = render_report(dataclasses.replace(content, branches=undefined))
    why = "There are no shares: the effect of all paths together is not clearly above 0 (−0.2, interval −0.3 to −0.1)"
    assert why in page
    assert "There are no shares" not in render_report(dataclasses.replace(content, branches=OUTSIDE))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.03, "The image path has 3 % of the branch weights"),
        (0.001, "The image path has next to nothing of the branch weights"),
        (-0.02, "The image path has next to nothing of the branch weights"),
        (0.1, ""),
        (None, ""),
    ],
)
def test_maps_of_an_image_path_that_hardly_counts_are_not_to_be_trusted(content, share, words):
    other = None if share is None else 1 - share
    shares = {name: {**OUTSIDE[name], "share": own} for name, own in (("tabular", other), ("image", share))}
    assert map_words(shares).startswith(words)
    assert any(row.heat is not None for row in content.rows), "the page shows maps"
    said = "its activation maps show only a small part of the prediction" in render_report(
        dataclasses.replace(content, branches=shares)
    )
    assert said == bool(words)
    if share == 0.03:
        without = [dataclasses.replace(row, image=None, heat=None) for row in content.rows]
        page = render_report(dataclasses.replace(content, branches=shares, rows=without))
        assert "activation maps show only" not in page
    assert map_words({"image": shares["image"]}) == ""


def test_the_first_features_are_named_with_their_share_of_the_advantage(content):
    meta = {**content.explanation.meta, "loss": "cross_entropy", "quantity": "increase of the loss"}
    explanation = dataclasses.replace(content.explanation, meta=meta)
    metrics = {**content.metrics, "test": {"log_loss": 0.5}, "constant": {"log_loss": 0.7, "learnt": True}}
    said = reliance_sentence(dataclasses.replace(content, explanation=explanation, metrics=metrics))
    first = explanation.clearly_matter()[0]
    share = explanation.values[explanation.names.index(first), 0] / 0.2
    assert said.startswith(f"It relies most on {first} ({percent(share)}), ")
    assert "In brackets: how much of its advantage over a constant it loses when the feature is shuffled." in said
    assert BEYOND_ALL not in said
    assert "In brackets" not in reliance_sentence(dataclasses.replace(content, metrics={}))


def test_shares_above_everything_are_explained(content, undrawn):
    meta = {**content.explanation.meta, "loss": "cross_entropy", "quantity": "increase of the loss"}
    constant = {**content.metrics["constant"], "log_loss": content.metrics["test"]["log_loss"] + 0.001, "learnt": True}
    metrics = {**content.metrics, "constant": constant}
    explanation = dataclasses.replace(content.explanation, meta=meta)
    beyond = dataclasses.replace(content, explanation=explanation, metrics=metrics)
    assert BEYOND_ALL in reliance_sentence(beyond)
    assert BEYOND_ALL in render_report(beyond).partition('id="drivers"')[2]


# ----------------------------------------------------------------------------------------------------------- pictures


def test_the_waterfall_shows_the_output_and_the_beeswarm_the_difference():
    local = local_explanation(meta={"quantity": "output minus the output at the baseline", "unit": "logit"})
    assert plots.waterfall(local).axes[0].get_xlabel() == "output (logit), towards Good"
    assert plots.waterfall(local, label="height (m)").axes[0].get_xlabel() == "height (m)"
    beeswarm = "output minus the output at the baseline (logit), towards Good"
    assert plots.beeswarm(local).axes[0].get_xlabel() == beeswarm
    without = dataclasses.replace(local, base_values=None)
    assert plots.waterfall(without).axes[0].get_xlabel() == beeswarm


def test_the_waterfall_of_a_number_names_the_target():
    content = report_content(task="regression", target="height")
    assert content.rows, "there is a row to show"
    figures = data_of(render_report(content))["figures"].values()
    assert {one["label"] for one in figures if one["kind"] == "steps"} == {"height"}


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(pd.to_datetime(["2024-01-03", "2023-05-01", None, "2024-01-02"])),
        pd.Series(pd.to_datetime(["2024-01-03", "2023-05-01", None, "2024-01-02"], utc=True)),
        pd.Series(["2024-01-03", "2023-05-01", None, "2024-01-02"], dtype=object),
        pd.Series(["2024-01-03T12:30", "2023-05-01 11:00:05", np.nan, "2024-01-02"], dtype="str"),
        pd.Series([dt.date(2024, 1, 3), dt.date(2023, 5, 1), None, dt.date(2024, 1, 2)], dtype=object),
        pd.Series(pd.to_timedelta([3, 1, None, 2], unit="h")),
        pd.Series(pd.Categorical(["high", "low", None, "middle"], ["low", "middle", "high"], ordered=True)),
        pd.Series([3.0, 1.0, np.nan, 2.0]),
    ],
)
def test_values_with_an_order_are_coloured_by_it(values):
    local = local_explanation(names=("when",), rows=4)
    frame = pd.DataFrame({"when": values})
    frame.index = [5, 5, 7, 9]
    ranks = ranks_of(dataclasses.replace(local, feature_values=frame), 0)
    np.testing.assert_allclose(ranks, [1.0, 0.0, np.nan, 0.5])


@pytest.mark.parametrize("values", [["red", "2023-05-01", None, "blue"], ["1", "a", "b", "c"], [None] * 4])
def test_values_without_an_order_stay_grey(values):
    local = local_explanation(names=("when",), rows=4)
    frame = pd.DataFrame({"when": pd.Series(values, dtype=object)})
    assert np.all(np.isnan(ranks_of(dataclasses.replace(local, feature_values=frame), 0)))


def test_only_what_the_model_has_is_said_to_be_comparable(undrawn):
    for task, words in (("regression", "features"), ("classification", "features and classes")):
        content = report_content(task=task)
        explanation = dataclasses.replace(content.explanation, parts={}, part_std={})
        page = render_report(dataclasses.replace(content, explanation=explanation, paper=None))
        assert f"Numbers of different {words} can be compared." in page
