"""Losses by name against literal ones, callable losses against a slow loop over the
game.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import donor_rows, explain_with
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.metrics import (
    f1_score,
    label_ranking_average_precision_score,
    mean_pinball_loss,
    mean_poisson_deviance,
)
from torch import nn

import permgrad as pg
from permgrad.attribution.request import tuned
from permgrad.base.errors import InputError
from permgrad.models.losses import losses, poisson, poisson_log

QUIET = {"progress": False, "random_state": 3}
ROWS = 40


def net(outputs, seed=0):
    """Return a network of three numbers in float64, and rows."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, outputs)).double()
    return module, torch.randn(ROWS, 3, dtype=torch.float64)


def values(module, rows, y, **explain_options):
    """Return each column's importance over all rows, in the names of ``slow_loop``."""
    explanation = explain_with(
        module, {"input": rows}, y, n_repeats=2, **{**QUIET, **explain_options}
    )
    return explanation.values[:, 0], explanation


def numpy_of(module):
    """Return a function of rows that gives NumPy."""
    return lambda rows: module(torch.as_tensor(rows)).detach().numpy()


def slow_loop(module, rows, loss, names):
    """Return the mean rise of a loss ``(outputs) -> (rows,)`` for each column, by
    copying and predicting the rows.
    """
    before = loss(numpy_of(module)(rows))
    effects = []
    for column, name in enumerate(names):
        rises = []
        for repeat in range(2):
            edited = rows.numpy().copy()
            edited[:, column] = edited[
                donor_rows(
                    3, name, repeat, np.arange(len(rows)), len(rows), shared=True
                ),
                column,
            ]
            rises.append(loss(numpy_of(module)(edited)) - before)
        effects.append(np.mean(rises))
    assert np.abs(effects).max() > 1e-3
    return effects


CALLABLES = {
    "numpy": lambda outputs, y: ((outputs - y) ** 2).sum(axis=1),
    "tensor": lambda outputs, y: (
        (torch.as_tensor(outputs) - torch.as_tensor(np.asarray(y))).abs().sum(dim=1)
    ),
}


@pytest.mark.parametrize("method", ["permgrad", "permutation"])
@pytest.mark.parametrize("name", CALLABLES)
def test_callable_loss_equals_a_loop(name, method):
    module, rows = net(2)
    y = np.random.default_rng(0).normal(size=(ROWS, 2))
    effects, explanation = values(module, rows, y, loss=CALLABLES[name], method=method)
    expected_effects = slow_loop(
        module,
        rows,
        lambda outputs: np.asarray(CALLABLES[name](outputs, y)),
        explanation.names,
    )
    np.testing.assert_allclose(effects, expected_effects, atol=1e-9)
    assert explanation.outputs == ("all",)


def test_callable_loss_of_classes_sees_what_the_network_returns_and_keeps_the_classes():
    module, rows = net(3)
    y = np.random.default_rng(0).integers(0, 3, ROWS)

    def margin(outputs, target):
        assert outputs.shape[1] == 3
        assert outputs.dtype == np.float64
        return 1 - outputs[np.arange(len(target)), target] + outputs.max(axis=1)

    effects, explanation = values(module, rows, y, loss=margin)
    assert explanation.outputs == ("all", "0", "1", "2")
    assert explanation.meta["loss"] == "margin"
    expected_effects = slow_loop(
        module, rows, lambda outputs: margin(outputs, y), explanation.names
    )
    np.testing.assert_allclose(effects, expected_effects, atol=1e-9)


@pytest.mark.parametrize("form", ["frame", "series", "list", "tensor"])
def test_y_arrives_as_it_was_given(form):
    module, rows = net(1)
    y = np.linspace(0, 1, ROWS)
    target_forms = {
        "frame": pd.DataFrame({"t": y, "e": y}),
        "series": pd.Series(y),
        "list": list(y),
        "tensor": torch.tensor(y),
    }[form]
    kinds = set()

    def loss(outputs, target):
        kinds.add(type(target).__name__)
        first = target["t"] if form == "frame" else target
        return (outputs[:, 0] - np.asarray(first)) ** 2

    effects, _ = values(module, rows, target_forms, loss=loss)
    expected_effects, _ = values(module, rows, y, loss="squared_error")
    np.testing.assert_allclose(effects, expected_effects, atol=1e-12)
    assert kinds == {
        {
            "frame": "DataFrame",
            "series": "Series",
            "list": "ndarray",
            "tensor": "Tensor",
        }[form]
    }


