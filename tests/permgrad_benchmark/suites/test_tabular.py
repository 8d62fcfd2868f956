"""The tabular suite: contestants on the true function itself get their own truth; a
quick cell has every figure.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, RegressorMixin

from permgrad.attribution import methods
from permgrad.evaluation.ranking import importance_shares
from permgrad_benchmark import (
    ANY,
    Settings,
    benchmark_metrics,
    enrolled,
    load_suites,
    metric_named,
)
from permgrad_benchmark.metrics import share_error
from permgrad_benchmark.suites.tabular import case as cases
from permgrad_benchmark.suites.tabular import ours
from permgrad_benchmark.suites.tabular.peers import sage_permutation
from permgrad_benchmark.truth import ESTIMANDS, base, make_truth
from permgrad_benchmark.truth.base import _known

TABULAR = load_suites().get("tabular")
TINY = cases.TabularSizes(
    train=200, test=120, epochs=2, repeats=2, some=16, few=6, references=5, draws=32, retrainings=2
)  # fmt: skip


class TrueLinear(RegressorMixin, BaseEstimator):
    """The known linear function where the estimator should be: what peers ask of it,
    and no more.
    """

    target_scale_, target_mean_ = 1.0, 0.0

    def __init__(self, truth):
        self.truth = truth
        self.preprocessor_ = self
        beta = np.zeros(truth.n_features)
        beta[: truth.n_relevant] = truth.sizes
        self.module_ = torch.nn.Linear(truth.n_features, 1)
        with torch.no_grad():
            self.module_.weight.copy_(torch.from_numpy(beta[None]).float())
            self.module_.bias.zero_()

    def fit(self, X, y):
        return self

    def features(self, level):
        return {
            name: np.array([column_index])
            for column_index, name in enumerate(self.truth.feature_names)
        }

    def encode_rows(self, X):
        return SimpleNamespace(encoded=X.to_numpy(dtype=np.float32))

    def predict(self, X):
        return self.truth.function(X)

    def predict_encoded(self, encoded):
        return self.truth.function(encoded)[:, None].astype(np.float32)


@pytest.fixture(scope="module")
def oracle():
    truth = make_truth("linear_correlated", noise=0.0)
    X_train, y_train = truth.sample(400, random_state=0)
    X, y = truth.sample(600, random_state=1)
    sizes = dataclasses.replace(
        cases.FULL, repeats=3, some=200, few=40, references=40, draws=160
    )
    return cases.TabularCase(
        truth=truth,
        model=TrueLinear(truth),
        X_train=X_train,
        y_train=y_train,
        X=X,
        y=y,
        seed=0,
        sizes=sizes,
    )


PEERS = [
    name for name in enrolled("tabular") if enrolled("tabular").get(name).kind == "peer"
]


@pytest.mark.parametrize("name", PEERS)
def test_peers_on_the_true_function_get_their_truth(name, oracle):
    """No network stands in between: what is left is their sampling error, so each is
    called as it should be.
    """
    contestant = enrolled("tabular").get(name)
    if contestant.missing():
        pytest.skip(f"needs {', '.join(contestant.missing())}")
    # Attributions of a linear function are β (x − mean), whatever the method.
    estimand = "shapley" if contestant.estimand == ANY else contestant.estimand
    state = np.random.get_state()[1].copy()
    torch_state = torch.get_rng_state()
    scores = contestant.score(oracle)
    assert np.array_equal(np.random.get_state()[1], state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert all(
        weight.requires_grad and weight.grad is None
        for weight in oracle.model.module_.parameters()
    )
    errors = {
        other_estimand: share_error(
            oracle.truth.known(other_estimand).values, scores.values
        )
        for other_estimand in ESTIMANDS
    }
    assert errors[estimand] < 0.025
    assert errors[estimand] == min(errors.values())
    assert scores.model_rows > 0
    assert scores.seconds > 0
    again = contestant.score(oracle)
    np.testing.assert_allclose(again.values, scores.values, rtol=1e-6)


def test_the_four_truths_of_the_oracle_can_be_told_apart(oracle):
    known_truths = [oracle.truth.known(estimand).values for estimand in ESTIMANDS]
    assert (
        min(
            share_error(a, b)
            for i, a in enumerate(known_truths)
            for b in known_truths[:i]
        )
        > 0.01
    )


# ---- SAGE from the paper -------------------------------------------------------------
def test_sage_meets_the_closed_form_and_its_intervals_hold():
    truth = make_truth("linear_correlated", noise=0.0)
    rng = np.random.default_rng(0)
    x = truth._draw(600, rng)
    background = truth._draw(60, rng)
    sage_result = sage_permutation(
        lambda rows: truth.values(rows)[:, None], lambda said, y: (said[:, 0] - y) ** 2, x, truth.values(x), background,
        np.arange(12), walks=600, rng=rng,
    )  # fmt: skip
    known_values = truth.known("sage").values
    assert (
        np.abs(sage_result.values - known_values)
        < 5 * sage_result.std + 0.03 * known_values.sum()
    ).all()
    assert (sage_result.values[6:] == 0).all()
    assert (sage_result.p_values()[6:] == 1).all()
    assert (sage_result.p_values()[:6] < 0.001).sum() >= 5
    low, high = sage_result.interval()
    np.testing.assert_allclose((low + high) / 2, sage_result.values)
    # What the walks add up to is the fall of the loss from knowing nothing to knowing
    # all, of the rows walked.
    nothing = np.mean((truth.values(background).mean() - truth.values(x)) ** 2)
    assert sage_result.values.sum() == pytest.approx(nothing, rel=1e-9)


def test_sage_of_two_features_by_enumeration():
    """Both orders, every row once: the paper's sum written out for y = x1 x2."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((400, 2))
    background = rng.standard_normal((30, 2))
    y = x[:, 0] * x[:, 1]
    known_outputs = {
        (): np.full(400, (background[:, 0] * background[:, 1]).mean()),
        (0,): x[:, 0] * background[:, 1].mean(),
        (1,): x[:, 1] * background[:, 0].mean(),
        (0, 1): y,
    }
    loss = {
        present: np.mean((present_outputs - y) ** 2)
        for present, present_outputs in known_outputs.items()
    }
    first = 0.5 * (loss[()] - loss[(0,)]) + 0.5 * (loss[(1,)] - loss[(0, 1)])
    sage_result = sage_permutation(
        lambda rows: (rows[:, 0] * rows[:, 1])[:, None], lambda said, y: (said[:, 0] - y) ** 2, x, y, background,
        np.arange(2), walks=8000, rng=rng,
    )  # fmt: skip
    assert sage_result.values[0] == pytest.approx(first, abs=4 * sage_result.std[0])
    assert sage_result.values.sum() == pytest.approx(loss[()], rel=1e-6)


