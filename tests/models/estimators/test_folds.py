"""Branches by folds: each row is left out by one fit, held-out rows stay judges, and
the mean of the fits is one branch.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import permgrad as pg
from permgrad.base.dependence import Dependence
from permgrad.models.estimators import folds, share
from permgrad.models.estimators.beside import LEAST_SHARE, NETWORK
from permgrad.models.estimators.folds import FOLDS, folds_of
from permgrad.models.estimators.share import (
    UNSEEN_LOSS,
    learn_shares,
    mixture,
    row_losses,
    units_of,
)
from permgrad.models.losses import losses
from permgrad.models.train.learner import TargetUnits
from permgrad.models.train.training_rows import Rows
from permgrad.models.trees import Trees

#: The fast preset, which tries trees and a line as the default does.
TRIES = {
    "preset": {"base": "fast", "beside": ["trees", "linear"]},
    "random_state": 0,
    "progress": False,
}


def numbered(count: int, first: int = 0, classes: int = 0) -> Rows:
    """Return rows whose only cell is their number."""
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    y = numbers % classes if classes else numbers
    return Rows(numbers[:, None], y.long() if classes else y, torch.ones(count))


@pytest.mark.parametrize("classes", [0, 3])
def test_each_row_is_left_out_once_and_teaches_the_other_fits(classes):
    learned = numbered(90, classes=classes)
    held_out = numbered(13, 90, classes=classes)
    made = folds_of(learned, held_out, np.arange(103), classes, seed=0)
    assert len(made) == FOLDS
    left_out = torch.cat([fold.left_out.x[:, 0] for fold in made])
    assert sorted(left_out.tolist()) == list(range(103))
    for fold in made:
        both = torch.cat([fold.teaching.x[:, 0], fold.left_out.x[:, 0]])
        assert sorted(both.tolist()) == list(range(103))
        judged = held_out.x[:, 0][torch.from_numpy(fold.judged)]
        assert set(judged.tolist()) == set(fold.left_out.x[:, 0].tolist()) & set(
            held_out.x[:, 0].tolist()
        )
        if classes:
            counts = torch.bincount(fold.left_out.y)
            assert counts.max() - counts.min() <= 1


def test_rows_of_a_group_are_left_out_together():
    units = np.random.default_rng(0).integers(0, 30, 103)
    made = folds_of(numbered(90), numbered(13, 90), units, 0, seed=0)
    assert len(made) == FOLDS
    for fold in made:
        teaching = units[fold.teaching.x[:, 0].long()]
        left_out = units[fold.left_out.x[:, 0].long()]
        assert not set(teaching.tolist()) & set(left_out.tolist())


def test_one_fit_where_held_out_rows_must_not_teach_or_are_too_few(monkeypatch):
    learned, held_out = numbered(90), numbered(13, 90)
    assert folds_of(learned, held_out, np.arange(103), 0, seed=0)
    assert folds_of(learned, held_out, None, 0, seed=0) == []
    assert folds_of(learned, held_out, np.arange(103) % 9, 0, seed=0) == []
    rare = Rows(learned.x, (learned.x[:, 0] == 3).long(), learned.weight)
    assert folds_of(rare, rare.take(slice(0, 2)), np.arange(92), 2, seed=0) == []
    monkeypatch.setattr(folds, "MOST_ROWS", 100)
    assert folds_of(learned, held_out, np.arange(103), 0, seed=0) == []


def noisy(rows: int, seed: int = 0):
    """Return a table, and a target that trees find and that is half noise."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(rows, 4)), columns=list("abcd"))
    steps = np.sign(X["a"]) * np.round(2 * X["b"])
    return X, (steps + rng.normal(0, 2.0, rows)).to_numpy()


