"""An explanation in words, which needs no library for plots."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from tests.pages.test_notebook import ranked

import permgrad as pg
from permgrad.attribution.explanation.numbers import of_order
from permgrad.base.errors import InputError
from permgrad.base.numerals import number, percent
from permgrad.pages.words import value_text


def test_summary_says_what_was_explained_with_intervals():
    lines = (
        ranked(
            meta={
                "rows_explained": 400,
                "quantity": "increase of the loss",
                "unit": "nats",
                "loss": "cross_entropy",
            }
        )
        .summary()
        .splitlines()
    )
    assert lines[0] == "permutation measures the increase of the log loss."
    assert lines[1] == "400 rows explained. Intervals: 95 %."
    assert "2.00  (1.60 to 2.40)" in lines[4]
    with pytest.raises(InputError):
        ranked().summary(top_n=0)


def test_a_small_value_is_written_within_its_interval():
    values = np.array([[2.0], [0.0002], [-0.0001]])
    summary_text = ranked(
        (2.0, 0.0002, -0.0001), low=0.8 * values, high=1.2 * values
    ).summary()
    assert "b  0.000200  (0.000160 to 0.000240)" in summary_text
    assert "b  0.00  (−0.400 to 0.400)" in ranked((2.0, 0.0002, 0.0)).summary(), (
        "a wide interval"
    )


def test_names_that_are_numbers_are_not_read_as_ranks():
    D = pd.DataFrame({7: X["crp"], 12: X["age"]})
    summary_text = explain_with(model, D, model(D), **OPTIONS).summary()
    assert "Order at 95 % confidence: 1 “7”; 2 “12”." in summary_text


# ---- one row, two rows, scores, bad models, shares -----------------------------------
RNG = np.random.default_rng(0)
X = pd.DataFrame({"crp": RNG.integers(1, 90, 200), "age": RNG.integers(18, 90, 200)})
Y = X["crp"] / 10 + RNG.normal(size=200)
OPTIONS = {"task": "regression", "random_state": 0, "progress": False}


def model(rows):
    return np.asarray(rows, dtype=float) @ [0.1, -0.01]


def test_one_row_keeps_its_signs_and_values():
    row = X.mean().add([20, 10]).to_frame().T.round(1)
    row_explanation = explain_with(
        model, row, method="shapley", background=X, **OPTIONS
    )
    lines = row_explanation.summary().splitlines()
    crp, age = map(value_text, row.iloc[0])
    assert lines[-2:] == [
        f"  crp = {crp} raises the output by 2.00",
        f"  age = {age} lowers the output by 0.10",
    ]
    assert (
        repr(row_explanation)
        == "<Explanation: shapley, local, 1 row, 2 features × 1 output>"
    )
    slopes = explain_with(
        torch.nn.Linear(2, 1), torch.ones(1, 2), method="gradient", **OPTIONS
    )
    assert "the output by" not in slopes.summary(), "a slope moves nothing"


def test_what_was_not_tested_is_not_called_unclear():
    X = pd.DataFrame(
        np.random.default_rng(0).normal(size=(60, 4)), columns=list("abcd")
    )
    with pytest.warns(pg.PermgradWarning, match="no accumulated local effects: both"):
        explanation = pg.explain(
            lambda rows: rows["c"],
            X,
            method="ale",
            groups={"both": ["a", "b"]},
            progress=False,
        )
    lines = {
        line.split()[0]: line
        for line in explanation.summary().splitlines()
        if line.startswith("  ")
    }
    assert "not clearly" in lines["d"]
    assert lines["both"].split() == ["both", "–"]


def test_a_few_rows_have_no_intervals():
    few, many_rows = (
        explain_with(model, X[:rows], method="shapley", background=X, **OPTIONS)
        for rows in (2, 50)
    )
    assert " to " not in few.summary()
    assert "Order" not in few.summary()
    assert " to " in many_rows.summary()


@pytest.mark.parametrize(
    ("scorer", "words"),
    [("r2", "fall of R²"), ("neg_mean_squared_error", "rise of mean squared error")],
)
def test_the_scorer_is_named(scorer, words):
    scorer_explanation = explain_with(
        model, X, Y, scoring=scorer, n_repeats=2, **OPTIONS
    )
    assert scorer_explanation.summary().startswith(f"permgrad measures the {words}.")
    assert scorer_explanation.plot.bar().axes[0].get_xlabel() == words
    both_scorers = explain_with(
        model, X, Y, scoring=["explained_variance", scorer], n_repeats=2, **OPTIONS
    )
    assert both_scorers.summary(target=scorer).startswith(
        f"permgrad measures the {words}."
    )


@pytest.mark.parametrize("method", ["permutation", "shapley"])
def test_a_model_that_is_no_better_than_a_constant_is_named(method):
    options = {"method": method, "scope": "global", "n_repeats": 2, **OPTIONS}
    good, bad = (
        explain_with(case_model, X, Y, **options)
        for case_model in (model, lambda rows: -3 * model(rows))
    )
    assert "no better" not in good.summary()
    assert good.meta["model_loss"] == pytest.approx(((model(X) - Y) ** 2).mean())
    loss = ((-3 * model(X) - Y) ** 2).mean()
    constant = Y.var(ddof=0)
    assert (
        "The model is no better than a constant on these rows: its loss is "
        f"{number(loss)}, that of the best constant {number(constant)} (squared error)."
    ) in bad.summary()
    assert "no better" not in explain_with(model, X, **options).summary(), (
        "without y there is no loss"
    )


def test_shares_of_inputs_and_the_class_that_y_chose():
    class Net(torch.nn.Module):
        def forward(self, first, second):
            outputs = first.sum(dim=1) + second[:, 0] / 2
            return torch.stack([outputs, -outputs], dim=1) * 3

    rng = torch.Generator().manual_seed(0)
    inputs = {
        "first": torch.randn(60, 2, generator=rng),
        "second": torch.randn(60, 2, generator=rng),
    }
    y = Net()(**inputs).argmax(dim=1)
    shown = pg.explain(Net(), inputs, y, random_state=0, progress=False)
    shares = {
        name: percent(shown.branches[name]["share"]) for name in ("first", "second")
    }
    words = f"Shares of the inputs: first {shares['first']}, second {shares['second']}.".replace(
        "\u00a0", " "
    )
    assert words in shown.summary()
    rare = int(y.sum() * 2 < len(y))
    local = {"method": "gradient", "scope": "local", "progress": False}
    why = f"{rare} is shown because it is the rarer class in y."
    assert why in explain_with(Net(), inputs, y, **local).summary()
    for options in ({"y": None}, {"y": y, "positive": rare}):
        assert (
            "is shown because"
            not in explain_with(Net(), inputs, **options, **local).summary()
        )


def test_weights_are_said_with_what_the_rows_are_worth():
    X = np.random.default_rng(0).normal(size=(200, 3))
    options = {"task": "regression", "random_state": 0, "progress": False}

    def said(weights):
        return explain_with(
            lambda table: table[:, 0], X, X[:, 0], sample_weight=weights, **options
        ).summary()

    even = said(np.full(200, 3.0))
    uneven = said(np.where(np.arange(200) < 9, 100, 1e-6))
    assert "200 rows explained, weighted (worth 200 rows of equal weight)." in even
    assert "worth 9 rows of equal weight" in uneven
    assert "inexact with so few rows" in uneven
    assert "inexact with so few rows" not in even
    assert "200 rows explained. " in said(None)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 20, 21])
def test_few_rows_are_said_to_tell_little(rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3))
    y = X[:, 0] + rng.normal(size=100)
    explanation = pg.explain(
        pg.Model(lambda table: table[:, 0], task="regression"),
        X[:rows],
        y[:rows],
        background=X,
        random_state=0,
    )
    text = explanation.summary()
    assert ("A single row has no intervals" in text) == (rows == 1)
    assert ("Fewer than 4 rows have no intervals" in text) == (1 < rows < 4), (
        "two or three rows tell no spread"
    )
    assert ("clearly matter" in text) == (rows > 3)
    assert ("order is not certain" in text or "Order at" in text) == (rows > 3)
    assert ("Intervals: 95 %, inexact with so few rows." in text) == (3 < rows <= 20)
    assert ("Intervals: 95 %" in text) == (rows > 3)
    assert "no better than a constant" not in text


def test_pairs_follow_features_in_python_too():
    X = np.random.default_rng(0).normal(size=(60, 3))
    explanation = pg.explain(
        lambda X: X[:, 0] * X[:, 1],
        X,
        X[:, 0] * X[:, 1],
        method=pg.methods.PermGrad(order=2),
        random_state=0,
        progress=False,
    )
    lines = explanation.summary().splitlines()
    assert "Only together:" in lines
    assert any(
        line.startswith("  x0 × x1") for line in lines[lines.index("Only together:") :]
    )
    assert "Only together:" not in of_order(explanation, 1).summary()