# ---- one cell ------------------------------------------------------------------------
def smallest_cell(*names):
    """The smallest cell of classes, with some of permgrad's methods, or all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(TABULAR), "quick", TINY)
        patch.setattr(type(TABULAR), "repeated_functions", ())
        return TABULAR.run(
            "logistic",
            0,
            Settings(scale="quick", peers=False, progress=False, methods=names),
        )


@pytest.fixture(scope="module", autouse=True)
def rough_truths():
    """Truths without a closed form are sampled roughly, which is good enough where they
    are only carried along.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "sampled", partial(base.sampled, points=64, averaged=16))
        _known.cache_clear()
        yield
    _known.cache_clear()


@pytest.fixture(scope="module")
def cell(rough_truths):
    return smallest_cell(
        "permgrad", "permgrad:conditional", "permutation", "gradient", "random"
    )


@pytest.mark.slow
def test_every_method_of_the_registry_takes_part():
    cell = smallest_cell()
    check_numbers(cell)
    present = {record.method for record in cell}
    assert {"permgrad", "permgrad:conditional", "random", "truth", "network"} <= present
    for method in methods:
        if ours.ENTRIES.get(method, True) == ():
            continue
        assert present & {
            method,
            *(entry.name for entry in ours.ENTRIES.get(method, ())),
        }
    assert not present & set(PEERS)


def test_every_number_is_of_a_known_metric_and_in_its_range(cell):
    check_numbers(cell)


def check_numbers(cell):
    for record in cell:
        metric = metric_named(record.metric)
        low, high = metric.range
        assert math.isnan(record.value) or low - 1e-9 <= record.value <= high + 1e-9, (
            record
        )
        assert record.estimand in {ANY, *ESTIMANDS}
    assert {record.metric.split(":")[0] for record in cell} <= set(benchmark_metrics)


