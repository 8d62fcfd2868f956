"""Plots of pairs: which are shown and framed, effects of two features, and what is
refused.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Polygon
from sklearn.ensemble import RandomForestClassifier
from tests.pages.conftest import NAMES, global_explanation, pairs_explanation

import permgrad as pg
from permgrad.attribution.explanation.pairs import pairs_of
from permgrad.base.errors import InputError
from permgrad.pages.plots.interactions import effect_words, pair_effect


@pytest.fixture(name="pairs", scope="module")
def _pairs():
    return pairs_explanation()


def test_pairs_come_by_falling_size_and_clear_ones_are_marked(pairs):
    feature_pairs = pairs_of(pairs)
    assert feature_pairs.names[:2] == ((NAMES[0], NAMES[1]), (NAMES[0], NAMES[2]))
    assert (np.diff(np.abs(feature_pairs.values)) <= 0).all()
    assert feature_pairs.clear.tolist() == [True, True] + [False] * 13
    assert feature_pairs.p_adjusted[0] == pytest.approx(15e-6)


def test_the_matrix_has_a_cell_for_each_pair_and_frames_clear_ones(pairs, tmp_path):
    figure = pairs.plot.interactions()
    axes = figure.axes[0]
    table = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert table.shape == (5, 5)
    assert np.isfinite(table).sum() == 15
    assert table[0, 0] == -0.02
    assert (
        sum(
            isinstance(patch, Polygon) and not patch.get_fill()
            for patch in axes.patches
        )
        == 2
    )
    assert figure.description.startswith(
        "2 of 15 pairs clearly interact. Strongest: External"
    )
    assert figure.save(tmp_path / "pairs.png").stat().st_size > 5000
    few = pairs.plot.interactions(top_n=3, title="")
    assert (
        np.isfinite(np.ma.filled(few.axes[0].images[0].get_array(), np.nan)).sum() == 3
    )


def test_local_explanations_show_the_mean_absolute_value(pairs):
    rows = np.stack([pairs.values, -pairs.values])
    local = replace(
        pairs,
        values=rows,
        scope="local",
        std_error=None,
        low=None,
        high=None,
        p_values=None,
    )
    feature_pairs = pairs_of(local)
    assert feature_pairs.values[0] == pytest.approx(0.02)
    assert not feature_pairs.clear.any()
    assert "0 of 15" in local.plot.interactions().description


def numbers(rows: int = 120):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(rows, 3)), columns=NAMES[:3])
    table[NAMES[1]] = rng.choice(["low", "high"], rows)
    return table


def test_an_effect_is_computed_and_said(pairs):
    table = numbers()

    def model(rows):
        return rows[NAMES[0]].to_numpy() * (rows[NAMES[1]] == "high") * 2

    figure = pairs.plot.interactions(
        "effect", model=pg.Model(model, task="regression"), X=table
    )
    start, end = table[NAMES[0]].quantile([0.01, 0.99], interpolation="nearest")
    left, right = figure.axes[:2]
    assert left.get_xlabel() == NAMES[0]
    assert len(left.lines[0].get_xdata()) == 120
    assert len(right.collections[0].get_array().ravel()) == 16
    change = 2 * (end - start)
    assert figure.description.startswith(
        f"From {start:.4g} to {end:.4g}, ".replace("-", "−")
    )
    assert "by 0 where" in figure.description
    assert f"by {change:.1f} where {NAMES[1]} is high" in figure.description


def test_an_effect_of_classes_shows_the_positive_one(pairs):
    X = np.random.default_rng(0).normal(size=(150, 2))
    forest = RandomForestClassifier(5, random_state=0).fit(
        X, np.where(X.prod(axis=1) > 0, "yes", "no")
    )
    two = replace(pairs, outputs=("all",))
    figure = two.plot.interactions(
        "effect", pair=("x0", "x1"), model=forest, X=X, title=""
    )
    assert figure.axes[0].get_ylabel() == "x1"
    assert "changes the mean prediction by" in figure.description


def test_words_pick_the_levels_that_differ_most():
    axes = [
        {"numeric": False, "at": [0, 1, 2], "label": list("pqr"), "dates": False}
    ] * 2
    mean = np.zeros((3, 3, 1))
    mean[2, 1] = 5.0
    effect = {
        "pair": ["a", "b"],
        "axes": axes,
        "mean": mean,
        "dots": [[0], [0]],
        "rows": 1,
    }
    assert "r, a changes the mean prediction by" in effect_words(effect)
    assert "5.00 where b is q" in effect_words(effect)
    assert pair_effect(effect).description == effect_words(effect)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"kind": "matrx"}, "kind cannot be 'matrx'"),
        ({"kind": "effect"}, "needs model= and X="),
        ({"pair": ("a", "b")}, "belong to kind='effect'"),
        (
            {"kind": "effect", "pair": "a", "model": len, "X": numbers()},
            "pair must be two different features, got 'a'",
        ),
        (
            {"kind": "effect", "pair": ("a", "b"), "model": len, "X": numbers()},
            "pair must be one of",
        ),
        (
            {
                "kind": "effect",
                "pair": (NAMES[0], NAMES[0]),
                "model": len,
                "X": numbers(),
            },
            "two different features",
        ),
        (
            {"kind": "effect", "model": len, "X": {"a": [1.0]}},
            "needs X as one table, got dict",
        ),
        (
            {"kind": "effect", "model": len, "X": [1.0]},
            r"needs X as one table, got list of shape \(1,\)",
        ),
        (
            {"kind": "effect", "model": lambda _: 1 / 0, "X": numbers()},
            "The model cannot predict rows of X: ZeroDiv",
        ),
    ],
    ids=lambda value: "",
)
def test_bad_arguments_are_refused(pairs, words, message):
    with pytest.raises(InputError, match=message):
        pairs.plot.interactions(**words)


def test_rounding_is_drawn_and_said_as_0():
    axes = [{"numeric": True, "at": [0, 1], "label": ["0", "1"], "dates": False}] * 2
    effect = {
        "pair": ["a", "b"],
        "axes": axes,
        "mean": [[[0.3], [0.1]], [[0.3], [0.1 + 1e-17]]],
        "dots": [[0], [0]],
    }
    effect["mean"][1][0] = [0.1 + 0.2]
    figure = pair_effect(effect | {"rounding": 1e-15})
    assert "by 0 where b is 0, and by 0 where b is 1" in figure.description
    assert not figure.axes[1].collections[0].get_array().any()


def test_an_explanation_without_pairs_is_refused_with_the_remedy():
    with pytest.raises(
        InputError,
        match=r"This explanation has no interactions. Explain with "
        r"method=pg.methods.PermGrad\(order=2\)",
    ):
        global_explanation().plot.interactions()