@pytest.mark.slow
def test_held_out_rows_are_judged_by_fits_that_have_not_learned_from_them():
    X, y = noisy(3000)
    model = pg.HyNNRegressor(**{**TRIES, "branches": ("tabular", "trees")})
    prepared = model.prepare(X[:1000], y[:1000])
    assert prepared.units is not None
    model.train(prepared)
    held_out = prepared.job.validation_rows
    truth = held_out.y.numpy().astype(float) * model.target_scale_ + model.target_mean_
    predicted = (
        model.predict_encoded(held_out.x.numpy())[:, 0] * model.target_scale_
        + model.target_mean_
    )
    new_error = np.mean((model.predict(X[1000:]) - y[1000:]) ** 2)
    learned_error = np.mean((predicted - truth) ** 2)
    assert learned_error < 0.9 * new_error, (
        "the precondition: the model has learned from its held-out rows"
    )
    low, high = model.predict_interval(X[1000:], coverage=0.8).T
    covered = np.mean((low <= y[1000:]) & (y[1000:] <= high))
    assert 0.76 < covered < 0.88
    trees = model.branches_["trees"]
    mixed_loss = (trees["loss"] - trees["gain"]) * model.target_scale_**2
    assert mixed_loss == pytest.approx(new_error, rel=0.25)


@pytest.mark.parametrize("argument", ["row_time", "eval_set"])
def test_later_rows_and_an_eval_set_never_teach(argument):
    X, y = noisy(400)
    options = {"row_time": np.arange(400)}
    if argument == "eval_set":
        options = {"eval_set": noisy(60, seed=1)}
    model = pg.HyNNRegressor(**TRIES)
    assert model.prepare(X, y).units is not None
    assert model.prepare(X, y, **options).units is None


def test_scores_of_training_rows_know_labels_of_others_so_they_are_fitted_once():
    X, y = noisy(400)
    words = np.array(["wide", "old", "quiet", "near", "sunny", "small", "dark"])
    draws = np.random.default_rng(0).choice(words, (400, 6))
    X["remark"] = [" ".join(row_words) for row_words in draws]
    model = pg.HyNNRegressor(**TRIES)
    prepared = model.prepare(X, y + 3 * (draws == "sunny").sum(axis=1))
    assert model.preprocessor_.where(lambda part: part.is_score).any()
    assert prepared.units is None


@pytest.mark.parametrize("width", [1, 2])
def test_the_mean_of_trees_is_the_mean_of_their_sums(width):
    rng = np.random.default_rng(0)
    fits = []
    for count in (4, 0, 2):
        trees = []
        for _ in range(count):
            values = rng.normal(size=(3, width))
            trees.append(([int(rng.integers(3))], [rng.normal()], [1], [2], values))
        fits.append(Trees.of(trees, base=rng.normal(size=2)))
    X = rng.normal(size=(50, 3)).astype(np.float32)
    expected = np.mean([fit(X) for fit in fits], axis=0)
    assert np.ptp(expected, axis=0).min() > 0.1
    np.testing.assert_allclose(Trees.mean(fits)(X), expected, rtol=1e-12)
    constant = Trees.mean([fits[1], fits[1]])
    np.testing.assert_allclose(constant(X), np.tile(fits[1].base, (50, 1)))


# ---- shares of several together -------------------------------------------------------
NOTHING = {NETWORK: 0.0, "trees": 0.0, "linear": 0.0}


def guesses(rows: int, seed: int = 0, variances=(4.0, 1.0, 2.0), noise: float = 0.0):
    """Return three guesses with independent errors of these variances, of a truth that
    has noise which none can know.
    """
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 3, rows)
    outputs = {}
    for name, variance in zip(NOTHING, variances, strict=True):
        outputs[name] = (y + rng.normal(0, variance**0.5, rows))[:, None]
    return outputs, squared(y + rng.normal(0, noise, rows))


def squared(y: np.ndarray):
    """Return what measures numbers by their squared error."""
    return row_losses(y, losses["squared_error"], TargetUnits())


def test_many_rows_choose_the_inverse_variances():
    """The closed form: Bates & Granger 1969, for errors that are independent."""
    outputs, measure = guesses(40_000)
    shares = learn_shares(outputs, measure, least=NOTHING)
    inverse = np.array([1 / 4, 1, 1 / 2])
    np.testing.assert_allclose(
        list(shares.values()), inverse / inverse.sum(), atol=0.02
    )
    assert sum(shares.values()) == pytest.approx(1.0)
    whole = mixture(shares, outputs)
    assert measure(whole).mean() == pytest.approx(1 / inverse.sum(), rel=0.05)


