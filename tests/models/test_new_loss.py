"""A loss that is registered in one place is a loss everywhere: training, explanations
of any model, saved models, scores, words, page and command.
"""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from invoking import QUICK, call
from sklearn.linear_model import LinearRegression
from torch import nn

import permgrad as pg
from permgrad.attribution.subject.calls import find_call
from permgrad.base.errors import InputError
from permgrad.evaluation.baselines.table_model import table_model
from permgrad.models.losses import Loss, losses, named_loss, read_loss
from permgrad.pages.units import loss_without, plain_units
from permgrad.pages.words import unit_words

QUIET = {"progress": False, "random_state": 0}
ROWS = 120


def pseudo_huber(outputs, y):
    """√(1 + r²) − 1, quadratic for small and linear for large errors."""
    return (1 + (outputs[:, 0].double() - y.double()).square()).sqrt() - 1


def gamma(outputs, y):
    """The deviance 2 (log(μ / y) + y / μ − 1) of the mean of positive numbers."""
    ratio = y.double() / outputs[:, 0].double()
    return 2 * (ratio - ratio.log() - 1)


def focal(outputs, y):
    """−(1 − p)² log p of the true class."""
    chance = torch.softmax(outputs.double(), dim=1).gather(1, y.long()[:, None])[:, 0]
    return -((1 - chance) ** 2) * chance.log()


def _middles(columns, weights):
    """Return the constants of least pseudo-Huber loss, found by halving."""
    assert weights is None
    lower, upper = columns.min(axis=0), columns.max(axis=0)
    for _ in range(60):
        middle = (lower + upper) / 2
        slope = ((middle - columns) / np.sqrt(1 + (middle - columns) ** 2)).mean(axis=0)
        lower = np.where(slope < 0, middle, lower)
        upper = np.where(slope < 0, upper, middle)
    return (lower + upper) / 2


@pytest.fixture
def registered():
    """Register three losses, each in one call."""
    before = dict(losses)
    losses.register(
        "pseudo_huber",
        tasks=("regression",),
        unit="y",
        label="pseudo-Huber error",
        meaning="about the absolute error less 1",
        constants=_middles,
        objectives=("reg:pseudohubererror",),
    )(pseudo_huber)
    losses.register("gamma")(
        Loss(
            "gamma",
            gamma,
            tasks=("regression",),
            tells_task=True,
            unit="deviance",
            constants=lambda columns, weights: np.average(
                columns, axis=0, weights=weights
            ),
            of_mean=True,
            accepts=lambda y: y > 0,
            needs="above 0",
            positive=True,
        )
    )
    losses.register("focal", tasks=("classification",), unit="nats")(focal)
    yield
    losses.clear()
    losses.update(before)


