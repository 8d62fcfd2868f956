"""What the report says of a useless model, of shares that are none, of axes, and of
dates.
"""

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
from permgrad.evaluation.metrics import evaluate
from permgrad.pages import plots
from permgrad.pages.charts.explained import branches
from permgrad.pages.html import render_report
from permgrad.pages.sentences import map_words, path_shares, path_words
from permgrad.pages.steps import ranks_of
from permgrad.pages.tabs import summary
from permgrad.pages.verdict import first_sentence, verdict
from permgrad.pages.views import tab_view
from permgrad.runs.run.run_summary import _branch_lines

pytestmark = pytest.mark.usefixtures("undrawn")
CLASSES = ("Bad", "Good")
OUTSIDE = {
    "tabular": {
        "importance": 0.171,
        "ci_low": 0.159,
        "ci_high": 0.183,
        "share": 1.05,
        "alone": 0.17,
        "last": 0.172,
    },
    "image": {
        "importance": -0.008,
        "ci_low": -0.02,
        "ci_high": 0.004,
        "share": -0.05,
        "alone": -0.009,
        "last": -0.007,
    },
    "interaction": -0.001,
}


def classified(
    probabilities: np.ndarray, truth: np.ndarray, train=(700, 300), **changes
) -> Assessment:
    """A report whose network says these probabilities."""
    test = evaluate(
        "classification", truth, probabilities=probabilities, classes=CLASSES
    )
    counts = pd.DataFrame({"train": train}, index=CLASSES)
    return Assessment(
        title="t",
        target="outcome",
        task="classification",
        metrics={
            "rows": {"test": len(truth)},
            "test": test,
            "constant": constant_of(
                "classification", truth, probabilities, CLASSES, train
            ),
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
    assert content.constant["log_loss"] == pytest.approx(
        -(good * math.log(0.3) + (1 - good) * math.log(0.7))
    )
    assert content.constant["roc_auc"] == 0.5
    words = (
        "“Always the most frequent class” predicts Bad. Its probabilities are the "
        "class shares of the"
    )
    assert words in render_report(content)
    numbers = np.array([1.0, 2.0, 6.0, 7.0])
    mean = regression(numbers + 0.1, numbers, 3.0)
    assert mean.constant["rmse"] == pytest.approx(
        math.sqrt(np.mean((numbers - 3.0) ** 2))
    )
    assert (
        "“Always the mean” predicts 3.000, the mean of the training rows."
        in render_report(mean)
    )


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_metrics_table_always_has_the_constant(task):
    content = report_content(task=task)
    assert content.metrics["baselines"], "with baselines, and below without"
    for assessed_content in (
        content,
        dataclasses.replace(content, metrics={**content.metrics, "baselines": {}}),
    ):
        table = next(
            block
            for kind, block in tab_view(summary.TAB, assessed_content)
            .sections[0]
            .blocks
            if kind == "table"
        )
        label = (
            "always the mean"
            if task == "regression"
            else "always the most frequent class"
        )
        assert [row[0].text for row in table.rows].count(label) == 1
        assert all(cell.text != "" for row in table.rows for cell in row)


def test_the_share_of_variance_of_the_mean_is_0_in_the_table():
    truth = np.linspace(0, 9, 40)
    content = regression(truth + np.sin(np.arange(40)), truth, 4.5 + 1e-4)
    assert -1e-6 < content.constant["r2"] < 0
    table = next(
        block
        for kind, block in tab_view(summary.TAB, content).sections[0].blocks
        if kind == "table"
    )
    column_index = [name for name, _ in table.columns].index("R²\u00a0↑")
    assert table.rows[-1][column_index].text == "0"


# ------------------------------------------------------------------------------------------------------- the verdict


def test_a_useless_network_is_called_so_before_anything_else(undrawn):
    probabilities, truth = noise()
    content = classified(probabilities, truth, explanation=report_content().explanation)
    assert first_sentence(content).startswith(
        "The network predicts outcome not clearly better than a constant that ignores "
        "the features (ROC-AUC 0."
    )
    page = render_report(content)
    assert page.index("not clearly better than a constant") < page.index(
        "It is not shown that what it relies on helps"
    )
    assert "What it uses, whatever it has learned" in page
    assert ">What it relies on<" not in page


@pytest.mark.parametrize(("rows", "members"), [(500, 150), (60, 20), (154, 4)])
def test_few_rows_are_advised_to_be_more_and_else_the_features_are_to_blame(
    rows, members
):
    rng = np.random.default_rng(members + 1)
    truth = np.array(["Good"] * members + ["Bad"] * (rows - members), dtype=object)
    good = np.clip(members / rows + 0.02 * rng.normal(size=rows), 0.001, 0.5)
    content = classified(
        np.stack([1 - good, good], axis=1),
        truth,
        (950, 50),
        explanation=report_content().explanation,
    )
    content.constant["learnt"] = False
    words = {
        verdict_entry["facts"]["kind"]: verdict_entry["sentence"]
        for verdict_entry in verdict(content)
    }
    assert (
        words["features"]
        == "It is not shown that what it relies on helps to predict outcome."
    )
    assert words["next"].startswith(
        "Do not use its predictions." if rows == 500 else "Test it on more rows before"
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_constant_itself_is_never_better_than_itself(seed):
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(300) < 0.4, "Good", "Bad").astype(object)
    assert not classified(np.tile([0.7, 0.3], (300, 1)), truth).learnt


# ---------------------------------------------------------------------------------------------------------- the paths


def test_shares_outside_0_to_1_become_words(content):
    changed = dataclasses.replace(content, branches=OUTSIDE)
    words = (
        "table branch 0.171 (0.159 to 0.183) and image branch −0.008 (−0.02 to 0.004)"
    )
    assert (
        f"There are no shares, because they would not be parts of a whole: {words}."
        in render_report(changed)
    )
    assert _branch_lines(OUTSIDE) == [
        f"Branch shares: none, because they would not be parts of a whole: {words}"
    ]
    drawn = " ".join(branches(OUTSIDE).data["texts"])
    assert "0.171" in drawn
    assert "105 %" not in drawn
    sensible = {
        name: {**OUTSIDE[name], "share": share}
        for name, share in (("tabular", 0.9), ("image", 0.1))
    }
    assert path_shares(sensible) == {"tabular": 0.9, "image": 0.1}
    assert path_words(sensible) == ""
    assert _branch_lines(sensible) == [
        "Branch shares: table branch 90%, image branch 10%"
    ]
    undefined = {name: {**entry, "share": None} for name, entry in sensible.items()}
    assert path_words(
        {"scan": undefined["image"], "table": undefined["tabular"]}
    ).startswith("scan −0.008 (")
    assert path_words({"tabular": undefined["tabular"]}) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.03, "The image branch has 3 % of the branch weights"),
        (0.001, "The image branch has next to nothing of the branch weights"),
        (-0.02, "The image branch has next to nothing of the branch weights"),
        (0.1, ""),
        (None, ""),
    ],
)
def test_maps_of_an_image_path_that_hardly_counts_are_not_to_be_trusted(
    content, share, words
):
    tabular_share = None if share is None else 1 - share
    shares = {
        name: {**OUTSIDE[name], "share": path_share}
        for name, path_share in (("tabular", tabular_share), ("image", share))
    }
    assert map_words(shares).startswith(words)
    assert any(row.heat is not None for row in content.rows), "the page shows maps"
    share_told = (
        "its activation maps show only a small part of the prediction"
        in render_report(dataclasses.replace(content, branches=shares))
    )
    assert share_told == bool(words)
    if share == 0.03:
        without = [
            dataclasses.replace(row, image=None, heat=None) for row in content.rows
        ]
        page = render_report(
            dataclasses.replace(content, branches=shares, rows=without)
        )
        assert "activation maps show only" not in page
    assert map_words({"image": shares["image"]}) == ""