def test_few_rows_hardly_leave_the_expected_shares(monkeypatch):
    spreads = []
    for expected_rows in (share.EXPECTED_ROWS, 0):
        monkeypatch.setattr(share, "EXPECTED_ROWS", expected_rows)
        chosen = []
        for seed in range(20):
            outputs, measure = guesses(8, seed, variances=(0.2, 0.2, 0.2), noise=1.0)
            shares = learn_shares(outputs, measure, least=NOTHING)
            chosen.append(shares["trees"])
        spreads.append(np.std(chosen))
    assert spreads[0] < 0.7 * spreads[1]


def test_few_rows_see_one_that_is_far_better():
    outputs, measure = guesses(8, variances=(36.0, 36.0, 1.0))
    assert learn_shares(outputs, measure, least=NOTHING)["linear"] > 0.9
    outputs, measure = guesses(8, variances=(0.2, 0.2, 0.2), noise=1.0)
    assert learn_shares(outputs, measure, least=NOTHING)["linear"] < 0.5


@pytest.mark.parametrize(("rows", "most"), [(24, 0.6), (4_000, 1.0)])
def test_few_rows_without_a_mistake_do_not_say_who_makes_fewer(rows, most):
    """Both are right in every row, one by far surer: chance in 24 rows of separable
    classes, and no chance in thousands.
    """
    y = np.arange(rows) % 2
    sides = 2.0 * y - 1
    outputs = {
        NETWORK: (5.0 * sides)[:, None],
        "trees": (5.0 * sides)[:, None],
        "linear": (9.0 * sides)[:, None],
    }
    measure = row_losses(y, losses["cross_entropy"], TargetUnits())
    assert measure(outputs["linear"]).mean() < 0.02 * measure(outputs["trees"]).mean()
    freely = learn_shares(outputs, measure, least=NOTHING)
    shares = learn_shares(outputs, measure, least=NOTHING, unseen=UNSEEN_LOSS)
    assert freely["linear"] > 0.9
    assert 1 / 3 < shares["linear"] <= most
    assert (shares["linear"] > 0.8) == (rows > 1000)


def test_groups_count_as_groups_and_least_shares_hold():
    outputs, measure = guesses(20)
    outputs[NETWORK] = 4 * outputs[NETWORK]
    repeated = {name: np.tile(own, (40, 1)) for name, own in outputs.items()}
    y = np.tile(_truth(20), 40)
    groups = Dependence(np.tile(np.arange(20), 40))
    alone = learn_shares(outputs, measure, least=NOTHING)
    many = squared(y)
    grouped = learn_shares(repeated, many, least=NOTHING, dependence=groups)
    assert grouped == pytest.approx(alone, abs=0.01)
    free = learn_shares(repeated, many, least=NOTHING)
    assert abs(free["trees"] - alone["trees"]) > 0.03
    least = {**NOTHING, NETWORK: 0.6}
    assert learn_shares(outputs, measure, least=least)[NETWORK] >= 0.6 - 1e-9
    assert units_of(800, groups).max() == 19


def _truth(rows: int):
    return np.random.default_rng(0).normal(0, 3, rows)


@pytest.mark.slow
def test_what_all_say_is_the_mixture_that_was_chosen():
    X, y = noisy(600)
    labels = np.where(y > 1, "high", np.where(y < -1, "low", "middle"))
    model = pg.HyNNClassifier(
        **{**TRIES, "branches": ("tabular", "linear", "trees")}
    ).fit(X, labels)
    shares = model.module_.shares
    for name in ("trees", "linear"):
        assert model.branches_[name]["share"] == pytest.approx(shares[name])
        assert shares[name] >= LEAST_SHARE - 1e-6
    assert 1 - sum(shares.values()) >= LEAST_SHARE - 1e-6