@pytest.mark.parametrize("game", ["prediction", "expected"])
def test_shapley_of_a_callable_loss_is_that_of_the_name(game):
    module, rows = net(1)
    y = np.linspace(-1, 1, ROWS)
    shapley_options = {"method": "shapley", "scope": "global", "game": game}
    effects, _ = values(
        module,
        rows,
        y,
        loss=lambda outputs, target: (outputs[:, 0] - target) ** 2,
        **shapley_options,
    )
    expected_effects, _ = values(
        module, rows, y, loss="squared_error", **shapley_options
    )
    np.testing.assert_allclose(effects, expected_effects, atol=1e-9)
    assert np.abs(expected_effects).max() > 1e-4


def test_a_callable_loss_of_a_predictor_sees_both_classes():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(80, 3)), columns=list("abc"))
    y = np.where(X["a"] > 0, "yes", "no")
    model = RandomForestClassifier(10, random_state=0).fit(X, y)

    def brier(outputs, target):
        truth = np.stack([target == "no", target == "yes"], axis=1)
        return ((outputs - truth) ** 2).sum(axis=1)

    explain_options = {"n_repeats": 2, **QUIET}
    effects = explain_with(model, X, y, loss=brier, **explain_options)
    np.testing.assert_allclose(
        effects.values,
        explain_with(model, X, y, loss="brier", **explain_options).values,
        atol=1e-9,
    )


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda outputs, y: np.mean(outputs),
            r"one number for each row, \(40,\), got the shape \(\)",
        ),
        (lambda outputs, y: outputs, r"got the shape \(40, 1\)"),
        (lambda outputs, y: outputs[:5, 0], r"got the shape \(5,\)"),
        (
            lambda outputs, y: outputs[:, 0] * np.nan,
            "NaN or infinity for 40 of 40 rows",
        ),
        (lambda outputs, y: None, "must be finite|must return"),
        (lambda outputs, y: ["a"] * len(outputs), "must be numbers"),
        (lambda outputs, y: 1 / 0, "The loss raised ZeroDivisionError"),
        (("quantile", 2), "between 0 and 1"),
        (3, "must be a name"),
        ("cox", "loss must be one of"),
        ("cross_entropy", "cannot be used for regression"),
    ],
)
def test_what_is_no_loss_is_refused(loss, message):
    module, rows = net(1)
    with pytest.raises(InputError, match=message):
        pg.explain(module, rows, np.linspace(0, 1, ROWS), loss=loss, **QUIET)


def test_y_of_another_length_is_refused():
    module, rows = net(1)
    with pytest.raises(InputError, match="each of the 40 rows"):
        pg.explain(
            module, rows, np.zeros(7), loss=lambda outputs, y: outputs[:, 0], **QUIET
        )


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_quantile_is_scikit_learns(level):
    module, rows = net(1)
    y = np.random.default_rng(0).normal(size=ROWS)
    effects, explanation = values(module, rows, y, loss=("quantile", level))
    expected_effects = slow_loop(
        module,
        rows,
        lambda outputs: mean_pinball_loss(y, outputs[:, 0], alpha=level),
        explanation.names,
    )
    np.testing.assert_allclose(effects, expected_effects, atol=1e-9)
    assert explanation.meta["loss"] == f"quantile {level:g}"
    best = min(
        mean_pinball_loss(y, np.full(ROWS, constant_guess), alpha=level)
        for constant_guess in y
    )
    assert explanation.meta["loss_scale"] == pytest.approx(best)
    if level == 0.5:
        np.testing.assert_allclose(
            effects, values(module, rows, y, loss="quantile")[0], atol=1e-12
        )


def test_poisson_is_scikit_learns():
    rng = np.random.default_rng(0)
    mean = np.exp(rng.normal(size=50))
    y = rng.poisson(1.0, 50).astype(float)
    assert (y == 0).any()
    rows = poisson(torch.tensor(mean[:, None]), torch.tensor(y))
    assert float(rows.mean()) == pytest.approx(mean_poisson_deviance(y, mean))
    torch.testing.assert_close(
        poisson_log(torch.tensor(np.log(mean)[:, None]), torch.tensor(y)), rows
    )
    with pytest.raises(InputError, match="poisson_log"):
        poisson(torch.tensor([[-1.0]]), torch.tensor([1.0]))
    module, inputs = net(1)
    explanation = pg.explain(
        module, inputs, y[:ROWS], loss="poisson_log", n_repeats=2, **QUIET
    )
    constant = np.full(ROWS, y[:ROWS].mean())
    assert explanation.meta["loss_scale"] == pytest.approx(
        mean_poisson_deviance(y[:ROWS], constant)
    )


