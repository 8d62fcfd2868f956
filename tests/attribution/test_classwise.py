"""Explanations of single classes are about these classes: short form of
``verification/verify_classes.py``.
"""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from verification import verify_classes as verify

import permgrad as pg


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(
    not os.environ.get("PERMGRAD_DATA"),
    reason="PERMGRAD_DATA names no folder with Covertype",
)
def test_classes_of_covertype():
    options = {
        "preset": "fast",
        "image": "always",
        "max_epochs": 14,
        "class_weight": "balanced",
    }
    lines = verify.examine_both(0, 3000, 60, 1500, **options)
    true, noise = lines
    assert true["balanced accuracy"] > 0.55 > noise["balanced accuracy"]
    assert true["pairs"]
    assert verify.holds(lines), lines


@pytest.fixture(scope="module")
def two_worlds():
    """Class A against the rest is told by ``left``, B against C by ``right``; the
    picture shows both.
    """
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        rng.normal(size=(1500, 4)), columns=["left", "right", "idle", "other"]
    )
    y = np.where(X["left"] > 0.3, "A", np.where(X["right"] > 0, "B", "C"))
    model = pg.HyNNClassifier(
        preset="fast", image="always", max_epochs=12, random_state=0, progress=False
    ).fit(X[:1000], y[:1000])
    assert model.score(X[1000:], y[1000:]) > 0.9
    return model, X[1000:].reset_index(drop=True), y[1000:]


def test_every_class_has_its_own_leader(two_worlds):
    model, X, y = two_worlds
    explained = pg.explain(model, X, y, random_state=0, progress=False)
    assert explained.outputs == ("all", "A", "B", "C")
    assert explained.ranking("A")[0] == "left"
    low, high = explained.ci()
    right, (a, b) = (
        explained.names.index("right"),
        (explained.outputs.index(name) for name in "AB"),
    )
    assert low[right, b] > high[right, a]


def test_a_class_is_the_mean_over_its_rows(two_worlds):
    """The column of a class is the mean over the rows of that class, and "all" their
    mean weighted by rows.
    """
    model, X, y = two_worlds
    background = X[:200]
    common = {
        "background": background,
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
    }
    explained = explain_with(model, X, y, **common)
    counts = np.array([(y == name).sum() for name in "ABC"])
    assert counts.min() > 50
    for values in (explained.values, *explained.parts.values()):
        np.testing.assert_allclose(
            values[:, 1:] @ counts / counts.sum(), values[:, 0], rtol=1e-9, atol=1e-12
        )


def test_maps_of_classes_differ(two_worlds):
    """The requested class is the one explained, whatever class is most probable."""
    model, X, _ = two_worlds
    maps = pg.explain(
        model, X[:50], method=pg.methods.GradCam(variant="hirescam"), progress=False
    ).maps["cam"]
    alone = pg.explain(
        model,
        X[:50],
        method=pg.methods.GradCam(variant="hirescam"),
        target="B",
        progress=False,
    ).maps["cam"]
    np.testing.assert_allclose(alone[:, 0], maps[:, 1], atol=1e-5 * np.abs(maps).max())
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(maps[:, first] - maps[:, second]).max() > 0.1 * np.abs(maps).max()


def test_a_class_without_rows_is_undefined(two_worlds):
    model, X, y = two_worlds
    rows = y != "C"
    frame = pg.explain(
        model, X[rows], y[rows], random_state=0, n_repeats=2, progress=False
    ).to_frame()
    absent = frame[frame["class"] == "C"]
    assert (
        absent[
            [
                "importance",
                "std_error",
                "ci_low",
                "ci_high",
                "p_value",
                "tabular",
                "image",
                "interaction",
            ]
        ]
        .isna()
        .all(axis=None)
    )
    assert frame.loc[frame["class"] != "C", "importance"].notna().all()