@pytest.fixture
def skewed():
    """A table and a positive target with an outlier, far from 0 and from mean 1."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=list("abc"))
    y = np.exp(0.4 * X["a"].to_numpy()) * 30 + rng.exponential(5, ROWS)
    y[0] = 900.0
    assert abs(y.mean() - np.median(y)) > 3
    return X, y


def fitted(loss, X, y, **options):
    model = pg.HyNNRegressor(
        preset="fast", loss=loss, branches="tabular", max_epochs=5, **QUIET, **options
    )
    return model.fit(X, y, eval_set=(X, y))


def test_a_network_is_trained_with_it_in_the_units_of_y(registered, skewed):
    X, y = skewed
    model = fitted("pseudo_huber", X, y)
    predicted = model.predict(X)
    expected = np.mean(np.sqrt(1 + (predicted - y) ** 2) - 1)
    assert model.history_["validation_loss"].min() == pytest.approx(expected, rel=1e-4)
    losses_of_epochs = model.history_["validation_loss"].to_numpy()
    assert losses_of_epochs.min() < 0.9 * losses_of_epochs[0]
    usual = fitted("squared_error", X, y)
    assert not np.allclose(usual.predict(X), predicted)
    assert not model.branches_, "trees are trained for means"


def test_a_loss_of_positive_means_is_trained_as_a_logarithm(registered, skewed):
    X, y = skewed
    model = fitted("gamma", X, y)
    predicted = model.predict(X)
    assert (predicted > 0).all()
    expected = 2 * np.mean(y / predicted - np.log(y / predicted) - 1)
    if not model.branches_:
        assert model.history_["validation_loss"].min() == pytest.approx(
            expected, rel=1e-4
        )
    with pytest.raises(InputError, match=r"^loss='gamma' needs y above 0, but it hold"):
        fitted("gamma", X, y - y.min())
    with pytest.raises(InputError, match="offset is for loss='poisson'"):
        model.fit(X, y, offset=np.zeros(ROWS))


def test_a_classifier_is_trained_with_it(registered, skewed):
    X, y = skewed
    labels = np.where(y > np.median(y), "high", "low")
    model = pg.HyNNClassifier(
        preset={"base": "fast", "loss": "focal", "max_epochs": 2}, **QUIET
    )
    model.fit(X, labels)
    assert model.training_options_["loss"] == "focal"
    explanation = pg.explain(model, X, labels, n_repeats=1, **QUIET)
    assert explanation.meta["loss"] == "focal"
    # It is in nats, and no log loss.
    assert "the increase of the loss (nats)" in explanation.summary()
    assert plain_units(explanation).meta["unit"] == "focal"
    usual = pg.explain(model, X, labels, loss="cross_entropy", **QUIET)
    assert "the increase of the log loss" in usual.summary()
    assert plain_units(usual).meta["unit"] == "log loss"
    assert explanation.meta["unit"] == "nats"
    assert np.isnan(explanation.meta["loss_scale"]), "its constant was not told"


@pytest.mark.parametrize("kind", ["estimator", "predictor", "network"])
def test_every_model_is_explained_by_it(registered, skewed, kind):
    X, y = skewed
    model, rows = LinearRegression().fit(X, y), X
    if kind == "estimator":
        model = fitted("pseudo_huber", X, y)
    if kind == "network":
        torch.manual_seed(0)
        model, rows = nn.Linear(3, 1).double(), torch.from_numpy(X.to_numpy())
    options = {"n_repeats": 2, **QUIET}
    by_name = explain_with(model, rows, y, loss="pseudo_huber", **options)

    def literal(outputs, target):
        return np.sqrt(1 + (outputs[:, 0] - target) ** 2) - 1

    by_function = explain_with(model, rows, y, loss=literal, **options)
    np.testing.assert_allclose(by_name.values, by_function.values, rtol=1e-5, atol=1e-8)
    assert np.abs(by_name.values).max() > 1e-3
    meta = by_name.meta
    assert (meta["loss"], meta["unit"]) == ("pseudo_huber", "y")
    constants = np.linspace(y.min(), 60, 4001)
    best = min(np.mean(np.sqrt(1 + (y - constant) ** 2) - 1) for constant in constants)
    assert meta["loss_scale"] == pytest.approx(best, rel=1e-4)
    assert np.isnan(by_function.meta["loss_scale"])


@pytest.mark.parametrize(
    "method", ["permutation", "ablation", "shapley", "integrated_gradients", "ale"]
)
def test_methods_that_measure_a_loss_measure_it(registered, skewed, method):
    X, y = skewed
    model = LinearRegression().fit(X, y)
    if method == "integrated_gradients":
        model = fitted("pseudo_huber", X, y)
    explanation = pg.explain(
        model, X[:40], y[:40], method=method, loss="pseudo_huber", **QUIET
    )
    assert np.isfinite(explanation.values).any()
    assert explanation.meta.get("loss", "pseudo_huber") == "pseudo_huber"


def test_a_saved_model_is_explained_by_the_loss_it_was_trained_with(
    registered, skewed, tmp_path
):
    X, y = skewed
    model = fitted("pseudo_huber", X, y)
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    options = {"n_repeats": 1, **QUIET}
    before, after = (pg.explain(m, X, y, **options) for m in (model, loaded))
    assert after.meta["loss"] == "pseudo_huber"
    np.testing.assert_array_equal(before.values, after.values)
    del losses["pseudo_huber"]
    elsewhere = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(elsewhere.predict(X), model.predict(X))
    with pytest.raises(InputError, match=r"trained with loss='pseudo_huber', which is"):
        pg.explain(elsewhere, X, y, **options)
    by_another = pg.explain(elsewhere, X, y, loss="squared_error", **options)
    assert by_another.meta["unit"] == "y²"


def test_what_does_not_fit_is_refused_in_words(registered, skewed):
    X, y = skewed
    model = LinearRegression().fit(X, y)
    with pytest.raises(InputError, match=r"^loss='focal' cannot be used for regressi"):
        pg.explain(model, X, y, loss="focal", **QUIET)
    with pytest.raises(InputError, match=r"^loss='gamma' needs y above 0, got -870\."):
        pg.explain(model, X, 30 - y, loss="gamma", **QUIET)
    with pytest.raises(InputError, match=r"are trained for means, and loss='pseudo_hu"):
        pg.HyNNRegressor(loss="pseudo_huber", branches=("tabular", "trees")).fit(X, y)
    with pytest.raises(InputError, match=r"^No loss 'pseudo_hubber'\. Did you"):
        pg.HyNNRegressor(loss="pseudo_hubber").fit(X, y)
    with pytest.raises(InputError, match=r"^loss='pseudo_huber' trains networks, and"):
        table_model("regression", "linear", loss="pseudo_huber").fit(X, y)
    with pytest.raises(InputError, match=r"^The loss 'plain' must say its tasks"):
        losses.register("plain")(pseudo_huber)
    with pytest.raises(InputError, match="must be a function"):
        losses.register("plain")(3)
    assert "plain" not in losses
    losses.register("summed", tasks=("regression",))(
        lambda outputs, y: pseudo_huber(outputs, y).sum()
    )
    with pytest.raises(InputError, match=r"must return a tensor \(\d+,\) with one n"):
        pg.explain(model, X, y, loss="summed", **QUIET)
    losses.register("steps", tasks=("regression",))(
        lambda outputs, y: (outputs[:, 0] > y).double()
    )
    with pytest.raises(InputError, match=r"^loss='steps' has no slope"):
        fitted("steps", X, y)


def test_its_facts_reach_libraries_pages_and_stored_names(registered):
    assert losses.of_objective("reg:pseudohubererror") is losses["pseudo_huber"]
    assert named_loss("pseudo_huber") is losses["pseudo_huber"]
    assert named_loss("somebody's") is None
    losses.register("distance", tasks=("regression",), unit="y", metric="mae")(
        lambda outputs, y: (outputs[:, 0] - y).abs()
    )
    about = {"loss": "distance", "quantity": "increase of the loss"}
    constant = {"mae": 10.0, "learnt": True}
    loss = loss_without(about, {"test": {"mae": 4.0}, "constant": constant})
    assert (loss.metric, loss.model, loss.without(2.0)) == ("mae", 4.0, 6.0)

    class Explained:
        meta: ClassVar = {"loss": "pseudo_huber"}

    assert unit_words(Explained()) == (
        "The loss is the pseudo-Huber error: about the absolute error less 1."
    )


def test_one_record_stands_for_names_levels_functions_and_the_divergence(registered):
    def costly(outputs, y):
        return outputs[:, 0]

    records = [
        read_loss("squared_error"),
        read_loss(("quantile", 0.9)),
        read_loss(("quantile", (0.1, 0.9))),
        read_loss(costly),
        named_loss("divergence"),
    ]
    assert all(isinstance(record, Loss) for record in records)
    assert list(map(str, records)) == [
        "squared_error",
        "quantile 0.9",
        "quantile 0.1, 0.9",
        "costly",
        "divergence",
    ]
    assert [record.unit for record in records] == ["y²", "y", "y", "costly", "y²"]
    assert named_loss("quantile 0.9").of_quantile
    assert records[2].of_output(1).name == "quantile 0.9"
    with pytest.raises(InputError, match=r"^loss='pseudo_huber' has no levels"):
        read_loss(("pseudo_huber", 0.5))


def test_every_loss_is_whole():
    """What names of losses stand elsewhere for is told by the losses themselves."""
    for task in ("classification", "regression", "multilabel"):
        usual = losses.usual(task)
        assert usual.by_few_rows or task == "multilabel"
        assert all(task in loss.tasks for loss in losses.of_task(task))
    for name, loss in losses.items():
        assert loss.name == name
        assert loss.of_shares is not None or "classification" not in loss.tasks
        assert loss.constants is not None or loss.tasks == ("classification",)
        assert loss.metric is None or loss.metric in pg.evaluation.metrics.metrics
        if loss.of_logarithm:
            assert losses[loss.of_logarithm].needs == loss.needs


def test_a_library_objective_of_its_name_is_its_loss(registered):
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    model = xgboost.XGBRegressor(
        n_estimators=2, n_jobs=1, objective="reg:pseudohubererror"
    ).fit(X, X[:, 0])
    assert find_call(model).loss is losses["pseudo_huber"]


@pytest.mark.slow
def test_page_and_command_take_it(registered, skewed, tmp_path):
    X, y = skewed
    table = X.assign(outcome=y)
    table.to_csv(tmp_path / "table.csv", index=False)
    preset = QUICK | {"loss": "pseudo_huber", "max_epochs": 2}
    (tmp_path / "preset.json").write_text(json.dumps(preset))
    words = ("--target", "outcome", "--preset", tmp_path / "preset.json")
    call("run", tmp_path / "table.csv", *words, "--out", tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "pseudo-Huber error" in page
    call("explain", tmp_path / "run", "--max-rows", 20, "--out", tmp_path / "explained")
    explanation = pg.Explanation.load(tmp_path / "explained")
    assert (explanation.meta["loss"], explanation.meta["unit"]) == ("pseudo_huber", "y")
    report = pg.report(
        LinearRegression().fit(X, y),
        X,
        y,
        path=tmp_path / "report.html",
        loss="pseudo_huber",
        progress=False,
    )
    assert "pseudo-Huber error" in (tmp_path / "report.html").read_text("utf-8")
    assert report is not None


def test_a_loss_without_a_known_constant_is_told_of_from_a_file_too(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    y = 2 * X[:, 0] + rng.normal(0, 0.1, 80)

    def steep(outputs, truth):
        return np.abs(outputs[:, 0] - truth) ** 1.5

    explanation = pg.explain(
        lambda rows: 2 * rows[:, 0], X, y, loss=steep, progress=False, random_state=0
    )
    assert np.isnan(explanation.meta["loss_scale"])
    explanation.save(tmp_path / "saved")
    loaded = pg.Explanation.load(tmp_path / "saved")
    assert loaded.summary() == explanation.summary()
    assert loaded.ranking() == explanation.ranking() == ["x0", "x1"]


@pytest.mark.parametrize("tasks", [("classification", "regression"), ("regression",)])
def test_a_loss_of_both_tasks_reads_numbers_as_they_are(tasks):
    seen = []

    def distance(outputs, y):
        seen.append(outputs.shape[1])
        return (outputs[:, 0].double() - y.double()).abs()

    loss = Loss("distance", distance, tasks)
    outputs, y = torch.tensor([[3.0], [5.0]]), torch.tensor([1.0, 1.0])
    assert loss(outputs, y).tolist() == [2.0, 4.0]
    loss(outputs, y.long())
    assert seen == [1, len(tasks)], "of classes, the logit of the second one"


@pytest.mark.parametrize(
    ("task", "loss", "words"),
    [
        ("regression", "squared_error", "^loss='squared_error' cannot be chosen for r"),
        ("regression", "quantile", "^loss='quantile' cannot be chosen for ridge regr"),
        ("regression", "brier", "^loss='brier' cannot be used for regression. Leave"),
        ("classification", "poisson", "^loss='poisson' cannot be used for classific"),
        ("classification", "brier", "^loss='brier' cannot be chosen for logistic reg"),
    ],
)
def test_other_libraries_say_which_losses_they_have(task, loss, words):
    X = np.arange(20.0).reshape(10, 2)
    with pytest.raises(InputError, match=words):
        table_model(task, "linear", loss=loss).fit(X, np.arange(10) % 2)


def test_a_stored_level_is_that_of_the_loss():
    outputs, y = torch.tensor([[0.0]]), torch.tensor([1.0])
    assert named_loss("quantile 0.9")(outputs, y).tolist() == [0.9]
    several = named_loss("quantile 0.1, 0.9")
    assert [loss.level for loss in several.by_output] == [0.1, 0.9]
    assert [named_loss(f"quantile {level}") for level in ("x", 7)] == [None, None]


def costly(outputs, y):
    return (np.asarray(outputs)[:, 0] - np.asarray(y)) ** 4


@pytest.mark.parametrize("loss", [("quantile", 0.9), costly])
def test_what_was_explained_by_a_loss_is_evaluated_by_it(loss):
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = X @ [2.0, 1.0]
    model = LinearRegression().fit(X, y + X[:, 0])
    explanation = pg.explain(model, X, y, scope="global", loss=loss, **QUIET)
    if callable(loss):
        with pytest.raises(InputError, match=r"^The explanation was made with loss='c"):
            explanation.evaluate(model, X, y)
        return
    by_level = explanation.evaluate(model, X, y, n_repeats=2, metrics="deletion")
    explanation.meta["loss"] = "quantile"
    by_median = explanation.evaluate(model, X, y, n_repeats=2, metrics="deletion")
    assert repr(by_level) != repr(by_median)