def labels(seed=0):
    """Return labels of which rows have several or none."""
    return (np.random.default_rng(seed).random((ROWS, 3)) < 0.4).astype(int)


@pytest.mark.parametrize("softened", [False, True])
def test_several_labels(softened):
    module, rows = net(3)
    y = labels()
    explained = nn.Sequential(module, nn.Sigmoid()) if softened else module

    def loss(outputs):
        chance = outputs if softened else 1 / (1 + np.exp(-outputs))
        return -(y * np.log(chance) + (1 - y) * np.log(1 - chance)).mean(axis=1)

    effects, explanation = values(explained, rows, y)
    np.testing.assert_allclose(
        effects, slow_loop(explained, rows, loss, explanation.names), atol=1e-9
    )
    assert explanation.meta["task"] == "multilabel"
    assert explanation.meta["loss"] == "multilabel_cross_entropy"
    rows_alone = pg.explain(
        explained,
        rows,
        y,
        method="permutation",
        scope="local",
        scale="probability",
        n_repeats=2,
        **QUIET,
    )
    np.testing.assert_allclose(
        rows_alone.predictions, torch.sigmoid(module(rows)).detach().numpy(), atol=1e-12
    )
    single_effects = values(explained, rows, y, target=1)[0]
    column = nn.Sequential(module, Column(1))
    if not softened:
        np.testing.assert_allclose(
            single_effects, values(column, rows, y[:, 1])[0], atol=1e-9
        )


class Column(nn.Module):
    """One column of the outputs."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, outputs):
        return outputs[:, [self.number]]


@pytest.mark.parametrize("game", ["prediction", "expected"])
def test_shapley_of_several_labels_adds_up(game):
    module, rows = net(3)
    explanation = pg.explain(
        module,
        rows,
        labels(),
        method=tuned(pg.methods.Shapley(), game=game),
        scope="global",
        **QUIET,
    )
    assert explanation.meta["completeness_gap"] < 1e-9
    assert np.abs(explanation.values).max() > 1e-4
    without = pg.explain(
        pg.Model(module, task="multilabel"), rows, n_repeats=2, **QUIET
    )
    assert (without.values > 0).all()


@pytest.mark.slow
def test_a_forest_of_several_labels_and_its_scores():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(100, 3)), columns=list("abc"))
    y = np.stack([X["a"] > 0, X["b"] > 0, X["a"] + X["b"] > 0], axis=1).astype(int)
    model = RandomForestClassifier(5, random_state=0).fit(X, y)
    scores = ["f1_macro", "label_ranking_average_precision", "roc_auc"]
    explanation = pg.explain(model, X, y, scoring=scores, n_repeats=2, **QUIET)
    chance = np.stack(
        [label_chances[:, 1] for label_chances in model.predict_proba(X)], axis=1
    )
    scores_seen = explanation.meta["scores"]
    assert scores_seen["f1_macro"] == pytest.approx(
        f1_score(y, chance >= 0.5, average="macro")
    )
    ranking = label_ranking_average_precision_score(y, chance)
    assert scores_seen["label_ranking_average_precision"] == pytest.approx(ranking)
    assert explanation.values[0, 0] > explanation.values[2, 0]
    assert (
        pg.explain(model, X, y, n_repeats=2, **QUIET).meta["loss"]
        == "multilabel_cross_entropy"
    )


def test_scores_of_several_numbers():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc"))
    y = np.stack([X["a"], X["b"] * 2], axis=1)
    model = LinearRegression().fit(X, y)
    explanation = pg.explain(
        model,
        X,
        y,
        scoring=["r2", "ndcg"] if (y >= 0).all() else "r2",
        n_repeats=2,
        **QUIET,
    )
    assert explanation.meta["scores"]["r2"] == pytest.approx(model.score(X, y))
    alone = pg.explain(model, X, y, scoring="r2", target=1, n_repeats=2, **QUIET)
    assert abs(alone.values[0, 0]) < 1e-9 < alone.values[1, 0]


def test_names_of_losses():
    assert {"multilabel_cross_entropy", "quantile", "poisson", "poisson_log"} <= set(
        losses
    )
