"""A stored model whose parts do not fit each other is refused when it is read, whoever
wrote it.
"""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.models.estimators.calibration import Calibration
from permgrad.models.save.networks import _check_background, _try_out


@pytest.fixture(scope="module", name="models")
def _models():
    draw = np.random.default_rng(0)
    X = pd.DataFrame({"a": draw.normal(size=60), "b": draw.choice(["x", "y", "z"], 60)})
    network = {"dense_units": [4], "conv_filters": [2], "fusion_units": [4]}
    options = {
        "preset": "fast",
        "network": network,
        "max_epochs": 1,
        "progress": False,
        "random_state": 0,
    }
    return {
        "classifier": pg.HyNNClassifier(**options).fit(X, draw.choice(["p", "q"], 60)),
        "regressor": pg.HyNNRegressor(**options).fit(X, draw.normal(size=60)),
    }


def _order(model):
    model.preprocessor_.feature_of_ = model.preprocessor_.feature_of_[::-1].copy()


def _features(model):
    model.n_features_in_ = 3


def _scale(model):
    model.target_scale_ = np.nan


def _history(model):
    model.history_["train_loss"] = model.history_["train_loss"].astype(str)


def _probabilities(model):
    model.calibration_ = Calibration("prior", shift=(np.nan, 0.0))


def _no_classes(model):
    model.background_, model.background_target_ = (
        model.background_[:0],
        model.background_target_[:0],
    )
    model.rows_compared_ = None


SPOILED = {
    "encoded columns in another order": (
        "classifier",
        _order,
        "not in the order of their features",
    ),
    "another number of features": (
        "classifier",
        _features,
        "features that are not those that its encoder knows",
    ),
    "a scale that is no number": (
        "regressor",
        _scale,
        "mean and scale that are not finite",
    ),
    "a history of text": ("regressor", _history, "a history that holds no numbers"),
    "no row of any class": (
        "classifier",
        _no_classes,
        "a background that has no class",
    ),
    "probabilities that are no numbers": (
        "classifier",
        _probabilities,
        "probabilities that are not one for each class",
    ),
}


@pytest.mark.parametrize("what", SPOILED)
def test_parts_that_do_not_fit_are_told(models, what):
    kind, spoil, message = SPOILED[what]
    model = copy.deepcopy(models[kind])
    _try_out(model)
    spoil(model)
    with pytest.raises(ValueError, match=message):
        _try_out(model)


@pytest.mark.parametrize(
    ("rows", "target", "message"),
    [
        (
            np.zeros((2, 4), np.float32),
            np.zeros(2),
            r"float32 \(2, 4\) for 2 rows of 3 columns",
        ),
        (np.zeros((2, 3)), np.zeros(2), r"float64 \(2, 3\) for 2 rows of 3 columns"),
        (
            np.full((2, 3), np.inf, np.float32),
            np.zeros(2),
            "a background with numbers that are not finite",
        ),
        (
            np.zeros((2, 3), np.float32),
            np.zeros((2, 1)),
            r"a background's target of shape \(2, 1\)",
        ),
    ],
)
def test_a_background_is_encoded_rows_with_their_target(rows, target, message):
    _check_background(np.zeros((2, 3), np.float32), 3, np.zeros(2))
    _check_background(np.zeros((0, 3), np.float32), 3, np.zeros(2))
    with pytest.raises(ValueError, match=message):
        _check_background(rows, 3, target)
