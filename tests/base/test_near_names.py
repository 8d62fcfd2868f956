"""A keyword that a public function or class does not take names the near one."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
from sklearn.base import clone

import permgrad as pg

X = np.zeros((4, 2))


@pytest.mark.parametrize(
    ("call", "wrong", "near"),
    [
        (lambda: pg.explain(sum, X, n_repeat=3), "n_repeat", "n_repeats"),
        (lambda: pg.explain(sum, X, rows=3), "rows", "max_rows"),
        (
            lambda: pg.explain_stream(sum, X, row_per_part=3),
            "row_per_part",
            "rows_per_part",
        ),
        (lambda: pg.report(sum, X, X, refit=5), "refit", "refits"),
        (lambda: pg.Model(sum, class_name=["a"]), "class_name", "class_names"),
        (lambda: pg.HyNNClassifier(max_epoch=3), "max_epoch", "max_epochs"),
        (
            lambda: pg.methods.Shapley(max_permutation=3),
            "max_permutation",
            "max_permutations",
        ),
        (lambda: pg.load("model", encoder={}), "encoder", "encoders"),
    ],
)
def test_the_near_name_is_named(call, wrong, near):
    with pytest.raises(
        TypeError,
        match=rf"unexpected keyword argument '{wrong}'\. Did you mean '{near}'\?",
    ):
        call()


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (
            {"method": "deeplift", "baseline": "zeros"},
            "It is an option of the method: method=pg.methods.DeepLift(baseline=...).",
        ),
        (
            {"max_permutations": 40},
            (
                "It is an option of the method: "
                "method=pg.methods.Shapley(max_permutations=...)."
            ),
        ),
        (
            {"task": "regression"},
            "It is said of the model: pg.Model(model, task=...).",
        ),
    ],
)
def test_what_takes_an_argument_is_named(arguments, remedy):
    with pytest.raises(TypeError) as refusal:
        pg.explain(sum, X, **arguments)
    assert str(refusal.value).endswith(f". {remedy}")


def test_what_is_near_nothing_is_named_alone():
    with pytest.raises(
        TypeError, match=r"explain\(\) got an unexpected keyword argument 'zzz'$"
    ):
        pg.explain(sum, X, zzz=1)


def test_signatures_copies_and_pickles_are_as_without_it():
    assert "n_repeats" in inspect.signature(pg.explain).parameters
    assert list(inspect.signature(pg.methods.Permutation).parameters) == list(
        pg.methods.Permutation.options
    )
    estimator = pg.HyNNRegressor(max_epochs=3)
    assert (
        clone(estimator).max_epochs
        == pickle.loads(pickle.dumps(estimator)).max_epochs
        == 3
    )
    assert copy.deepcopy(pg.methods.Shapley(tolerance=0.5)).tolerance == 0.5