def test_each_method_is_held_against_all_four_truths(cell):
    of = {(r.method, r.estimand): r.value for r in cell if r.metric == "share_error"}
    for method in ("permgrad", "random"):
        assert [(method, estimand) in of for estimand in ESTIMANDS] == [True] * 4
    shares = {
        r.metric: r.value
        for r in cell
        if r.method == "permgrad" and r.metric.startswith("share:")
    }
    assert len(shares) == 10
    assert sum(shares.values()) == pytest.approx(1)
    truth = importance_shares(make_truth("logistic").known("total_effect").values)
    assert of["permgrad", "total_effect"] == pytest.approx(
        np.sqrt(
            np.mean(
                (np.array([shares[f"share:x{j + 1}"] for j in range(10)]) - truth) ** 2
            )
        )
    )
    stated = [
        r.value for r in cell if r.method == "truth" and r.estimand == "total_effect"
    ]
    np.testing.assert_allclose(stated, truth)


def test_who_calls_features_relevant(cell):
    with_p_values = {r.method for r in cell if r.metric == "power"}
    assert {"permgrad", "permgrad:conditional", "permutation"} <= with_p_values
    assert "random" not in with_p_values
    assert {r.method for r in cell if r.metric == "power:share"} > with_p_values


@pytest.mark.slow
def test_repetitions():
    settings = Settings(
        scale="quick", peers=False, progress=False, methods=("gradient", "random")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(TABULAR), "quick", TINY)
        patch.setattr(type(TABULAR), "repeated_functions", ("product",))
        records = TABULAR.run("product", 0, settings)
    repeated_metrics = {(r.method, r.metric): r.value for r in records}
    for method in ("gradient", "random"):
        for what in ("retraining", "resampling"):
            assert -1 <= repeated_metrics[method, f"stability_kendall:{what}"] <= 1
            assert 0 <= repeated_metrics[method, f"stability_spread:{what}"] < 1
        assert repeated_metrics[method, "stability_spread:resampling"] > 0
        for what in ("parameters", "labels"):
            assert -1 <= repeated_metrics[method, f"randomised:{what}"] <= 1
    assert repeated_metrics["gradient", "randomised:labels"] < 0.95


@pytest.mark.slow
def test_the_same_cell_again_gives_the_same_figures():
    settings = Settings(
        scale="quick",
        peers=False,
        progress=False,
        methods=("permgrad", "permutation", "random"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(TABULAR), "quick", TINY)
        patch.setattr(type(TABULAR), "repeated_functions", ())
        first, second = (TABULAR.run("xor", 1, settings) for _ in range(2))
    timeless = [[r for r in run if r.metric != "seconds"] for run in (first, second)]
    assert len(timeless[0]) > 60
    assert timeless[0] == timeless[1]
    shares = {method: [r.value for r in first if r.method == method and r.metric.startswith("share:")]
              for method in ("permgrad", "permutation")}  # fmt: skip
    # The path game's total effect is plain permutation, with the same donors.
    np.testing.assert_allclose(shares["permgrad"], shares["permutation"], atol=1e-4)


def test_randomised_networks_and_resamples_are_others():
    truth = make_truth("categorical")
    case = cases.fit_network(truth, 0, TINY)
    before = case.margin(case.encoded)
    other_case = cases.randomised(case)
    assert np.abs(other_case.margin(case.encoded) - before).max() > 0.1
    np.testing.assert_array_equal(case.margin(case.encoded), before)
    sample = cases.resampled(case, 0)
    assert len(sample.X) == len(case.X)
    assert len(sample.X.drop_duplicates()) < len(case.X)
    np.testing.assert_allclose(truth.function(sample.X), sample.y, atol=6 * truth.noise)
    shuffled = cases.fit_network(truth, 0, TINY, shuffled=True)
    assert sorted(shuffled.y_train) == sorted(case.y_train)
    assert (
        abs(np.corrcoef(shuffled.y_train, truth.function(shuffled.X_train))[0, 1]) < 0.2
    )
    assert case.meter.rows == 2 * len(case.X)
    assert len(case.columns[case.names[0]]) > 10


def test_facts_and_lists():
    everyone = TABULAR.methods(Settings())
    assert everyone[:2] == ("permgrad", "permgrad:conditional")
    if importlib.util.find_spec("captum"):
        assert "captum:shapley_sampling" in everyone
    assert not any(
        name.startswith(("captum", "shap:"))
        for name in TABULAR.methods(Settings(peers=False))
    )
    assert TABULAR.methods(Settings(methods=("random",))) == ("random",)
    facts = TABULAR.facts(Settings())
    assert facts["contestants"]["permgrad"]["estimand"] == "total_effect"
    assert (
        facts["contestants"]["permgrad:conditional"]["estimand"] == "conditional_effect"
    )
    assert set(facts["estimands"]) == set(ESTIMANDS)
    assert facts["relevant"]["irrelevant40"] == ["x1", "x2", "x3", "x4"]
    assert len(TABULAR.functions) >= 14
