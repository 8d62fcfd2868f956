"""Trees and a line beside the network: kept where they pay, with the share and the
numbers that they say.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import permgrad as pg
from permgrad.base.random import derive_seed
from permgrad.models.branches.tree_branch import TREES
from permgrad.models.estimators import beside
from permgrad.models.estimators.folds import folds_of
from permgrad.models.libraries import boosting
from permgrad.models.libraries.boosting import LIBRARIES, best_library
from permgrad.models.libraries.job import Job, Rows
from permgrad.models.libraries.linear import affine, linear

#: The fast preset, which tries trees and a line as the default does.
TRIES = {
    "preset": {"base": "fast", "beside": ["trees", "linear"]},
    "random_state": 0,
    "progress": False,
}


def stepped(rows: int, seed: int = 0):
    """Return a table whose target stands in steps, which trees find and this network
    does not.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=list("abc"))
    frame["town"] = rng.choice(["north", "south", "west"], rows)
    truth = np.sign(frame["a"]) * np.round(2 * frame["b"]) + 2 * (
        frame["town"] == "west"
    )
    return frame, (truth + rng.normal(0, 0.1, rows)).to_numpy()


def wide(rows: int, seed: int = 0):
    """Return a table of fewer rows than columns with a linear target."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(rows, 5))
    X = factors @ np.random.default_rng(9).normal(size=(5, 150)) + 0.3 * rng.normal(
        size=(rows, 150)
    )
    return X, factors @ [1.0, -1.0, 2.0, 0.5, 1.0] + 0.1 * rng.normal(size=rows)


def alone(model, X):
    """Return what the network of a model says without what stands beside it."""
    encoded = torch.from_numpy(model.encode_rows(X).encoded)
    module = model.module_
    with torch.no_grad():
        mixed_outputs = module(encoded)
        added = sum(branch(encoded) for branch in module.additive.values())
    return ((mixed_outputs - added) / (1 - sum(module.shares.values()))).numpy()


@pytest.fixture(scope="module", name="fitted")
def _fitted():
    X, y = stepped(1500)
    return pg.HyNNRegressor(**TRIES).fit(X[:1000], y[:1000]), X[1000:], y[1000:]


def test_trees_that_pay_are_kept_and_a_line_that_does_not_is_not(fitted):
    model, X, y = fitted
    assert model.module_.paths == ("tabular", "trees")
    trees = model.branches_["trees"]
    line = model.branches_["linear"]
    assert trees["kept"]
    assert not line["kept"]
    assert trees["label"] == best_library().label
    assert trees["gain"] > trees["std_error"] > 0
    assert trees["rows"] == 100
    assert 0.05 <= trees["ci_low"] <= trees["share"] <= trees["ci_high"] <= 1
    network = alone(model, X)[:, 0] * model.target_scale_ + model.target_mean_
    errors = [np.mean((guess - y) ** 2) for guess in (network, model.predict(X))]
    assert errors[1] < 0.7 * errors[0]
    summary_lines = model.summary().splitlines()[-2:]
    assert summary_lines[0].startswith(f"tree branch ({trees['label']}) counts for 0.")
    assert (
        "linear branch (ridge regression) is left out: with it the loss of 100 "
        "held-out rows is" in summary_lines[1]
    )


def job_rows(rows):
    return Rows(rows.x.numpy(), rows.y.numpy().astype(float))


@pytest.mark.slow
@pytest.mark.parametrize("by_folds", [True, False])
def test_the_prediction_is_the_mean_by_the_shares(by_folds):
    """The twin: library and network one after the other, and their mean by hand."""
    X, y = stepped(900)
    eval_set = None if by_folds else stepped(100, seed=1)
    model = pg.HyNNRegressor(**{**TRIES, "branches": ("tabular", "trees")})
    prepared = model.prepare(X, y, eval_set=eval_set)
    rows = prepared.job.train_rows
    held_out = prepared.job.validation_rows
    model.train(prepared)
    seed = beside._job(model, rows, held_out, 0, counts=False).seed
    pairs = [(job_rows(rows), job_rows(held_out))]
    seeds = [seed]
    if by_folds:
        made = folds_of(rows, held_out, np.arange(900), 0, model.seed_)
        pairs = [(job_rows(fold.teaching), job_rows(fold.left_out)) for fold in made]
        seeds = [derive_seed(seed, "fold", number) % 2**31 for number in range(5)]
    encoded = model.encode_rows(X[:50]).encoded
    said = []
    for pair, fit_seed in zip(pairs, seeds, strict=True):
        work = Job("regression", *pair, 0, fit_seed, torch.get_num_threads())
        fitted = best_library().train(replace(work, is_of_several=by_folds))
        said.append(np.asarray(fitted.predict(encoded)))
    share = model.branches_["trees"]["share"]
    expected = (1 - share) * alone(model, X[:50])[:, 0] + share * np.mean(said, axis=0)
    np.testing.assert_allclose(
        model.predict_encoded(encoded)[:, 0], expected, atol=3e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_classes(classes):
    X, y = stepped(1500)
    labels = np.array(["low", "middle", "high"])[
        np.digitize(y, [0.5] if classes == 2 else [-0.5, 1.0])
    ]
    model = pg.HyNNClassifier(**TRIES).fit(X[:1000], labels[:1000])
    assert "trees" in model.module_.paths
    chances = model.predict_proba(X[1000:])
    class_codes = np.searchsorted(model.classes_, labels[1000:])
    network = torch.from_numpy(alone(model, X[1000:])).softmax(dim=1).numpy()
    losses = [
        -np.log(np.maximum(class_chances[np.arange(500), class_codes], 1e-9)).mean()
        for class_chances in (network, chances)
    ]
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.slow
def test_a_line_is_kept_where_there_are_fewer_rows_than_columns():
    X, y = wide(300)
    model = pg.HyNNRegressor(**TRIES).fit(X[:100], y[:100])
    assert "linear" in model.module_.paths
    network = alone(model, X[100:])[:, 0] * model.target_scale_ + model.target_mean_
    errors = [
        np.mean((guess - y[100:]) ** 2) for guess in (network, model.predict(X[100:]))
    ]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.slow
def test_nothing_is_kept_that_does_not_pay():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(700, 4))
    y = np.sin(2 * X[:, 0]) * X[:, 1] + 0.05 * rng.normal(size=700)
    model = pg.HyNNRegressor(**TRIES | {"preset": "default", "max_epochs": 12}).fit(
        X, y
    )
    assert not model.branches_["linear"]["kept"]
    assert model.module_.paths[0] == "tabular"


@pytest.mark.parametrize("name", ["trees", "linear"])
def test_what_is_named_is_kept(name):
    X = np.random.default_rng(0).normal(size=(300, 3))
    model = pg.HyNNRegressor(**{**TRIES, "branches": (name, "tabular")}).fit(
        X, np.sin(3 * X[:, 0]) * X[:, 1]
    )
    assert model.module_.paths == ("tabular", name)
    assert list(model.branches_) == [name]
    assert 0.05 <= model.module_.shares[name] <= 0.95


def test_what_is_named_is_kept_with_few_rows_and_many_classes():
    X, y = stepped(40)
    model = pg.HyNNRegressor(**{**TRIES, "branches": ("tabular", "trees")}).fit(X, y)
    assert model.branches_["trees"]["rows"] < 5, (
        "the precondition: they cannot choose a share"
    )
    assert model.module_.shares == {"trees": 0.5}
    labels = np.arange(400) % (TREES.most_classes + 1)
    X, _ = stepped(400)
    model = pg.HyNNClassifier(
        **{**TRIES, "branches": ("tabular", "trees"), "max_epochs": 1}
    ).fit(X, labels)
    assert model.module_.paths == ("tabular", "trees")


def test_a_rare_class_is_among_the_rows_that_are_drawn(monkeypatch):
    monkeypatch.setattr(beside, "MOST_ROWS", 50)
    X, y = stepped(600)
    labels = np.where(np.arange(600) < 4, "rare", np.where(y > 0, "high", "low"))
    model = pg.HyNNClassifier(**TRIES).fit(X, labels)
    assert set(model.branches_) == {"trees", "linear"}


@pytest.mark.parametrize("library", [tree_library.name for tree_library in LIBRARIES])
def test_every_library(library, monkeypatch, tmp_path):
    tree_library = next(
        known_library for known_library in LIBRARIES if known_library.name == library
    )
    pytest.importorskip(tree_library.package)
    monkeypatch.setattr(boosting, "best_library", lambda: tree_library)
    X, y = stepped(300)
    model = pg.HyNNRegressor(**{**TRIES, "branches": ("tabular", "trees")}).fit(X, y)
    assert model.branches_["trees"]["label"] == tree_library.label
    model.save(tmp_path / "model")
    again = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(
        again.predict_interval(X[:9]), model.predict_interval(X[:9])
    )
    assert again.branches_ == model.branches_
    assert again.summary() == model.summary()


def test_counts_have_branches_that_say_rates():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 3))
    y = rng.poisson(np.exp(0.5 * X[:, 0] + np.where(X[:, 1] > 0, 1.0, 0.0)))
    model = pg.HyNNRegressor(
        **{**TRIES, "loss": "poisson", "branches": ("tabular", "linear", "trees")}
    ).fit(X, y)
    assert model.module_.paths == ("tabular", "linear", "trees")
    predicted = model.predict(X)
    assert (predicted >= 0).all()
    assert predicted.mean() == pytest.approx(y.mean(), rel=0.1)


def test_rows_and_classes_weigh_in_all_branches():
    X, y = stepped(900)
    labels = (y > 1.5).astype(int)
    weights = np.where(X["town"] == "west", 3.0, 1.0)
    model = pg.HyNNClassifier(
        **{**TRIES, "branches": ("tabular", "trees")}, class_weight="balanced"
    )
    shares = []
    for given_weights in (None, weights):
        prepared = model.prepare(X, labels, sample_weight=given_weights)
        job = beside._job(
            model,
            prepared.job.train_rows,
            prepared.job.validation_rows,
            2,
            counts=False,
        )
        shares.append(
            [
                job.train.weights[job.train.y == class_code].sum()
                for class_code in (0, 1)
            ]
        )
        assert len(np.unique(job.train.weights)) == (2 if given_weights is None else 4)
    assert max(shares[0]) < 1.01 * min(shares[0]), (
        "the classes weigh as much as each other"
    )
    assert model.train(prepared).score(X, labels) > 0.9


def test_the_same_whatever_the_threads_and_batches(fitted):
    model, X, _ = fitted
    encoded = model.encode_rows(X).encoded
    np.testing.assert_allclose(
        model.predict_encoded(encoded, batch_size=7),
        model.predict_encoded(encoded),
        atol=1e-6,
    )
    X, y = stepped(250)
    again = [pg.HyNNRegressor(**TRIES).fit(X, y).predict(X) for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_a_line_as_weights_says_what_the_library_says():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)) * [1, 10, 0.1, 1] + 5
    for y, task in (
        (X[:, 0] - X[:, 1], "regression"),
        ((X[:, 0] > 5).astype(int), "classification"),
    ):
        model = linear(Job(task, Rows(X, y), None, 2, 0, 1))
        matrix, offset = affine(model)
        expected = (
            model.predict(X) if task == "regression" else model.decision_function(X)
        )
        np.testing.assert_allclose(
            (X @ matrix.T + offset)[:, 0], expected, rtol=1e-9, atol=1e-9
        )


# ---- what is refused -----------------------------------------------------------------
def test_branches_beside_nothing_are_refused():
    X, y = stepped(60)
    with pytest.raises(
        pg.InputError, match=r"stand beside a network.*branches=\('tabular', 'trees'\)"
    ):
        pg.HyNNRegressor(branches=("trees",)).fit(X, y)
    with pytest.raises(pg.InputError, match="Did you mean 'trees'"):
        pg.HyNNRegressor(branches=("tabular", "tree")).fit(X, y)


def test_named_branches_need_rows_held_out(tmp_path):
    X, y = stepped(60)
    model = pg.HyNNRegressor(
        **{**TRIES, "branches": ("tabular", "trees"), "validation_fraction": 0.0}
    )
    with pytest.raises(
        pg.InputError,
        match="'trees' need rows held out of training, but there are none",
    ):
        model.fit(X, y)
    X.assign(y=y).to_parquet(tmp_path / "rows.parquet")
    model = pg.HyNNRegressor(**{**TRIES, "branches": ("tabular", "linear")})
    with pytest.raises(
        pg.InputError,
        match="need all rows in memory, and fit_stream reads them from files",
    ):
        model.fit_stream(tmp_path / "rows.parquet", "y")


def test_without_rows_held_out_none_is_tried():
    X, y = stepped(60)
    model = pg.HyNNRegressor(
        **{**TRIES, "validation_fraction": 0.0, "max_epochs": 2}
    ).fit(X, y)
    assert model.branches_ == {}
    assert model.module_.paths == ("tabular",)
