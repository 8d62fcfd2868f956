"""Training that ends in time: boosting stops at a deadline with its best round, and finding out is limited, too."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace

import numpy as np
import pytest

import permgrad as pg
from permgrad.evaluation.baselines import fitting
from permgrad.models.estimators import beside
from permgrad.models.libraries.boosting import LIBRARIES
from permgrad.models.libraries.job import Job, Rows

ROWS, CLASSES = 900, 6


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(ROWS, 4)).astype(np.float32)
    y = np.digitize(X[:, 0] + 0.3 * rng.normal(size=ROWS), np.linspace(-1, 1, 5))
    return X, y


@pytest.mark.parametrize("library", [one.name for one in LIBRARIES])
def test_boosting_ends_at_its_deadline_with_a_model(library):
    (chosen,) = [one for one in LIBRARIES if one.name == library]
    if importlib.util.find_spec(chosen.package) is None:
        pytest.skip(f"{chosen.package} is not installed")
    X, y = rows()
    held = Rows(X[700:], y[700:])
    job = {"n_classes": CLASSES, "seed": 0, "threads": 1}
    trees = {}
    for seconds in (0.0, np.inf):
        train = Rows(X[:700], y[:700])
        work = Job("classification", train, held, **job, seconds=seconds)
        fitted = chosen.train(work)
        trees[seconds] = len(fitted.trees.roots)
    assert trees[0.0] >= CLASSES, "one round at least"
    assert trees[np.inf] > 3 * trees[0.0], "the precondition: more rounds pay"


def test_branches_that_were_fitted_before_the_network_are_those_that_are_added():
    X, y = rows()
    options = {"preset": "default", "max_epochs": 2, "random_state": 0}
    model = pg.HyNNClassifier(branches=("tabular", "linear"), **options)
    prepared = model.prepare(X[:700], y[:700], eval_set=(X[700:], y[700:]))
    early = beside.fit_branches(model, prepared, 60.0)
    assert list(early) == ["linear"]
    model.train(replace(prepared, fitted=early))
    usual = pg.HyNNClassifier(branches=("tabular", "linear"), **options)
    usual.fit(X[:700], y[:700], eval_set=(X[700:], y[700:]))
    assert model.branches_ == usual.branches_
    np.testing.assert_array_equal(model.predict_proba(X), usual.predict_proba(X))


def test_trees_of_many_classes_are_neither_fitted_nor_waited_for(monkeypatch):
    monkeypatch.setattr(beside, "MOST_CLASSES", 3)
    X, y = rows()
    model = pg.HyNNClassifier(max_epochs=1, random_state=0)
    prepared = model.prepare(X[:700], y[:700], eval_set=(X[700:], y[700:]))
    assert "trees" in prepared.beside, "the precondition"
    assert list(beside.fit_branches(model, prepared)) == ["linear"]


def test_finding_out_how_long_models_take_is_limited(monkeypatch):
    asked = []

    def slow(name, task, part, *, seconds=np.inf, **_):
        asked.append((name, len(part.y), seconds))
        took = min(seconds, 5.0)
        known = np.arange(2)
        return fitting.FittedBaseline(name, None, took, known, known, took)

    monkeypatch.setattr(fitting, "fit_baseline", slow)
    X, y = rows()
    train = Rows(X, y)
    names = ["lightgbm", "random_forest"]
    started = time.monotonic()
    seconds = fitting.estimate_seconds("classification", train, names, most=2.0)
    assert time.monotonic() - started < 60
    assert {one for _, _, one in asked} == {0.5}, "a quarter of the limit each"
    few = asked[0][1]
    assert len(asked) == 4, "half of the limit is not reached: there is a second part"
    asked.clear()
    monkeypatch.setattr(
        fitting,
        "fit_baseline",
        lambda name, task, part, **_: slow(name, task, part, seconds=3.0),
    )
    seconds = fitting.estimate_seconds("classification", train, names, most=2.0)
    assert len(asked) == 2, "one fit each"
    assert seconds == pytest.approx(6.0 / few * ROWS)