# ----------------------------------------------------------------------------------------------------------- pictures


def test_the_waterfall_shows_the_output_and_the_beeswarm_the_difference():
    local = local_explanation(
        meta={"quantity": "output minus the output at the baseline", "unit": "logit"}
    )
    assert plots.waterfall(local).axes[0].get_xlabel() == "output (logit), towards Good"
    assert (
        plots.waterfall(local, label="height (m)").axes[0].get_xlabel() == "height (m)"
    )
    beeswarm = "output minus the output at the baseline (logit), towards Good"
    assert plots.beeswarm(local).axes[0].get_xlabel() == beeswarm
    without = dataclasses.replace(local, base_values=None)
    assert plots.waterfall(without).axes[0].get_xlabel() == beeswarm


def test_the_waterfall_of_a_number_names_the_target():
    content = report_content(task="regression", target="height")
    assert content.rows, "there is a row to show"
    figures = data_of(render_report(content))["figures"].values()
    assert {
        figure_data["label"]
        for figure_data in figures
        if figure_data["kind"] == "steps"
    } == {"height"}


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(pd.to_datetime(["2024-01-03", "2023-05-01", None, "2024-01-02"])),
        pd.Series(
            pd.to_datetime(["2024-01-03", "2023-05-01", None, "2024-01-02"], utc=True)
        ),
        pd.Series(["2024-01-03", "2023-05-01", None, "2024-01-02"], dtype=object),
        pd.Series(
            ["2024-01-03T12:30", "2023-05-01 11:00:05", np.nan, "2024-01-02"],
            dtype="str",
        ),
        pd.Series(
            [dt.date(2024, 1, 3), dt.date(2023, 5, 1), None, dt.date(2024, 1, 2)],
            dtype=object,
        ),
        pd.Series(pd.to_timedelta([3, 1, None, 2], unit="h")),
        pd.Series(
            pd.Categorical(
                ["high", "low", None, "middle"], ["low", "middle", "high"], ordered=True
            )
        ),
        pd.Series([3.0, 1.0, np.nan, 2.0]),
    ],
)
def test_values_with_an_order_are_coloured_by_it(values):
    local = local_explanation(names=("when",), rows=4)
    frame = pd.DataFrame({"when": values})
    frame.index = [5, 5, 7, 9]
    ranks = ranks_of(dataclasses.replace(local, feature_values=frame), 0)
    np.testing.assert_allclose(ranks, [1.0, 0.0, np.nan, 0.5])


@pytest.mark.parametrize(
    "values", [["red", "2023-05-01", None, "blue"], ["1", "a", "b", "c"], [None] * 4]
)
def test_values_without_an_order_stay_grey(values):
    local = local_explanation(names=("when",), rows=4)
    frame = pd.DataFrame({"when": pd.Series(values, dtype=object)})
    assert np.all(
        np.isnan(ranks_of(dataclasses.replace(local, feature_values=frame), 0))
    )


def test_only_what_the_model_has_is_said_to_be_comparable(undrawn):
    for task, words in (
        ("regression", "features"),
        ("classification", "features and classes"),
    ):
        content = report_content(task=task)
        explanation = dataclasses.replace(content.explanation, parts={}, part_std={})
        page = render_report(
            dataclasses.replace(content, explanation=explanation, paper=None)
        )
        assert f"Numbers of different {words} can be compared." in page
